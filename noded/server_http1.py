"""HTTP/1.1 of one connection: httptools parses, requests go to dispatch, answers leave in the order of the requests.

No IO here: bytes come by `feed`, go by `Link.send`. A request whose body is whole by the end of a read is dispatched
with it; else it is decided whether its route streams (invocation) or waits for the whole body. Source: RFC 9112.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

import httptools

from noded.app import App
from noded.calls import BodySink, Ended, Header, HttpCall, Reply
from noded.http_heads import CONTINUE, chunk, head, reply_bytes

MAX_HEAD_BYTES = 16 << 10
"""Of a request line and its headers. Go's default with daprd's --read-buffer-size gives some 8 KiB; ours is roomier."""
MAX_PIPELINED = 64
"""Requests of one connection that may be under way before it is no longer read."""
HIGH_BODY_BYTES = 256 << 10
"""Bytes of a streamed request body kept for a sink that is not there yet; beyond, the connection is not read."""


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

    def shut(self) -> None:
        """Close once what was sent is out."""

    def abort(self) -> None:
        """Close now."""


Handler = Callable[[HttpCall], None]
Decide = Callable[[HttpCall], bool]


class Http1Exchange:
    """One request on an HTTP/1.1 connection (`noded.calls.Exchange`)."""

    __slots__ = ("_chunked", "_held", "_started", "closed", "ended", "head_only", "keep_alive", "parts", "sink", "wire")

    def __init__(self, wire: "Http1Wire", *, keep_alive: bool, head_only: bool) -> None:
        self.wire = wire
        self.keep_alive = keep_alive
        self.head_only = head_only
        self.closed = False
        self.sink: BodySink | None = None
        self.ended: Ended | None = None
        self.parts: list[bytes] | None = None
        self._held: list[bytes] | None = None
        self._started = 0
        self._chunked = False

    def reply(self, reply: Reply) -> None:
        """Send a whole answer."""
        if self.closed:
            return
        wire = self.wire
        data = reply_bytes(reply, keep_alive=self.keep_alive, head_only=self.head_only)
        if self.ended is None and self.keep_alive and len(wire.pending) == 1 and wire.exchange is None:
            self.closed = True
            wire.pending.clear()
            wire.link.send(data)
            return
        self._out(data)
        self._started = reply.status
        self._finish(len(reply.body))

    def start(self, status: int, headers: Sequence[Header]) -> None:
        """Send the head; a body follows."""
        if self.closed:
            return
        self._started = status
        sized = self.head_only or status in (204, 304) or any(name == b"content-length" for name, _ in headers)
        self._chunked = not sized
        self._out(head(status, headers, chunked=self._chunked, keep_alive=self.keep_alive))

    def write(self, data: bytes) -> bool:
        """Send a piece of the body. False: wait for `on_writable`."""
        if self.closed or self.head_only or not data:
            return True
        return self._out(chunk(data) if self._chunked else data)

    def end(self, trailers: Sequence[Header] = ()) -> None:
        """Finish the answer; trailers go out where the body is chunked."""
        if self.closed:
            return
        if self._chunked:
            fields = b"".join(b"%b: %b\r\n" % field for field in trailers)
            self._out(b"0\r\n%b\r\n" % fields)
        self._finish(0)

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

    def push(self, data: bytes) -> None:
        """Take a piece of the request's body off the wire."""
        if self.sink is not None:
            self.sink.on_body(data)
        elif self.parts is not None:
            self.parts.append(data)
            if sum(map(len, self.parts)) > HIGH_BODY_BYTES:
                self.wire.link.stall()

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
        return len(self._held) < MAX_PIPELINED

    def _finish(self, size: int) -> None:
        self.closed = True
        if self.ended is not None:
            self.ended(self._started, size)
        self.wire.finished(self)


