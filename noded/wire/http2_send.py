"""The sending half of an HTTP/2 connection: frames out, flow control, backlogs. No IO.

`http2.Http2Connection` is this and the receiving halves; they share the streams and the output.

Source: RFC 9113, sections 5.2, 6.1, 6.2, 6.9.
"""

from collections.abc import Sequence
from typing import Final, Protocol

from noded.calls import Header
from noded.wire.fields import HeaderBlock
from noded.wire.hpack import EMPTY_TABLE, TABLE_BYTES
from noded.wire.http2_frames import (
    CONTINUATION,
    DATA,
    DEFAULT_WINDOW_BYTES,
    END_HEADERS,
    END_STREAM,
    HEADER_TABLE_SIZE,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    LARGEST_STREAM_ID,
    LARGEST_WINDOW_BYTES,
    MAX_CONCURRENT_STREAMS,
    MAX_FRAME_SIZE,
    PING,
    SMALLEST_MAX_FRAME_BYTES,
    ConnectionFault,
    ErrorCode,
    encode_frame,
    encode_goaway,
    encode_reset,
    encode_window_update,
    pack_head,
)
from noded.wire.http2_limits import Http2Limits
from noded.wire.http2_streams import Backlog, Stream

_FORGOTTEN: Final = 1000
"""Ids of streams we broke off, for which the peer may have frames under way."""


class Http2Events(Protocol):
    """Who is told what the peer did. Called from inside `feed`; may call the connection back at once."""

    def on_headers(self, stream_id: int, headers: HeaderBlock, end_stream: bool) -> None:  # noqa: FBT001
        """A request's head (server) or the final response's (client); interim responses are skipped."""

    def on_data(self, stream_id: int, data: bytes, end_stream: bool) -> None:  # noqa: FBT001
        """A piece of the body, without padding; it may be empty at the end."""

    def on_trailers(self, stream_id: int, headers: Sequence[Header]) -> None:
        """The body ended with trailers."""

    def on_reset(self, stream_id: int, error_code: int) -> None:
        """The stream is over: the peer reset it, or the codec did for a fault of the peer."""

    def on_writable(self, stream_id: int) -> None:
        """All that was waiting for window is sent."""

    def on_goaway(self, last_stream_id: int, error_code: int) -> None:
        """The peer takes no new streams; those above the id are then reset with REFUSED_STREAM."""


class StreamLimitError(RuntimeError):
    """The peer allows no further stream now; wait for one to end, or open another connection."""


