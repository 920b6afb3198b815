"""The client's side of HTTP/2 to one app: a connection, and the streams on it. Bytes in and out, undecoded.

A stream's data is taken when its owner says so (`AppStream.consumed`), so a slow taker holds the app's window of that
stream and of no other: the connection's window is larger than all streams' together. Source: RFC 9113.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, Protocol, cast

from noded.calls import Header
from noded.channel_contract import ChannelError
from noded.wire.http2 import ErrorCode, HeaderBlock, Http2Connection, Http2Limits

STREAMS: Final = 256
"""Open on one connection at most; the app may allow fewer."""
STREAM_WINDOW_BYTES: Final = 128 << 10
LIMITS: Final = Http2Limits(
    max_concurrent_streams=STREAMS,
    stream_window_bytes=STREAM_WINDOW_BYTES,
    connection_window_bytes=2 * STREAMS * STREAM_WINDOW_BYTES,
    auto_consume_bytes=0,
    reset_burst=1_000_000,
    resets_per_second=1_000_000.0,
)
"""An app may refuse every call: resets are its answers, not an attack."""
HIGH_WRITE_BYTES: Final = 256 << 10
"""Bytes not yet taken by the app, above which senders are told to wait."""


class StreamReset(ChannelError):
    """The app broke a stream off."""

    def __init__(self, code: int) -> None:
        super().__init__(f"stream terminated by RST_STREAM with error code: {_code_name(code)}")
        self.code = code


class StreamSink(Protocol):
    """Who takes the answer: a head, data, and the end or an error, once. Must not raise."""

    @property
    def abandoned(self) -> bool:
        """Whether nobody wants the answer any more; asked while there is a deadline, the stream is then broken off."""

    def on_head(self, headers: Sequence[Header], *, end: bool) -> None:
        """The final answer's head, `:status` included."""

    def on_piece(self, data: bytes, *, end: bool) -> None:
        """A piece of the body; `AppStream.consumed` says when it was taken."""

    def on_trailers(self, headers: Sequence[Header]) -> None:
        """The body ended with trailers."""

    def on_error(self, error: ChannelError) -> None:
        """There is no answer, or not the rest of it."""

    def on_drained(self) -> None:
        """More of the request may be written."""


class Pool(Protocol):
    """What a connection tells its channel."""

    def made(self, connection: "Http2Client") -> None:
        """It is open, and the app's settings are known."""

    def released(self, connection: "Http2Client") -> None:
        """One of its streams is over."""

    def lost(self, connection: "Http2Client", reason: str) -> None:
        """It takes no more streams, and has none left or will say so again; before `made`: there will be none."""

    def now(self) -> float:
        """The loop's time, in seconds."""


