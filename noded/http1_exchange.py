"""One request on an HTTP/1.1 connection, and its answer, which leaves when those before it have left.

No IO here: bytes go by `Link.send`. Source: RFC 9112.
"""

from collections import deque
from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from noded.app import App
from noded.calls import BodySink, Ended, Header, Reply
from noded.http_heads import chunk, connection_line, head, plain_reply, reply_bytes

HIGH_BODY_BYTES = 256 << 10
"""Bytes of a streamed request body kept for a sink that is not there yet; beyond, the connection is not read."""
MAX_HELD = 64
"""Pieces of an answer kept until its turn comes, before whoever writes it is told to wait."""


class Link(Protocol):
    """What the wire code needs of its connection."""

    app: App
    slice_bytes: int

    def send(self, data: bytes) -> bool:
        """Queue bytes for the peer. False: it reads slowly."""

    def stall(self) -> None:
        """Feed no more until `unstall`."""

    def unstall(self) -> None:
        """Feed again."""

    def feed_again(self) -> None:
        """Feed nothing in its tenant's next turn, ahead of what else of it waits."""

    def shut(self) -> None:
        """Close once what was sent is out."""

    def linger(self) -> None:
        """The same, for a peer that may still be sending, and may look at an answer only after that."""

    def abort(self) -> None:
        """Close now."""


class Line(Protocol):
    """The connection's requests under way, as one of them sees it; `server_http1.Http1Wire` is it."""

    link: Link
    pending: "deque[Http1Exchange]"
    """In the order of the requests."""
    exchange: "Http1Exchange | None"
    """The one whose body is being streamed."""

    def skip_rest(self) -> bool:
        """Ask for the rest of a body to be read and dropped. False: it is too much, and the connection ends."""

    def finished(self, exchange: "Http1Exchange") -> None:
        """An answer is complete."""


class Http1Exchange(Struct, eq=False):
    """One request on an HTTP/1.1 connection (`noded.calls.Exchange`)."""

    wire: Line
    keep_alive: bool = True
    plain: bool = True
    """Whether its answer has a body and is of HTTP/1.1: neither of the next two."""
    head_only: bool = False
    http10: bool = False
    closed: bool = False
    sink: BodySink | None = None
    ended: Ended | None = None
    parts: list[bytes] | None = None
    """What came of a streamed body before there was a sink."""
    _held: list[bytes] | None = None
    _started: int = 0
    _sent: int = 0
    """Bytes of the streamed answer so far, without their framing."""
    _chunked: bool = False
    _whole: bool = False
    _full: bool = False

    def reply(self, reply: Reply) -> None:
        """Send a whole answer."""
        if self.closed:
            return
        wire = self.wire
        alone = len(wire.pending) == 1 and wire.exchange is None
        if alone and self.ended is None and self.keep_alive and self.plain:
            self.closed = True
            wire.pending.clear()
            wire.link.send(plain_reply(reply))
            return
        if wire.exchange is self and not wire.skip_rest():
            self.keep_alive = False
        self._out(reply_bytes(reply, keep_alive=self.keep_alive, head_only=self.head_only, http10=self.http10))
        self._started = reply.status
        self._finish(len(reply.body))

    def start(self, status: int, headers: Sequence[Header]) -> None:
        """Send the head; a body follows."""
        if self.closed:
            return
        self._started = status
        sized = self.head_only or status in (204, 304) or any(name == b"content-length" for name, _ in headers)
        self._chunked = not sized and not self.http10
        self.keep_alive = self.keep_alive and (sized or self._chunked)
        connection = connection_line(keep_alive=self.keep_alive, http10=self.http10)
        self._out(head(status, headers, chunked=self._chunked, connection=connection, http10=self.http10))

    def write(self, data: bytes) -> bool:
        """Send a piece of the body. False: wait for `on_writable`."""
        if self.closed or self.head_only or not data:
            return True
        self._sent += len(data)
        return self._out(chunk(data) if self._chunked else data)

    def end(self, trailers: Sequence[Header] = ()) -> None:
        """Finish the answer; trailers go out where the body is chunked."""
        if self.closed:
            return
        if self._chunked:
            fields = b"".join(b"%b: %b\r\n" % field for field in trailers)
            self._out(b"0\r\n%b\r\n" % fields)
        self._finish(self._sent)

    def abort(self) -> None:
        """Break off: HTTP/1.1 can only close."""
        if not self.closed:
            self.wire.link.abort()

    def pause_body(self) -> None:
        """Stop reading the connection: the body is what comes next on it."""
        self.wire.link.stall()

    def resume_body(self) -> None:
        """Go on reading."""
        self.wire.link.unstall()

    def stream_to(self, sink: BodySink) -> None:
        """Give the body, what came already first, to `sink`."""
        self.sink = sink
        parts, self.parts = self.parts, None
        for part in parts or ():
            sink.on_body(part)
        if self._whole:
            sink.on_body_end()
        if self._full:
            self._full = False
            self.wire.link.unstall()

    def refuse(self, answer: bytes) -> None:
        """Send a ready answer to what is no request, when its turn comes."""
        self._out(answer)
        self._finish(0)

    def push(self, data: bytes) -> None:
        """Take a piece of the request's body off the wire; of one that was answered, nobody wants it."""
        if self.closed:
            return
        if self.sink is not None:
            self.sink.on_body(data)
        elif self.parts is not None:
            self.parts.append(data)
            if not self._full and sum(map(len, self.parts)) > HIGH_BODY_BYTES:
                self._full = True
                self.wire.link.stall()

    def body_ended(self) -> None:
        """The request's body is complete."""
        self._whole = True
        if self.sink is not None and not self.closed:
            self.sink.on_body_end()

    def begin_anew(self) -> bool:
        """Forget who took the body, which is over the limit. False: an answer has begun, and can only be broken off."""
        if self._started:
            return False
        sink, self.sink = self.sink, None
        if sink is not None:
            sink.on_peer_gone()
        if self.ended is not None:
            self.ended(0, 0)
            self.ended = None
        self.parts = None
        return True

    def gone(self) -> None:
        """The connection is lost."""
        if self.closed:
            return
        self.closed = True
        if self.sink is not None:
            self.sink.on_peer_gone()
        if self.ended is not None:
            self.ended(0, 0)

    def release(self) -> bool:
        """Being first in line now, send what was held. True when it is complete."""
        held, self._held = self._held, None
        if held:
            self.wire.link.send(b"".join(held))
        return self.closed

    def _out(self, data: bytes) -> bool:
        if self.wire.pending[0] is self:
            return self.wire.link.send(data)
        if self._held is None:
            self._held = []
        self._held.append(data)
        return len(self._held) < MAX_HELD

    def _finish(self, size: int) -> None:
        self.closed = True
        if self._full:
            self._full = False
            self.wire.link.unstall()
        if self.ended is not None:
            self.ended(self._started, size)
        self.wire.finished(self)
