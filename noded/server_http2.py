"""HTTP/2 of one connection: gRPC calls and plain HTTP requests, each a stream.

The codec (`wire/http2.py`) tells what the peer did; streams answer through it; what it has to send goes out once per
read, or at once when an answer comes later. Source: RFC 9113.
"""

from collections.abc import Callable, Sequence

from msgspec.structs import replace

from noded.calls import Header
from noded.http1_exchange import Link
from noded.http1_known import Handler
from noded.http2_exchange import Http2Exchange, announced_bytes, http_call
from noded.http2_streams import ANSWERED, Gone, Held, Stream
from noded.server_http1 import Decide
from noded.wire.http2 import ErrorCode, HeaderBlock, Http2Connection, Http2Limits

_OUTPUT_BYTES = 256 << 10
_WHOLE_BLOCK_BYTES = 1 << 10
"""Of a head that is decoded in one go, which takes 0.15 ms at the most."""
LIMITS = Http2Limits(
    max_concurrent_streams=1000,
    reset_burst=1000,
    max_output_bytes=_OUTPUT_BYTES,
    whole_block_bytes=_WHOLE_BLOCK_BYTES,
)
"""Streams per connection: gRPC clients put all calls on one; daprd (grpc-go) sets no limit."""
GRPC_LIMITS = replace(LIMITS, min_ping_seconds=8.0)
"""On the gRPC socket, where daprd ends connections whose clients ping more often than that."""
GRPC_HEAD_BYTES = 8 << 10
"""Of a call's head, at the least; as much as gRPC's servers in C, C++, Python and Java take; daprd takes 4 MiB."""
HEADER_LIST_SLACK_BYTES = 320
"""What Go's server adds to the size of a head for an HTTP/2 header list: 32 for each of ten fields."""


def http_limits(read_buffer_bytes: int) -> Http2Limits:
    """The limits on the HTTP socket, where a head may be as large as over HTTP/1.1 (daprd's --read-buffer-size)."""
    return replace(LIMITS, max_header_list_bytes=read_buffer_bytes + HEADER_LIST_SLACK_BYTES)


def grpc_limits(read_buffer_bytes: int) -> Http2Limits:
    """The limits on the gRPC socket: larger heads for who asks for them (daprd's --read-buffer-size)."""
    size = max(GRPC_HEAD_BYTES, read_buffer_bytes + HEADER_LIST_SLACK_BYTES)
    return replace(GRPC_LIMITS, max_header_list_bytes=size)


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
        self.link: Link = link
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
        codec = self.codec
        self._feeding = True
        try:
            codec.feed(data, self._now())
        finally:
            self._feeding = False
        self.mid_head = codec.unfinished
        out = codec.take_output()
        if (not out or self.link.send(out)) and codec.open_output():
            self._send_out()
        if self._holding:
            self._release()
        if codec.put_off:
            codec.put_off = False
            self.link.feed_again()
        if codec.closed:
            self._end_streams()
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
        """The connection is gone: so is every stream, and all that has this is let go."""
        self._end_streams()
        self.codec.lose()
        self.link = Gone(self.link.app)

    def _end_streams(self) -> None:
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

    def _open_http(self, stream_id: int, block: HeaderBlock, *, end: bool) -> Http2Exchange | None:
        exchange = Http2Exchange(self, stream_id, block)
        call = http_call(self.link, block, exchange)
        exchange.call = call
        if end:
            self.streams[stream_id] = exchange
            self.handle(call)
            return None
        if self.body_streams(call):
            call.body_complete = False
            call.too_large = announced_bytes(block) > self.link.app.max_body_bytes
            self.streams[stream_id] = exchange
            exchange.streaming = True
            self.handle(call)
            return None
        return exchange
