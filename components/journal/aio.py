"""Writes to a disk that block no thread: Linux's native asynchronous IO, one write at a time.

The kernel is asked (RWF_NOWAIT) to refuse rather than to block, and to sync what it wrote (RWF_DSYNC); it tells the end
by a descriptor that becomes readable. A thread would do as well, but it has to be woken, and to wait for the GIL twice:
more processor time than the write itself.
Source: io_setup(2), io_submit(2), io_getevents(2), pwritev2(2), eventfd(2), linux/aio_abi.h.
"""

import ctypes
import errno
import os
import sys
from collections.abc import Callable
from mmap import mmap
from typing import ClassVar

_CALLS = {"x86_64": (206, 207, 208, 209), "aarch64": (0, 1, 4, 2), "riscv64": (0, 1, 4, 2)}
"""Numbers of io_setup, io_destroy, io_getevents and io_submit, by machine; all of these are little-endian."""
_PWRITE = 1
_RESULT_BY_DESCRIPTOR = 1
_DSYNC, _NOWAIT = 2, 8

Written = Callable[[int], None]
"""Told how many bytes were written, or a negated errno."""


class _ControlBlock(ctypes.Structure):
    """struct iocb."""

    _fields_: ClassVar = [
        ("data", ctypes.c_uint64),
        ("key", ctypes.c_uint32),
        ("rw_flags", ctypes.c_int32),
        ("operation", ctypes.c_uint16),
        ("priority", ctypes.c_int16),
        ("descriptor", ctypes.c_uint32),
        ("buffer", ctypes.c_uint64),
        ("length", ctypes.c_uint64),
        ("offset", ctypes.c_int64),
        ("reserved", ctypes.c_uint64),
        ("flags", ctypes.c_uint32),
        ("told_by", ctypes.c_uint32),
    ]


class _Event(ctypes.Structure):
    """struct io_event."""

    _fields_: ClassVar = [
        ("data", ctypes.c_uint64),
        ("control_block", ctypes.c_uint64),
        ("result", ctypes.c_int64),
        ("result2", ctypes.c_int64),
    ]


class AsynchronousWrites:
    """Writes from one buffer to one file opened with O_DIRECT. All methods run on the loop's thread."""

    def __init__(
        self, descriptor: int, buffer: mmap, watch: Callable[[int, Callable[[], None]], Callable[[], None]]
    ) -> None:
        """Ask the kernel for a context. Raises OSError where it has none to give, or not this kind of IO at all."""
        numbers = _CALLS.get(os.uname().machine) if sys.platform == "linux" else None
        if numbers is None:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        setup, self._destroy_number, self._events_number, self._submit_number = map(ctypes.c_long, numbers)
        # Keeps the GIL: the kernel was told not to block.
        self._call = ctypes.PyDLL(None, use_errno=True).syscall
        self._call.restype = ctypes.c_long
        context = ctypes.c_ulong(0)
        if self._call(setup, ctypes.c_uint(1), ctypes.byref(context)) != 0:
            raise _last_error()
        self._context = context
        self._one = ctypes.c_long(1)
        self._event = _Event()
        self._events = ctypes.byref(self._event)
        self._at_once = (ctypes.c_long * 2)(0, 0)
        self._told: Written | None = None
        self._told_by = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._buffer = buffer  # the kernel reads from it
        address = ctypes.addressof(ctypes.c_char.from_buffer(buffer))
        self._block = _ControlBlock(
            rw_flags=_DSYNC | _NOWAIT, operation=_PWRITE, descriptor=descriptor, buffer=address,
            flags=_RESULT_BY_DESCRIPTOR, told_by=self._told_by,
        )  # fmt: skip
        self._blocks = (ctypes.c_void_p * 1)(ctypes.addressof(self._block))
        self._unwatch = watch(self._told_by, self._on_told)

    def write(self, offset: int, length: int, told: Written) -> None:
        """Write and sync the start of the buffer, which stays as it is until `told` is called."""
        block = self._block
        block.offset, block.length = offset, length
        self._told = told
        if self._call(self._submit_number, self._context, self._one, self._blocks) != 1:
            self._tell(-(ctypes.get_errno() or errno.EIO))

    def close(self) -> None:
        """Give everything back. Waits for a write under way."""
        self._unwatch()
        self._call(self._destroy_number, self._context)
        os.close(self._told_by)

    def _on_told(self) -> None:
        try:
            os.eventfd_read(self._told_by)
        except BlockingIOError:
            return
        if self._call(self._events_number, self._context, self._one, self._one, self._events, self._at_once) == 1:
            self._tell(self._event.result)

    def _tell(self, result: int) -> None:
        told, self._told = self._told, None
        if told is not None:
            told(result)


def _last_error() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))
