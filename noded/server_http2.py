"""HTTP/2 of one connection: gRPC calls and plain HTTP requests, each a stream.

The codec (`wire/http2.py`) tells what the peer did; streams answer through it; what it has to send goes out once per
read, or at once when an answer comes later. Source: RFC 9113.
"""

from collections.abc import Callable, Sequence

from noded.calls import BodySink, Ended, Header, HttpCall, Reply
from noded.http1_exchange import Link
from noded.http1_known import Handler
from noded.http2_streams import ANSWERED, Held, Stream
from noded.http_blocks import head_block, reply_block
from noded.server_http1 import Decide
from noded.wire.http2 import ErrorCode, HeaderBlock, Http2Connection, Http2Limits, encode_block

_OUTPUT_BYTES = 256 << 10
LIMITS = Http2Limits(max_concurrent_streams=1000, reset_burst=1000, max_output_bytes=_OUTPUT_BYTES)
"""Streams per connection: gRPC clients put all calls on one; daprd (grpc-go) sets no limit."""
GRPC_LIMITS = Http2Limits(
    max_concurrent_streams=1000, reset_burst=1000, max_output_bytes=_OUTPUT_BYTES, min_ping_seconds=8.0
)
"""On the gRPC socket, where daprd ends connections whose clients ping more often than that."""


MAX_BACKLOG_BYTES = 4 << 20
"""Of answers that a peer's windows do not let out; beyond, no further request of it is begun."""
MAX_HELD = 256
"""Requests not begun for that; one more is answered REFUSED_STREAM, which may be sent again (RFC 9113, 8.7)."""

OpenGrpc = Callable[["Http2Wire", int, HeaderBlock], Stream | None]


