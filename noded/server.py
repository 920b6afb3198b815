"""The app-facing sockets: one listener per app and protocol, each given its tenant when it is made.

A connection belongs to its listener's app from the first byte: nothing that it sends can change that. What it sends
goes through the tenants' order (`tenancy/fairness.py`) to its wire code: HTTP/2 on the gRPC socket or after its
preface, else HTTP/1.1. A peer that does not read is not read from, and has a deadline.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from noded.descriptors import UNBOUNDED, Descriptors
from noded.opening import CLOSING_NS
from noded.server_wire import Wire, hung_up
from noded.welcome import welcome
from tenancy.fairness import SLICE_BYTES, Turn, Turns

if TYPE_CHECKING:
    from noded.listener import Listener

log = logging.getLogger("noded.server")

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
MAX_WAITING_BYTES = 64 << 10
"""Of a connection; it is not read while it has more waiting for its turn."""
HIGH_WRITE_BYTES = 256 << 10
"""Of replies a peer has not read; it is not read, nor parsed, while it has more."""
LARGE_ANSWER_BYTES = 8 << 10
"""Sent at once, not only at the end of the slice that asked for it."""
STALLED_SECONDS = 30.0
"""How long a peer may leave replies unread before it is cut off."""
HEAD_SECONDS = 10.0
"""How long a request's head, or an HTTP/2 frame, may take to arrive (daprd's read header timeout)."""
LINGER_SECONDS = 1.0
"""How long an answered peer may go on sending before it is cut off; Go waits half a second."""
MAX_LINGER_BYTES = 256 << 10
"""What is read and dropped of it meanwhile."""


@dataclass(frozen=True, slots=True)
class Serving:
    """What every connection of the daemon shares."""

    turns: Turns
    http1: Callable[["Connection"], Wire]
    http2: Callable[["Connection"], Wire]
    now: Callable[[], float]
    suspects: set["Connection"]
    """Connections with a deadline running: half a request head, or replies unread. Swept once a second."""
    descriptors: Descriptors = UNBOUNDED
    grpc: Callable[["Connection"], Wire] | None = None
    """HTTP/2 of the gRPC socket; None: no other than of the HTTP socket."""


class Connection(asyncio.Protocol):
    """One accepted connection (`noded.server_http1.Link`, `tenancy.fairness.Feeder`)."""

    __slots__ = (
        "_closed",
        "_ending",
        "_eof",
        "_in_feed",
        "_late_bytes",
        "_on_close",
        "_opening",
        "_out",
        "_paused",
        "_serving",
        "_stalls",
        "_stash",
        "_transport",
        "_turn",
        "_turns",
        "_unfinished",
        "_unparsed",
        "_wire",
        "_write_paused",
        "app",
        "slice_bytes",
        "suspect_since",
        "token",
    )

    def __init__(self, listener: "Listener") -> None:
        serving = listener.serving
        self.app = listener.app
        self.token = listener.token
        self.slice_bytes = SLICE_BYTES
        self.suspect_since: float | None = None
        self._serving = serving
        self._on_close = listener.closed
        self._turn: Turn = listener.app.turn
        self._turns = serving.turns
        self._wire: Wire | None = (serving.grpc or serving.http2)(self) if listener.only_http2 else None
        self._opening = b""
        self._out: list[bytes] = []
        self._stash: list[bytes] = []
        self._unparsed = 0
        self._unfinished = 0
        self._late_bytes = -1  # what came after the last answer; negative: nothing is waited for
        self._stalls = 0
        self._ending = False
        self._eof = False
        self._in_feed = False
        self._paused = False
        self._write_paused = False
        self._transport: asyncio.Transport = cast("asyncio.Transport", None)
        self._closed = not listener.admits(self)

    # What the loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, or refuse a peer that the kernel says is somebody else."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(HIGH_WRITE_BYTES)
        if self._closed or not welcome(self.app, transport, self._serving.descriptors):
            self._closed = True
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Feed bytes now, or in the tenant's turn."""
        if not self._turns.offer(self._turn, self, data) and (self._unparsed > MAX_WAITING_BYTES or self._turn.crowded):
            self._pause()

    def eof_received(self) -> bool:
        """The peer will send no more: keep the connection for what it asked before."""
        self._eof = True
        if self._late_bytes >= 0:
            return False
        if self._waits():
            self._ending = True
            return True
        if self._wire is None or hung_up(self._transport.get_extra_info("socket")):
            return False
        return not self._wire.eof()

    def connection_lost(self, _: Exception | None) -> None:
        """Tell who waits for this peer."""
        since_ns = self._turns.clock_ns()
        self._closed = True
        self._serving.suspects.discard(self)
        self._serving.turns.forget(self._turn, self)
        if self._wire is not None:
            self._wire.lost()
            self._wire = None
        self._on_close(self)
        self._turns.spent(self._turn, self._turns.clock_ns() - since_ns + CLOSING_NS)

    def rest(self) -> None:
        """Be read no further until what was read is fed."""
        if self._unparsed:
            self._pause()

    def pause_writing(self) -> None:
        """The peer does not read: neither do we."""
        self._write_paused = True
        self.stall()
        self._suspect()
        if self._wire is not None:
            self._wire.hold()

    def resume_writing(self) -> None:
        """It reads again."""
        self._write_paused = False
        self._clear()
        if self._wire is not None:
            self._wire.writable()
        self.unstall()

    # What the turns call.

    def feed(self, data: bytes) -> None:
        """Parse a slice and act on it."""
        wire = self._wire
        if wire is None or self._stalls or self._closed:
            self._feed_later(data)
            return
        self._in_feed = True
        try:
            wire.feed(data)
        except Exception:
            log.exception("connection broken", extra={"app": self.app.tenant.id})
            self.abort()
        self._in_feed = False
        out = self._out
        if out:
            self._transport.write(out[0] if len(out) == 1 else b"".join(out))
            out.clear()
        if self._paused or self._ending or wire.mid_head or self.suspect_since is not None:
            self._settle(wire)

    def keep(self, size: int) -> None:
        """So many bytes wait their turn."""
        self._unparsed += size

    def feed_kept(self, data: bytes) -> None:
        """Feed bytes that waited."""
        self._unparsed -= len(data)
        self.feed(data)

    def drained(self) -> None:
        """Read again."""
        if self._paused and not self._closed and not self._stalls:
            self._paused = False
            self._transport.resume_reading()

    # What the wire code calls.

    def send(self, data: bytes) -> bool:
        """Queue bytes for the peer: one write per read. False: it reads slowly."""
        if self._closed:
            return True
        if self._in_feed:
            self._out.append(data)
            if len(data) > LARGE_ANSWER_BYTES:
                self._flush()
                self._transport.set_write_buffer_limits(HIGH_WRITE_BYTES)  # has uvloop look now whether to pause
        else:
            self._transport.write(data)
            self._turns.answered(self._turn)
        return not self._write_paused

    def stall(self) -> None:
        """Feed no more until as many `unstall`s."""
        self._stalls += 1
        self._pause()

    def unstall(self) -> None:
        """Feed what was kept, then read on."""
        self._stalls -= 1
        if not self._stalls and not self._in_feed and not self._closed:
            self._unstash()

    def feed_again(self) -> None:
        """Feed nothing in the tenant's next turn, ahead of what else of it waits."""
        if not self._closed:
            self._turns.give_back(self._turn, self, (b"",))

    def shut(self) -> None:
        """Close once what was sent is out."""
        if self._in_feed and self._out:
            self._flush()
        self._closed = True
        if self._transport is not None:  # else `connection_made` is still to come, and closes it
            self._suspect()  # until the peer has read the rest
            self._transport.close()

    def linger(self) -> None:
        """As `shut`, for a peer that may still be sending, and may look at an answer only after that."""
        if self._closed or self._eof or self._transport is None:
            self.shut()
            return
        self._late_bytes = 0
        self.suspect_since = None
        self._suspect()
        if self._out:
            self._flush()
        self._closed = True
        self._transport.write_eof()

    def abort(self) -> None:
        """Close now."""
        self._closed = True
        self._out.clear()
        if self._transport is not None:  # as in `shut`
            self._transport.abort()

    def drain(self) -> None:
        """Finish what has arrived, then close."""
        if self._waits():
            self._ending = True
        elif not self._closed:
            self._end()

    def overdue(self, now: float) -> bool:
        """Whether the peer used up its time."""
        limit = STALLED_SECONDS if self._write_paused or self._closed else HEAD_SECONDS
        if self._late_bytes >= 0 and not self._write_paused:
            limit = LINGER_SECONDS
        return self.suspect_since is not None and now - self.suspect_since > limit

    def _feed_later(self, data: bytes) -> None:
        """Keep what comes while stalled; find the protocol of a new connection; drop what a closed one still sends."""
        if self._stalls:
            self._stash.append(data)
        elif not self._closed:
            self._open(self._opening + data)
        elif self._late_bytes >= 0:
            self._late_bytes += len(data)
            if self._late_bytes > MAX_LINGER_BYTES:
                self._transport.pause_reading()

    def _settle(self, wire: Wire) -> None:
        """After a slice: what is paused, half a head, or at its end."""
        if self._paused and not self._stalls:
            self._unstash()
        if wire.mid_head:
            if wire.mid_head != self._unfinished and not self._write_paused:
                self._unfinished = wire.mid_head
                self.suspect_since = None
            self._suspect()
        elif self.suspect_since is not None and not self._write_paused and not self._closed:
            self._clear()
        if self._ending and not self._waits():
            self._end()

    def _waits(self) -> bool:
        """Whether it is to be fed again, for what it has read."""
        if self._unparsed or self._stash:
            return True
        if self._wire is None or not self._wire.mid_head:  # as whoever is fed again is: the backlog may be long
            return False
        return any(entry.feeder is self for entry in self._turn.backlog)

    def _open(self, seen: bytes) -> None:
        """Tell HTTP/2 from HTTP/1.1 by the first bytes, and feed them; wait while they could be either."""
        if len(seen) < len(PREFACE) and PREFACE.startswith(seen):
            self._opening = seen
            self._suspect()
            if self._ending:
                self.shut()
            return
        self._opening = b""
        make = self._serving.http2 if seen.startswith(PREFACE) else self._serving.http1
        self._wire = make(self)
        self.feed(seen)

    def _end(self) -> None:
        """All that arrived was parsed: close, unless answers are under way; the last of them closes then."""
        self._ending = False
        wire = self._wire
        if wire is None or (wire.eof() if self._eof else wire.drain()):
            self.shut()

    def _unstash(self) -> None:
        """Let what came while stalled be fed in the tenant's turn, ahead of what came later; then read on."""
        if self._stash:
            stash, self._stash = self._stash, []
            self._turns.give_back(self._turn, self, stash)
        if self._paused and not self._unparsed and not self._stalls:
            self._serving.turns.hold(self._turn, self)

    def _flush(self) -> None:
        out = self._out
        self._transport.write(out[0] if len(out) == 1 else b"".join(out))
        out.clear()

    def _pause(self) -> None:
        if not self._paused and not self._closed and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def _suspect(self) -> None:
        if self.suspect_since is None:
            self.suspect_since = self._serving.now()
            self._serving.suspects.add(self)

    def _clear(self) -> None:
        self.suspect_since = None
        self._serving.suspects.discard(self)
