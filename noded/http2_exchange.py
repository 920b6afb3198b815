"""One HTTP request on an HTTP/2 stream, and its answer, which leaves as the codec's frames. Source: RFC 9113."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from noded.calls import BodySink, Ended, Header, HttpCall, Reply
from noded.http1_exchange import Link
from noded.http_blocks import head_block, reply_block
from noded.wire.http2 import ErrorCode, HeaderBlock, encode_block

if TYPE_CHECKING:
    from noded.server_http2 import Http2Wire


def http_call(link: Link, block: HeaderBlock, exchange: "Http2Exchange") -> HttpCall:
    """Make the request of its head; `:authority` becomes `host`."""
    fields = {name: value for name, value in block.headers if name[:1] == b":"}
    headers = [field for field in block.headers if field[0][:1] != b":"]
    if b":authority" in fields:
        headers.insert(0, (b"host", fields[b":authority"]))
    path, _, query = fields.get(b":path", b"/").partition(b"?")
    return HttpCall(link.app, fields[b":method"], path, query, headers, b"", exchange)


def announced_bytes(block: HeaderBlock) -> int:
    """How large the head says the body is; 0: it does not say. The codec has checked it."""
    return next((int(value) for name, value in block.headers if name == b"content-length"), 0)


class Http2Exchange:
    """One HTTP request on an HTTP/2 stream (`noded.calls.Exchange`)."""

    __slots__ = (
        "_block",
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

    def __init__(self, wire: "Http2Wire", stream_id: int, block: HeaderBlock) -> None:
        self.wire = wire
        self._block = block
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
        self.call = None
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
            self._overflow(len(data))
            return
        if self.sink is None:
            self._body.append(data)
        elif data:
            self._give(self.sink, data)
        if end:
            self.on_end()

    def _overflow(self, size: int) -> None:
        """The body passed the limit: answer the request for that, made anew; break off an answer that has begun."""
        self.wire.codec.consumed(self.stream_id, size + self._owed)
        self._owed = 0
        call = self.call
        if call is None or call.too_large:
            return
        if self._status:
            self.abort()
            return
        sink, self.sink, self._body = self.sink, None, []
        if sink is not None:
            sink.on_peer_gone()
        if self.ended is not None:
            self.ended(0, 0)
            self.ended = None
        self.call = call = http_call(self.wire.link, self._block, self)
        call.too_large = True
        call.body_complete = False
        self.wire.handle(call)

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
        self.call = None  # which has this exchange: a cycle would wait for the collector, as cold memory
        self.wire.close_stream(self.stream_id)
        self.wire.flush()
        if self.ended is not None:
            self.ended(self._status, size)