class SendingHalf:
    """Streams' answers out. Calls for a stream that is over do nothing: its end may cross them on the way."""

    __slots__ = (
        "_backlogged",
        "_block_prefix",
        "_client",
        "_credit",
        "_credit_due",
        "_events",
        "_floor",
        "_forgotten",
        "_goaway_received",
        "_goaway_sent",
        "_initial_send_window",
        "_limits",
        "_max_send_frame",
        "_next_id",
        "_out",
        "_peer_max_streams",
        "_receive_window",
        "_send_window",
        "_streams",
        "_unanswered_pings",
        "_undrained_controls",
        "backlog_bytes",
        "closed",
    )

    def __init__(self, events: Http2Events, *, client: bool, limits: Http2Limits) -> None:
        self._events = events
        self._client = client
        self._limits = limits
        self._streams: dict[int, Stream] = {}
        self._backlogged: dict[int, Stream] = {}  # in the order they are served
        self._forgotten: dict[int, None] = {}
        self._out: list[bytes] = []
        self._undrained_controls = 0
        self._send_window = DEFAULT_WINDOW_BYTES
        self._floor = 0
        """Where `_send_window` may fall until `open_output`: the peer's windows do not say whether it reads."""
        self.backlog_bytes = 0
        """DATA of all streams that waits for window, or for the output to be taken."""
        self._initial_send_window = DEFAULT_WINDOW_BYTES
        self._max_send_frame = SMALLEST_MAX_FRAME_BYTES
        self._peer_max_streams = limits.max_concurrent_streams
        self._block_prefix = b""
        self._receive_window = limits.connection_window_bytes
        self._credit = 0  # DATA bytes taken, not yet given back by a WINDOW_UPDATE of the connection
        self._credit_due = (limits.connection_window_bytes + 1) // 2
        self._next_id = 1
        self._goaway_sent = False
        self._goaway_received = False
        self._unanswered_pings = 0
        self.closed = False

    # What goes out.

    def take_output(self) -> bytes:
        """Remove and give everything to send now, in one piece; empty when there is nothing."""
        out = self._out
        if not out:
            return b""
        if len(out) == 1:
            data = out.pop()
        else:
            data = b"".join(out)
            out.clear()
        self._undrained_controls = 0
        return data

    def open_output(self) -> bool:
        """Let `max_output_bytes` more of DATA out: what was taken found a reader. True: there is more to take."""
        self._floor = max(self._send_window - self._limits.max_output_bytes, 0)
        if not self._backlogged:
            return False
        self._flush_all()
        return bool(self._out)

    @property
    def output_pending(self) -> int:
        """Bytes `take_output` would give."""
        return sum(map(len, self._out))

    # Whole answers.

    def send_response(self, stream_id: int, head_block: bytes, body: bytes, trailers_block: bytes | None) -> None:
        """Send head, body and, unless None, trailers, and end the stream. An empty body sends no DATA."""
        stream = self._streams.get(stream_id)
        if stream is None or not stream.sending:
            return
        size = len(body)
        if (
            size > self._max_send_frame
            or size > self._send_window - self._floor
            or size > stream.send_window
            or len(head_block) > SMALLEST_MAX_FRAME_BYTES
            or self._block_prefix
            or (trailers_block is not None and len(trailers_block) > SMALLEST_MAX_FRAME_BYTES)
        ):
            self._send_response_in_pieces(stream, head_block, body, trailers_block)
            return
        out = self._out
        ends_with_data = END_STREAM if trailers_block is None else 0
        head_flags = END_HEADERS if size else END_HEADERS | ends_with_data
        out += (pack_head(len(head_block) << 8 | HEADERS, head_flags, stream_id), head_block)
        if size:
            self._send_window -= size
            stream.send_window -= size
            out += (pack_head(size << 8, ends_with_data, stream_id), body)
        if trailers_block is not None:
            trailers_head = pack_head(len(trailers_block) << 8 | HEADERS, END_HEADERS | END_STREAM, stream_id)
            out += (trailers_head, trailers_block)
        self._end_sending(stream)

    def send_whole(self, frames: bytes, size: int) -> bool:
        """Answer a request that was taken whole by one piece of frames, which holds `size` DATA bytes.

        False: nothing was sent, for the peer's windows do not allow it; open the stream, and answer on that.
        """
        if (
            size > self._send_window - self._floor
            or size > self._initial_send_window
            or size > self._max_send_frame
            or self._block_prefix
        ):
            return False
        self._send_window -= size
        self._out.append(frames)
        return True

    def _send_response_in_pieces(
        self, stream: Stream, head_block: bytes, body: bytes, trailers_block: bytes | None
    ) -> None:
        self.send_headers(stream.stream_id, head_block, end_stream=not body and trailers_block is None)
        if body:
            self.send_data(stream.stream_id, body, end_stream=trailers_block is None)
        if trailers_block is not None:
            self.send_trailers(stream.stream_id, trailers_block)

    # Answers and requests in pieces.

    def send_headers(self, stream_id: int, block: bytes, *, end_stream: bool) -> None:
        """Send a head. A client sends it first on a stream it opened."""
        stream = self._streams.get(stream_id)
        if stream is None or not stream.sending:
            return
        self._append_block(stream_id, block, END_STREAM if end_stream else 0)
        if end_stream:
            self._end_sending(stream)

    def send_data(self, stream_id: int, data: bytes, *, end_stream: bool) -> bool:
        """Send a piece of the body, or keep it until the peer's windows allow.

        False while something is kept: send no more before `on_writable`. True also for a stream that is over.
        """
        stream = self._streams.get(stream_id)
        if stream is None or not stream.sending:
            return True
        backlog = stream.backlog
        size = len(data)
        if (
            backlog is None
            and size <= self._send_window - self._floor
            and size <= stream.send_window
            and size <= self._max_send_frame
        ):
            if size or end_stream:
                self._append_data(stream, data, END_STREAM if end_stream else 0)
            if end_stream:
                self._end_sending(stream)
            return True
        if backlog is None:
            backlog = stream.backlog = Backlog()
            self._backlogged[stream_id] = stream
        backlog.append(data)
        self.backlog_bytes += size
        backlog.ends = end_stream
        while self._flush_frame(stream):
            pass
        backlog.announced = True
        return stream.backlog is None

    def send_trailers(self, stream_id: int, block: bytes) -> None:
        """End the stream with trailers, behind all data kept for it."""
        stream = self._streams.get(stream_id)
        if stream is None or not stream.sending:
            return
        if stream.backlog is not None:
            stream.backlog.trailers = block
            stream.backlog.ends = True
            return
        self._append_block(stream_id, block, END_STREAM)
        self._end_sending(stream)

    def pending(self, stream_id: int) -> int:
        """Bytes of the stream kept until the peer's windows allow."""
        stream = self._backlogged.get(stream_id)
        return 0 if stream is None or stream.backlog is None else stream.backlog.size

    # Streams of our own, and the connection.

    @property
    def can_open(self) -> bool:
        """Whether `open_stream` would work now (client)."""
        return (
            len(self._streams) < self._peer_max_streams
            and self._next_id <= LARGEST_STREAM_ID
            and not (self._goaway_received or self._goaway_sent or self.closed)
        )

    def open_stream(self) -> int:
        """Begin a stream and give its id; `send_headers` comes next (client).

        Raises StreamLimitError when the peer's limit or the ids are used up, or either side said GOAWAY.
        """
        if not self.can_open:
            raise StreamLimitError("no further stream on this connection now")
        stream_id = self._next_id
        self._next_id += 2
        self._streams[stream_id] = self._new_stream(stream_id)
        return stream_id

    def _new_stream(self, stream_id: int) -> Stream:
        limits = self._limits
        return Stream(stream_id, self._initial_send_window, limits.stream_window_bytes, limits.auto_consume_bytes)

    def reset(self, stream_id: int, error_code: int) -> None:
        """Break a stream off. No `on_reset` follows."""
        stream = self._streams.get(stream_id)
        if stream is not None:
            self._out.append(encode_reset(stream_id, error_code))
            self._remember_forgotten(stream_id)
            self._forget(stream)

    def ping(self) -> None:
        """Ask the peer for a sign of life; `statistics().unanswered_pings` tells what came of it."""
        self._unanswered_pings += 1
        self._out.append(encode_frame(PING, 0, 0, b"noded\0\0\0"))

    def goaway(self, error_code: int) -> None:
        """Take no new streams; those open go on. The owner closes when they are over, or when it pleases."""
        if not self._goaway_sent and not self.closed:
            self._goaway_sent = True
            self._out.append(encode_goaway(self._highest_peer_id, error_code))

    @property
    def _highest_peer_id(self) -> int:
        return 0

    # Shared with the receiving half.

    def _append_block(self, stream_id: int, block: bytes, flags: int) -> None:
        """Append HEADERS, and CONTINUATION frames behind it where the peer's frame size asks for them."""
        if self._block_prefix:
            block = self._block_prefix + block
            self._block_prefix = b""
        limit = self._max_send_frame
        if len(block) <= limit:
            self._out += (pack_head(len(block) << 8 | HEADERS, flags | END_HEADERS, stream_id), block)
            return
        pieces = [block[start : start + limit] for start in range(0, len(block), limit)]
        self._out.append(encode_frame(HEADERS, flags, stream_id, pieces[0]))
        self._out += [encode_frame(CONTINUATION, 0, stream_id, piece) for piece in pieces[1:-1]]
        self._out.append(encode_frame(CONTINUATION, END_HEADERS, stream_id, pieces[-1]))

    def _append_data(self, stream: Stream, data: bytes, flags: int) -> None:
        size = len(data)
        self._send_window -= size
        stream.send_window -= size
        self._out += (pack_head(size << 8 | DATA, flags, stream.stream_id), data)

    def _flush_frame(self, stream: Stream) -> bool:
        """Send one frame of a stream's backlog; False when nothing more can be sent of it now."""
        backlog = stream.backlog
        if backlog is None:
            return False
        if backlog.size:
            limit = min(self._send_window - self._floor, stream.send_window, self._max_send_frame)
            if limit <= 0:
                return False
            data = backlog.take(limit)
            self.backlog_bytes -= len(data)
            ends = backlog.ends and backlog.trailers is None and not backlog.size
            self._append_data(stream, data, END_STREAM if ends else 0)
            if backlog.size:
                return True
        elif backlog.ends and backlog.trailers is None:
            self._append_data(stream, b"", END_STREAM)
        self._finish_backlog(stream, backlog)
        return False

    def _finish_backlog(self, stream: Stream, backlog: Backlog) -> None:
        stream.backlog = None
        del self._backlogged[stream.stream_id]
        if backlog.trailers is not None:
            self._append_block(stream.stream_id, backlog.trailers, END_STREAM)
        if backlog.ends:
            self._end_sending(stream)
        if backlog.announced:
            self._events.on_writable(stream.stream_id)

    def _flush_all(self) -> None:
        """Share a grown connection window between the backlogged streams, a frame each in turn."""
        waiting = list(self._backlogged.values())
        while waiting and self._send_window > self._floor:
            waiting = [stream for stream in waiting if self._flush_frame(stream)]

    def _end_sending(self, stream: Stream) -> None:
        """Our side is complete. A server that answered before the request ended asks for no more of it."""
        stream.sending = False
        if not stream.receiving:
            self._forget(stream)
        elif not self._client:
            self.reset(stream.stream_id, ErrorCode.NO_ERROR)

    def _forget(self, stream: Stream) -> None:
        """Drop a stream that is over; what nobody took of it goes back to the connection's window."""
        stream_id = stream.stream_id
        if self._streams.pop(stream_id, None) is None:
            return
        stream.sending = stream.receiving = False
        if stream.held:
            self._grant(stream.held)
            stream.held = 0
        if stream.backlog is not None:
            self.backlog_bytes -= stream.backlog.size
            stream.backlog = None
            del self._backlogged[stream_id]

    def _grant(self, size: int) -> None:
        """Give bytes back to the peer's connection window, by a WINDOW_UPDATE when half of it is used up."""
        self._credit += size
        if self._credit >= self._credit_due:
            self._give_credit()

    def _give_credit(self) -> None:
        self._out.append(encode_window_update(0, self._credit))
        self._receive_window += self._credit
        self._credit = 0

    def _remember_forgotten(self, stream_id: int) -> None:
        forgotten = self._forgotten
        forgotten[stream_id] = None
        if len(forgotten) > _FORGOTTEN:
            del forgotten[next(iter(forgotten))]

    def _apply_settings(self, settings: dict[int, int]) -> None:
        """Take over the peer's settings; raises ConnectionFault when a window would overflow."""
        if settings.get(HEADER_TABLE_SIZE, TABLE_BYTES) < TABLE_BYTES:
            self._block_prefix = EMPTY_TABLE
        self._max_send_frame = settings.get(MAX_FRAME_SIZE, self._max_send_frame)
        ours = self._limits.max_concurrent_streams
        self._peer_max_streams = min(ours, settings.get(MAX_CONCURRENT_STREAMS, self._peer_max_streams))
        window = settings.get(INITIAL_WINDOW_SIZE, self._initial_send_window)
        change = window - self._initial_send_window
        self._initial_send_window = window
        for stream in self._streams.values():
            stream.send_window += change
            if stream.send_window > LARGEST_WINDOW_BYTES:
                raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "window overflow by INITIAL_WINDOW_SIZE")
        if change > 0:
            self._flush_all()