class Http2Wire:
    """The server's side of one HTTP/2 connection."""

    def __init__(  # noqa: PLR0913, PLR0917 - what a connection is made of
        self,
        link: Link,
        handle: Handler,
        streams: Decide,
        open_grpc: OpenGrpc,
        now: Callable[[], float],
        limits: Http2Limits = LIMITS,
    ) -> None:
        self.link = link
        self.handle = handle
        self.body_streams = streams
        self.codec = Http2Connection(self, client=False, limits=limits)
        self.streams: dict[int, Stream] = {}
        self._open_grpc = open_grpc
        self._now = now
        self._feeding = False
        self._holding = False
        self._unread = False
        self._held: dict[int, Held] = {}
        self.codec.start()

    mid_head = 0

    def feed(self, data: bytes) -> None:
        """Take bytes, act, and send what came of it."""
        self._feeding = True
        try:
            self.codec.feed(data, self._now())
        finally:
            self._feeding = False
        self.mid_head = self.codec.unfinished
        self._send_out()
        if self._holding:
            self._release()
        if self.codec.closed:
            self.lost()
            self.link.shut()

    def flush(self) -> bool:
        """Send what an answer outside `feed` left to send. False: the peer reads slowly."""
        return self._feeding or self._send_out()

    def _send_out(self) -> bool:
        """Send what there is, as long as the peer reads."""
        codec = self.codec
        while True:
            out = codec.take_output()
            if out and not self.link.send(out):
                return False
            if not codec.open_output():
                return True

    def lost(self) -> None:
        """The connection is gone: so is every stream."""
        self._held.clear()
        streams, self.streams = self.streams, {}
        for stream in streams.values():
            stream.on_gone()

    def drain(self) -> bool:
        """Tell the peer to open no stream. True when none is under way."""
        self.codec.goaway(0)
        for stream in tuple(self.streams.values()):
            stream.on_drain()
        self.flush()
        return not self.streams

    def eof(self) -> bool:
        """The peer sends no more. True when no answer is under way."""
        return self.drain()

    def hold(self) -> None:
        """As Wire.hold."""
        self._unread = True
        self._hold()

    def writable(self) -> None:
        """The peer has read what was sent."""
        self._unread = False
        self.codec.open_output()
        if self._send_out() and self._holding:
            self._release()
        for stream in tuple(self.streams.values()):
            stream.on_writable()

    def close_stream(self, stream_id: int) -> None:
        """Forget a stream that was answered whole."""
        self.streams.pop(stream_id, None)
        if self.codec.backlog_bytes > MAX_BACKLOG_BYTES:
            self._hold()
        if self.codec.closed and not self.streams:
            self.link.shut()

    def _hold(self) -> None:
        self._holding = True
        self.codec.answer_whole(allowed=False)

    def _release(self) -> None:
        """Begin what was held, as long as the answers find room."""
        held = self._held
        while not self._unread and self.codec.backlog_bytes <= MAX_BACKLOG_BYTES:
            if not held:
                self._holding = False
                self.codec.answer_whole(allowed=True)
                return
            stream_id = next(iter(held))
            self._begin(stream_id, held.pop(stream_id))
            self._send_out()

    def _begin(self, stream_id: int, held: Held) -> None:
        del self.streams[stream_id]
        self._open(stream_id, held.block, end=held.ended and not held.pieces)
        for piece in held.pieces:
            self.on_data(stream_id, piece, False)
        if held.ended and held.pieces:
            self.on_trailers(stream_id, ())

    # What the codec calls.

    def on_headers(self, stream_id: int, headers: HeaderBlock, end_stream: bool) -> None:  # noqa: FBT001
        """A request begins."""
        if not self._holding:
            self._open(stream_id, headers, end=end_stream)
        elif len(self._held) < MAX_HELD:
            self._held[stream_id] = self.streams[stream_id] = Held(headers, ended=end_stream)
        else:
            self.codec.reset(stream_id, ErrorCode.REFUSED_STREAM)

    def _open(self, stream_id: int, headers: HeaderBlock, *, end: bool) -> None:
        stream = self._open_grpc(self, stream_id, headers)
        if stream is None:
            stream = self._open_http(stream_id, headers, end=end)
        elif stream is ANSWERED:
            return
        elif end:
            self.streams[stream_id] = stream
            stream.on_data(b"", end=True)
            return
        if stream is not None:
            self.streams[stream_id] = stream

    def on_data(self, stream_id: int, data: bytes, end_stream: bool) -> None:  # noqa: FBT001
        """A piece of a request's body."""
        stream = self.streams.get(stream_id)
        if stream is not None:
            stream.on_data(data, end=end_stream)
        else:
            self.codec.consumed(stream_id, len(data))

    def on_trailers(self, stream_id: int, headers: Sequence[Header]) -> None:
        """A body ended with trailers, which nobody here wants."""
        stream = self.streams.get(stream_id)
        if stream is not None:
            stream.on_end()

    def on_reset(self, stream_id: int, error_code: int) -> None:
        """A stream is over."""
        stream = self.streams.pop(stream_id, None)
        self._held.pop(stream_id, None)
        if stream is not None:
            stream.on_gone()

    def on_writable(self, stream_id: int) -> None:
        """A stream's backlog is sent."""
        stream = self.streams.get(stream_id)
        if stream is not None:
            stream.on_writable()

    def on_goaway(self, last_stream_id: int, error_code: int) -> None:
        """The peer opens no more streams; those under way go on."""

    def _open_http(self, stream_id: int, block: HeaderBlock, *, end: bool) -> "Http2Exchange | None":
        exchange = Http2Exchange(self, stream_id)
        call = http_call(self.link, block, exchange)
        exchange.call = call
        if end:
            self.streams[stream_id] = exchange
            self.handle(call)
            return None
        if self.body_streams(call):
            call.body_complete = False
            self.streams[stream_id] = exchange
            exchange.streaming = True
            self.handle(call)
            return None
        return exchange


def http_call(link: Link, block: HeaderBlock, exchange: "Http2Exchange") -> HttpCall:
    """Make the request of its head; `:authority` becomes `host`."""
    fields = {name: value for name, value in block.headers if name[:1] == b":"}
    headers = [field for field in block.headers if field[0][:1] != b":"]
    if b":authority" in fields:
        headers.insert(0, (b"host", fields[b":authority"]))
    path, _, query = fields.get(b":path", b"/").partition(b"?")
    return HttpCall(link.app, fields[b":method"], path, query, headers, b"", exchange)