class Http1Wire:
    """The server's side of one HTTP/1.1 connection."""

    def __init__(self, link: Link, handle: Handler, streams: Decide) -> None:
        self.link = link
        self.pending: deque[Http1Exchange] = deque()  # in request order; bounded by MAX_PIPELINED
        self._handle = handle
        self._streams = streams
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        self._headers: list[Header] = []
        self._body: list[bytes] = []
        self._body_size = 0
        self._head_size = 0
        self._in_body = False
        self.exchange: Http1Exchange | None = None
        """Of the request whose body is being streamed."""
        self._buffering = False
        self._closing = False

    @property
    def mid_head(self) -> bool:
        """Whether a request has begun whose head is not whole: the peer has a deadline for it."""
        return self._head_size > 0 and not self._in_body

    def feed(self, data: bytes) -> None:
        """Parse a piece of the stream and act on it."""
        if self._closing:
            return
        self._head_size += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._close_after()
        except httptools.HttpParserError:
            self._refuse(b"400 Bad Request", b"400 Bad Request")
            return
        if self._in_body:
            if self.exchange is None and not self._buffering:
                self._decide()
        elif self._head_size > MAX_HEAD_BYTES:
            self._refuse(b"431 Request Header Fields Too Large", b"431 Request Header Fields Too Large")
        if len(self.pending) >= MAX_PIPELINED:
            self.link.stall()

    def lost(self) -> None:
        """The connection is gone: tell every request under way."""
        self._closing = True
        pending, self.pending = self.pending, deque()
        for exchange in pending:
            exchange.gone()

    def drain(self) -> bool:
        """Take no further request. True when none is under way."""
        for exchange in self.pending:
            exchange.keep_alive = False
        return not self.pending and not self._in_body

    def writable(self) -> None:
        """The peer has read: whoever streams to it may go on."""
        if self.pending and (sink := self.pending[0].sink) is not None:
            sink.on_writable()

    def finished(self, exchange: Http1Exchange) -> None:
        """An answer is complete: send those behind it that were waiting."""
        pending = self.pending
        if not pending or pending[0] is not exchange:
            return
        stalled = len(pending) >= MAX_PIPELINED
        pending.popleft()
        if not exchange.keep_alive or (self.exchange is exchange and self._in_body):
            self._close_after()
            return
        while pending and pending[0].release():
            if not pending.popleft().keep_alive:
                self._close_after()
                return
        if pending and (sink := pending[0].sink) is not None:
            sink.on_writable()
        if stalled and len(pending) < MAX_PIPELINED:
            self.link.unstall()

    # What httptools calls, in the order of the stream.

    def on_url(self, url: bytes) -> None:
        """A piece of the request target: a read may end inside it."""
        self._url = self._url + url if self._url else url

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header, or one trailer of a chunked body, which is dropped."""
        if not self._in_body:
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self._in_body = True

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._body_size += len(body)
        if self.exchange is not None:
            self.exchange.push(body)
        elif self._body_size <= self.link.app.max_body_bytes:
            self._body.append(body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        exchange = self.exchange
        if exchange is None:
            self._dispatch_whole()
        elif exchange.sink is not None:
            exchange.sink.on_body_end()
        self._reset()

    def _dispatch_whole(self) -> None:
        if self._closing:
            return
        parser = self._parser
        method = parser.get_method()
        exchange = Http1Exchange(self, keep_alive=parser.should_keep_alive(), head_only=method == b"HEAD")
        self.pending.append(exchange)
        body = self._body
        whole = b"" if not body else body[0] if len(body) == 1 else b"".join(body)
        call = self._call(method, whole, exchange)
        if self._body_size > len(whole):
            call.too_large = True
            exchange.keep_alive = False
        self._handle(call)

    def _call(self, method: bytes, body: bytes, exchange: Http1Exchange) -> HttpCall:
        path, _, query = self._url.partition(b"?")
        return HttpCall(self.link.app, method, path, query, self._headers, body, exchange)

    def _decide(self) -> None:
        """The read ended inside a body: stream it if its route does, else gather it."""
        method = self._parser.get_method()
        exchange = Http1Exchange(self, keep_alive=self._parser.should_keep_alive(), head_only=method == b"HEAD")
        call = self._call(method, b"", exchange)
        expects = call.header(b"expect")
        if expects is not None and expects.lower() == b"100-continue" and not self._body:
            self.link.send(CONTINUE)
        self.link.slice_bytes = 64 << 10
        if not self._streams(call):
            self._buffering = True
            return
        call.body_complete = False
        exchange.parts, self._body = self._body, []
        self.exchange = exchange
        self.pending.append(exchange)
        self._handle(call)

    def _reset(self) -> None:
        self._url = b""
        self._headers = []
        if self._body_size:
            self._body = []
            self._body_size = 0
        self._head_size = 0
        self._in_body = False
        if self.exchange is not None or self._buffering:
            self.exchange = None
            self._buffering = False
            self.link.slice_bytes = 2048

    def _refuse(self, status: bytes, body: bytes) -> None:
        """Answer what is no HTTP, as Go's server does, and close. Requests under way lose their answers with it."""
        if not self.pending:
            self.link.send(
                b"HTTP/1.1 %b\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\n"
                b"Connection: close\r\n\r\n%b" % (status, len(body), body)
            )
        self._close_after()

    def _close_after(self) -> None:
        self._closing = True
        self.link.shut()