class AppStream:
    """One request on its way: waiting for a connection, or a stream on one."""

    __slots__ = (
        "_early",
        "_ended",
        "_head",
        "answer_seconds",
        "closed",
        "connection",
        "counted",
        "deadline",
        "sink",
        "stream_id",
    )

    def __init__(self, head: bytes, sink: StreamSink, deadline: float, body: bytes | None = None) -> None:
        """`head` is an encoded block; `body` None: it follows by `write`."""
        self._head = head
        self.sink = sink
        self.deadline = deadline
        """Loop time at which it is broken off; infinity: never."""
        self.answer_seconds: float | None = None
        """How long the answer may take once the stream left the line for a place; None: `deadline` is for all of it."""
        self.connection: Http2Client | None = None
        self.stream_id = 0
        self.closed = False
        """True once the answer is complete or broken off."""
        self.counted = False
        """For the channel: whether it holds one of the app's places."""
        self._early: list[bytes] = [] if body is None else [body]
        self._ended = body is not None

    @property
    def waiting_bytes(self) -> int:
        """Of the request's body, kept until there is a connection."""
        return sum(map(len, self._early))

    def write(self, data: bytes, *, end: bool = False) -> bool:
        """Send a piece of the body, perhaps its last. False: wait for `on_drained`."""
        if self.closed or self._ended:
            return True
        self._ended = end
        if self.connection is None:
            self._early.append(data)
            return False
        return self.connection.send(self.stream_id, data, end=end)

    def consumed(self, size: int) -> None:
        """So many bytes of the answer were taken: the app may send as many more."""
        if self.connection is not None:
            self.connection.consumed(self.stream_id, size)

    def cancel(self) -> None:
        """Break it off; the sink hears nothing more."""
        if self.closed:
            return
        self.closed = True
        if self.connection is not None:
            self.connection.cancel(self)

    def fail(self, error: ChannelError) -> None:
        """End it with an error."""
        if not self.closed:
            self.cancel()
            self.sink.on_error(error)

    def after_read(self, callback: Callable[[], None]) -> None:
        """Call back when what arrived together with the present event was handed out. For a sink, in `on_head`."""
        if self.connection is not None:
            self.connection.after_read.append(callback)

    def begin(self, connection: "Http2Client", codec: Http2Connection) -> None:
        """Being on a connection now, send what there is."""
        self.stream_id = stream_id = codec.open_stream()
        self.connection = connection
        early, self._early = self._early, []
        if self._ended:
            codec.send_response(stream_id, self._head, b"".join(early), None)
            return
        codec.send_headers(stream_id, self._head, end_stream=False)
        if early and codec.send_data(stream_id, b"".join(early), end_stream=False):
            self.sink.on_drained()