class Http2Exchange:
    """One HTTP request on an HTTP/2 stream (`noded.calls.Exchange`)."""

    __slots__ = (
        "_body",
        "_owed",
        "_paused",
        "_sent",
        "_size",
        "_status",
        "call",
        "closed",
        "ended",
        "sink",
        "stream_id",
        "streaming",
        "wire",
    )

    def __init__(self, wire: Http2Wire, stream_id: int) -> None:
        self.wire = wire
        self.stream_id = stream_id
        self.call: HttpCall | None = None
        self.closed = False
        self.ended: Ended | None = None
        self.sink: BodySink | None = None
        self.streaming = False
        self._body: list[bytes] = []
        self._sent = 0  # bytes of the streamed answer so far
        self._size = 0
        self._owed = 0
        self._paused = False
        self._status = 0

    # What the wire calls.

    def on_data(self, data: bytes, *, end: bool) -> None:
        """Gather the body, or pass it on."""
        if self.streaming:
            self._push(data, end=end)
            return
        self._size += len(data)
        self.wire.codec.consumed(self.stream_id, len(data))
        if self._size <= self.wire.link.app.max_body_bytes:
            self._body.append(data)
        if end:
            self.on_end()

    def on_end(self) -> None:
        """The body is whole."""
        if self.streaming:
            if self.sink is not None:
                self.sink.on_body_end()
            return
        call = self.call
        assert call is not None
        call.body = b"".join(self._body)
        call.too_large = self._size > len(call.body)
        self._body = []
        self.wire.handle(call)

    def on_gone(self) -> None:
        """The peer is gone."""
        if self.closed:
            return
        self.closed = True
        if self.sink is not None:
            self.sink.on_peer_gone()
        if self.ended is not None:
            self.ended(0, 0)

    def on_writable(self) -> None:
        """The peer has read enough."""
        if self.sink is not None:
            self.sink.on_writable()

    def on_drain(self) -> None:
        """An answer that has begun is finished."""

    # What the handler calls.

    def reply(self, reply: Reply) -> None:
        """Send a whole answer."""
        if self.closed:
            return
        self._status = reply.status
        body = b"" if self._is_head() else reply.body
        self.wire.codec.send_response(self.stream_id, reply_block(reply), body, None)
        self._finish(len(reply.body))

    def start(self, status: int, headers: Sequence[Header]) -> None:
        """Send the head; a body follows."""
        if self.closed:
            return
        self._status = status
        self.wire.codec.send_headers(self.stream_id, head_block(status, headers), end_stream=False)
        self.wire.flush()

    def write(self, data: bytes) -> bool:
        """Send a piece of the body. False: wait for `on_writable`."""
        if self.closed or self._is_head() or not data:
            return True
        self._sent += len(data)
        more = self.wire.codec.send_data(self.stream_id, data, end_stream=False)
        self.wire.flush()
        return more

    def end(self, trailers: Sequence[Header] = ()) -> None:
        """Finish the answer."""
        if self.closed:
            return
        if trailers:
            self.wire.codec.send_trailers(self.stream_id, encode_block(trailers))
        else:
            self.wire.codec.send_data(self.stream_id, b"", end_stream=True)
        self._finish(self._sent)

    def abort(self) -> None:
        """Break off: reset the stream."""
        if self.closed:
            return
        self.wire.codec.reset(self.stream_id, ErrorCode.INTERNAL_ERROR)
        self.wire.flush()
        self.wire.streams.pop(self.stream_id, None)
        self.on_gone()

    def pause_body(self) -> None:
        """Give the peer no more window."""
        self._paused = True

    def resume_body(self) -> None:
        """Give it what was held back."""
        self._paused = False
        owed, self._owed = self._owed, 0
        self.wire.codec.consumed(self.stream_id, owed)
        self.wire.flush()

    def stream_to(self, sink: BodySink) -> None:
        """Give the body to `sink`."""
        self.sink = sink
        body, self._body = self._body, []
        for piece in body:
            self._give(sink, piece)

    def _push(self, data: bytes, *, end: bool) -> None:
        self._size += len(data)
        if self._size > self.wire.link.app.max_body_bytes:
            self.abort()
            return
        if self.sink is None:
            self._body.append(data)
        elif data:
            self._give(self.sink, data)
        if end:
            self.on_end()

    def _give(self, sink: BodySink, data: bytes) -> None:
        sink.on_body(data)
        if self._paused:
            self._owed += len(data)
        else:
            self.wire.codec.consumed(self.stream_id, len(data))

    def _is_head(self) -> bool:
        return self.call is not None and self.call.method == b"HEAD"

    def _finish(self, size: int) -> None:
        self.closed = True
        self.wire.close_stream(self.stream_id)
        self.wire.flush()
        if self.ended is not None:
            self.ended(self._status, size)
