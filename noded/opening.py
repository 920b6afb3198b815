"""A new connection's first reads: small, and at its tenant's cost.

uvloop reads all that a socket holds, 200 kB at one go, before it is known whose turn it is. A peer that comes again
without pause has each connection read so. Here a read is bounded and timed; from the first one that leaves nothing
behind on, uvloop reads for the connection itself.
"""

import asyncio
from typing import Protocol, cast

from tenancy.fairness import Turn, Turns

OPENING_BYTES = 16 << 10
"""Of one read."""
_BUFFER = memoryview(bytearray(OPENING_BYTES))
"""Of whoever is read: it is emptied before the next one is."""
CLOSING_NS = 10_000
"""What uvloop and the kernel take to close a connection, after all that can be timed."""


class Opened(Protocol):
    """A connection (`asyncio.Protocol`)."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """As asyncio's."""

    def data_received(self, data: bytes) -> None:
        """As asyncio's."""

    def eof_received(self) -> bool | None:
        """As asyncio's."""

    def connection_lost(self, _: Exception | None) -> None:
        """As asyncio's."""

    def pause_writing(self) -> None:
        """As asyncio's."""

    def resume_writing(self) -> None:
        """As asyncio's."""

    def rest(self) -> None:
        """Be read no further until what was read is fed."""


class Opening(asyncio.BufferedProtocol):
    """Reads for a connection that is new."""

    __slots__ = ("_opened", "_since_ns", "_transport", "_turn", "_turns")

    def __init__(self, opened: Opened, turns: Turns, turn: Turn) -> None:
        self._opened = opened
        self._turns = turns
        self._turn = turn
        self._since_ns = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, at the tenant's cost."""
        since_ns = self._turns.clock_ns()
        self._transport = cast("asyncio.Transport", transport)
        self._opened.connection_made(transport)
        self._turns.spent(self._turn, self._turns.clock_ns() - since_ns)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Lend the buffer."""
        self._since_ns = self._turns.clock_ns()
        return _BUFFER

    def buffer_updated(self, nbytes: int) -> None:
        """Pass on what was read."""
        data = bytes(_BUFFER[:nbytes])
        turns, opened = self._turns, self._opened
        turns.spent(self._turn, turns.clock_ns() - self._since_ns)
        if nbytes < OPENING_BYTES:
            self._transport.set_protocol(cast("asyncio.Protocol", opened))
            opened.data_received(data)
        else:
            opened.data_received(data)
            opened.rest()

    def eof_received(self) -> bool | None:
        """Pass it on."""
        return self._opened.eof_received()

    def connection_lost(self, error: Exception | None) -> None:
        """Pass it on."""
        self._opened.connection_lost(error)

    def pause_writing(self) -> None:
        """Pass it on."""
        self._opened.pause_writing()

    def resume_writing(self) -> None:
        """Pass it on."""
        self._opened.resume_writing()
