"""Accept one app's connections, each in its tenant's turn.

A connection waits its turn as its bytes do later (`tenancy/fairness.py`): peers that come again without pause use up
their own tenant's time, and whoever nobody else waits for is accepted at once. While a connection waits, the listening
socket is not watched, and what comes meanwhile waits in the kernel's backlog. uvloop's own servers accept by
themselves and cannot be paused.
"""

import asyncio
import logging
import socket
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import Any

from tenancy.fairness import SLICE_BYTES, Turn, Turns

log = logging.getLogger("noded.server")

RETRY_SECONDS = 0.5
"""Until the next try where the process or the machine lacks descriptors, memory or what else accepting takes."""
_ONE = b"\0"
"""What stands for a connection among bytes that wait their turn."""


class Accepting:
    """A listening socket's connections, taken one by one (`tenancy.fairness.Feeder`)."""

    __slots__ = ("_factory", "_loop", "_retry", "_sock", "_turn", "_turns", "slice_bytes")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        factory: Callable[[], asyncio.BaseProtocol],
        sock: socket.socket,
        turns: Turns,
        turn: Turn,
    ) -> None:
        """Begin. The socket listens, does not block, and is closed by `close`."""
        self.slice_bytes = SLICE_BYTES
        self._loop = loop
        self._factory = factory
        self._sock = sock
        self._turns = turns
        self._turn = turn
        self._retry: asyncio.TimerHandle | None = None
        self._watch()

    def close(self) -> None:
        """Accept no more. Idempotent."""
        if self._sock.fileno() < 0:
            return
        if self._retry is not None:
            self._retry.cancel()
        self._turns.forget(self._turn, self)
        self._loop.remove_reader(self._sock)
        self._sock.close()

    # What the turns call.

    def feed(self, _: bytes) -> None:
        """Accept a connection: what that takes is the tenant's."""
        try:
            accepted, _address = self._sock.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError as error:
            self._rest(error)
            return
        try:
            _hand_over(self._loop.connect_accepted_socket(self._factory, accepted))
        except Exception:
            log.exception("connection broken")
            accepted.close()

    def keep(self, size: int) -> None:
        """Leave further connections in the backlog."""
        self._loop.remove_reader(self._sock)

    def feed_kept(self, data: bytes) -> None:
        """Accept the connection that waited, and look for others."""
        self._watch()
        self.feed(data)

    def drained(self) -> None:
        """Nothing: it is never held."""

    def _watch(self) -> None:
        self._retry = None
        self._loop.add_reader(self._sock, self._acceptable)

    def _acceptable(self) -> None:
        self._turns.offer(self._turn, self, _ONE)

    def _rest(self, error: OSError) -> None:
        """Nobody is turned away: who connects waits in the backlog."""
        log.warning("no connection can be accepted: %s; trying again every %g s", error.strerror, RETRY_SECONDS)
        self._loop.remove_reader(self._sock)
        self._retry = self._loop.call_later(RETRY_SECONDS, self._watch)


def _hand_over(opening: Coroutine[Any, Any, object]) -> None:
    """Give uvloop an accepted socket.

    Its coroutine makes the transport at once, and then waits for one pass of the loop, so it is stepped in place: a
    task costs as much as the rest.
    """
    waiter: asyncio.Future[object] = opening.send(None)
    waiter.add_done_callback(partial(_handed_over, opening))


def _handed_over(opening: Coroutine[Any, Any, object], _: asyncio.Future[object]) -> None:
    with suppress(StopIteration, RuntimeError):  # RuntimeError: closed before it was open
        opening.send(None)
