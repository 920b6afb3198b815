"""The journal's file: made once at its full size, written past the page cache, one record at a time.

It has its size from the start and is full of zeros, so that a sync writes the record and nothing else. Where the
kernel takes no asynchronous write (another system, a file system that would block), the worker's thread writes.
"""

import importlib
import mmap
import os
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from components.disk import disk_remedy
from components.journal import records

if TYPE_CHECKING:
    from components.journal.aio import AsynchronousWrites

FILE_BYTES = 4 << 20
RECORD_BYTES = 1 << 20
"""The largest record."""

_ASYNCHRONOUS = "components.journal.aio"
"""Imported by the worker's thread when it is needed: ctypes would make every start later."""

Appended = Callable[[OSError | None], None]
Watch = Callable[[int, Callable[[], None]], Callable[[], None]]


class Worker(Protocol):
    """A thread that runs jobs in order."""

    def run(self, job: Callable[[], None]) -> None:
        """Run a job; any thread may call this."""


class Journal:
    """One file. `prepare` and `remove` run on the worker's thread, everything else on the loop's."""

    def __init__(
        self, path: Path, worker: Worker, run_soon: Callable[[Callable[[], None]], object], watch: Watch
    ) -> None:
        self._path = path
        self._worker = worker
        self._run_soon = run_soon
        self._watch = watch
        self._descriptor = -1
        self._buffer = mmap.mmap(-1, RECORD_BYTES)
        self._asynchronous: AsynchronousWrites | None = None
        self._tried_asynchronous = False
        self._epoch = 0
        self._number = 0
        self._position = 0
        self._length = 0
        self._appended: Appended | None = None

    def prepare(self) -> None:
        """Make the file where it is not ready to be written. Raises OSError: then nothing of it stays."""
        if self._descriptor < 0:
            self._descriptor = open_prepared(self._path)
            importlib.import_module(_ASYNCHRONOUS)

    def start(self, epoch: int) -> None:
        """Write from the beginning again: what stands there is of no use any more."""
        self._epoch, self._number, self._position = epoch, 0, 0
        if not self._tried_asynchronous:
            self._tried_asynchronous = True
            from components.journal.aio import AsynchronousWrites  # noqa: PLC0415 - see `prepare`

            with suppress(OSError):
                self._asynchronous = AsynchronousWrites(self._descriptor, self._buffer, self._watch)

    def has_room(self, payload_bytes: int) -> bool:
        """Whether a record of this size can be appended before the next start."""
        length = records.length_of(payload_bytes)
        return length <= RECORD_BYTES and self._position + length <= FILE_BYTES

    def append(self, payload: bytes, appended: Appended) -> None:
        """Append a record for which there is room; `appended` is called when it is on the disk, or could not be.

        One at a time. After an error nothing may be appended before the next start.
        """
        start = records.HEAD_BYTES
        end = start + len(payload)
        buffer = self._buffer
        buffer[:start] = records.head(self._epoch, self._number, payload)
        buffer[start:end] = payload
        self._length = records.length_of(len(payload))
        self._appended = appended
        if self._asynchronous is None:
            self._worker.run(self._write)
        else:
            self._asynchronous.write(self._position, self._length, self._on_written)

    def told(self, error: OSError) -> str:
        """Say which file could not be made or written, why, and what to do."""
        remedy = disk_remedy(error, self._path.parent, "make its directory one that this user may write")
        return f"{self._path}: {error.strerror or error}: {remedy}"

    def close(self) -> None:
        """Close the file. Nothing is being appended."""
        if self._asynchronous is not None:
            self._asynchronous.close()
            self._asynchronous = None
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def remove(self) -> None:
        """Remove the file, which holds nothing that its store has not."""
        with suppress(OSError):
            self._path.unlink(missing_ok=True)

    def _on_written(self, result: int) -> None:
        if result == self._length:
            self._on_appended(None)
        else:
            self._worker.run(self._write)  # it would have blocked, or failed: the thread finds out which

    def _write(self) -> None:
        error = None
        try:
            written = os.pwrite(self._descriptor, memoryview(self._buffer)[: self._length], self._position)
            if written != self._length:
                error = OSError(f"{written} of {self._length} bytes written")
        except OSError as failure:
            error = failure
        self._run_soon(partial(self._on_appended, error))

    def _on_appended(self, error: OSError | None) -> None:
        appended, self._appended = self._appended, None
        if error is None:
            self._number += 1
            self._position += self._length
        if appended is not None:
            appended(error)


def open_prepared(path: Path) -> int:
    """Open a journal of full size for writes that are synced; make it if need be. Raises OSError."""
    if not path.exists() or path.stat().st_size != FILE_BYTES:
        try:
            _make(path)
        except OSError:
            path.unlink(missing_ok=True)
            raise
    flags = os.O_RDWR | os.O_DSYNC | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags | getattr(os, "O_DIRECT", 0))
    except OSError:
        return os.open(path, flags)  # a file system without it
    if hasattr(os, "posix_fadvise"):  # a cached page would have to be thrown out first, which may block
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    return descriptor


def _make(path: Path) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        zeros = bytes(RECORD_BYTES)
        for _ in range(FILE_BYTES // RECORD_BYTES):
            file.write(zeros)
        file.flush()
        os.fsync(descriptor)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