class Http2Client(asyncio.Protocol):
    """A connection to an app, shared by many streams."""

    __slots__ = (
        "_feeding",
        "_pool",
        "_ready",
        "_transport",
        "_writing_paused",
        "after_read",
        "codec",
        "streams",
        "usable",
    )

    def __init__(self, pool: Pool) -> None:
        self.codec = Http2Connection(self, client=True, limits=LIMITS)
        self.streams: dict[int, AppStream] = {}
        self.usable = True
        """Whether it may take streams at all: False once either side is leaving."""
        self.after_read: list[Callable[[], None]] = []
        """Whom to call when a read was handed out."""
        self._pool = pool
        self._transport: asyncio.Transport = cast("asyncio.Transport", None)
        self._ready = False
        self._feeding = False
        self._writing_paused = False

    # What the channel and the streams call.

    @property
    def has_room(self) -> bool:
        """Whether it takes another stream now."""
        return self.usable and self.codec.can_open

    def carry(self, stream: AppStream) -> None:
        """Put a stream on this connection."""
        stream.begin(self, self.codec)
        self.streams[stream.stream_id] = stream
        self._flush()

    def send(self, stream_id: int, data: bytes, *, end: bool) -> bool:
        """Send a piece of a request's body. False: the app takes it slowly."""
        more = self.codec.send_data(stream_id, data, end_stream=end)
        self._flush()
        return more and not self._writing_paused

    def consumed(self, stream_id: int, size: int) -> None:
        """Let the app send more."""
        self.codec.consumed(stream_id, size)
        self._flush()

    def cancel(self, stream: AppStream) -> None:
        """Break a stream off."""
        stream.connection = None
        if self.streams.pop(stream.stream_id, None) is not None:
            self.codec.reset(stream.stream_id, ErrorCode.CANCEL)
            self._flush()
            self._left()

    def close(self, reason: str) -> None:
        """Close; what is under way fails for `reason`."""
        if self._transport is not None and self.usable and not self.codec.closed:
            self.codec.goaway(ErrorCode.NO_ERROR)
            self._flush()
        self._end(reason)

    # What the loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Open the connection; it joins the pool once the app has told its settings."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(HIGH_WRITE_BYTES)
        self.codec.start()
        self._flush()

    def data_received(self, data: bytes) -> None:
        """Read answers."""
        self._feeding = True
        try:
            self.codec.feed(data, self._pool.now())
            if self.after_read:
                self._call_after_read()
        finally:
            self._feeding = False
        self._flush()
        if self.codec.closed:
            self._end("the app does not speak HTTP/2" if not self._ready else "the app broke the rules of HTTP/2")
        elif not self._ready:
            self._ready = True
            self._pool.made(self)

    def connection_lost(self, error: Exception | None) -> None:
        """Leave the pool; what is under way fails."""
        self._end(f"connection to the app broke: {error}" if error else "the app closed the connection")
        self.codec.lose()

    def pause_writing(self) -> None:
        """The app takes requests slowly."""
        self._writing_paused = True

    def resume_writing(self) -> None:
        """It takes more."""
        self._writing_paused = False
        for stream in tuple(self.streams.values()):
            if not self.codec.pending(stream.stream_id):
                stream.sink.on_drained()

    # What the codec calls.

    def on_headers(self, stream_id: int, headers: HeaderBlock, end_stream: bool) -> None:  # noqa: FBT001
        """An answer begins; it may be all."""
        stream = self._stream(stream_id, end=end_stream)
        if stream is not None:
            stream.sink.on_head(headers.headers, end=end_stream)

    def on_data(self, stream_id: int, data: bytes, end_stream: bool) -> None:  # noqa: FBT001
        """A piece of an answer."""
        stream = self._stream(stream_id, end=end_stream)
        if stream is not None:
            stream.sink.on_piece(data, end=end_stream)

    def on_trailers(self, stream_id: int, headers: Sequence[Header]) -> None:
        """An answer ended with trailers."""
        stream = self._stream(stream_id, end=True)
        if stream is not None:
            stream.sink.on_trailers(headers)

    def on_reset(self, stream_id: int, error_code: int) -> None:
        """A stream is over."""
        stream = self.streams.pop(stream_id, None)
        if stream is not None:
            stream.connection = None
            stream.closed = True
            self._left()
            stream.sink.on_error(StreamReset(error_code))

    def on_writable(self, stream_id: int) -> None:
        """What waited for window is sent."""
        stream = self.streams.get(stream_id)
        if stream is not None and not self._writing_paused:
            stream.sink.on_drained()

    def on_goaway(self, last_stream_id: int, error_code: int) -> None:
        """The app takes no new streams; those under way go on."""
        self.usable = False
        self._pool.lost(self, "the app takes no more calls on this connection")
        self._close_if_done()

    # Its own.

    def _stream(self, stream_id: int, *, end: bool) -> AppStream | None:
        """The stream of an event; at its end it leaves. One answered before its request was whole is broken off."""
        if not end:
            return self.streams.get(stream_id)
        stream = self.streams.pop(stream_id, None)
        if stream is not None:
            stream.connection = None
            stream.closed = True
            self.codec.reset(stream_id, ErrorCode.NO_ERROR)
            self._left()
        return stream

    def _call_after_read(self) -> None:
        callbacks, self.after_read = self.after_read, []
        for callback in callbacks:
            callback()

    def _left(self) -> None:
        self._pool.released(self)
        self._close_if_done()

    def _close_if_done(self) -> None:
        """Close a connection that takes no more streams and has none."""
        if not self.usable and not self.streams and not self._transport.is_closing():
            self._transport.close()

    def _flush(self) -> None:
        if not self._feeding and (out := self.codec.take_output()) and not self._transport.is_closing():
            self._transport.write(out)

    def _end(self, reason: str) -> None:
        """Close; what an app that does not read has not taken is dropped, for it might never take it."""
        self.usable = False
        if self._transport is not None:
            (self._transport.abort if self._writing_paused else self._transport.close)()
        streams, self.streams = self.streams, {}
        self._pool.lost(self, reason)
        for stream in streams.values():
            stream.connection = None
            stream.fail(ChannelError(reason))


def _code_name(code: int) -> str:
    try:
        return ErrorCode(code).name
    except ValueError:
        return str(code)
