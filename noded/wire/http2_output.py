"""What an HTTP/2 connection sends: its state, frames out, and the backlogs of what waits for window. No IO.

`http2_send.SendingHalf` is what answers and requests are sent by; both halves of the connection share what is here.

Source: RFC 9113, sections 5.2, 6.1, 6.2, 6.9.
"""

from collections.abc import Sequence
from typing import Final, Protocol

from noded.calls import Header
from noded.wire.fields import HeaderBlock
from noded.wire.http2_frames import (
    CONTINUATION,
    DATA,
    DEFAULT_WINDOW_BYTES,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    SMALLEST_MAX_FRAME_BYTES,
    ErrorCode,
    encode_frame,
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


class Nobody:
    """Is told what happens on a connection that is gone (`Http2Events`)."""

    def on_headers(self, stream_id: int, headers: HeaderBlock, end_stream: bool) -> None:  # noqa: FBT001
        """Nothing."""

    def on_data(self, stream_id: int, data: bytes, end_stream: bool) -> None:  # noqa: FBT001
        """Nothing."""

    def on_trailers(self, stream_id: int, headers: Sequence[Header]) -> None:
        """Nothing."""

    def on_reset(self, stream_id: int, error_code: int) -> None:
        """Nothing."""

    def on_writable(self, stream_id: int) -> None:
        """Nothing."""

    def on_goaway(self, last_stream_id: int, error_code: int) -> None:
        """Nothing."""


NOBODY: Final = Nobody()


class Output:
    """Frames to be taken, in order, and streams whose DATA waits: for the peer's windows, or for the output's bound."""

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
        "_max_output_bytes",
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
        self._max_output_bytes = limits.max_output_bytes
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

    # What the owner takes.

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
        floor = self._send_window - self._max_output_bytes
        self._floor = floor if floor > 0 else 0  # noqa: FURB136 - a call of `max` for every read costs more
        if not self._backlogged:
            return False
        self._flush_all()
        return bool(self._out)

    @property
    def output_pending(self) -> int:
        """Bytes `take_output` would give."""
        return sum(map(len, self._out))

    # Streams that end.

    def reset(self, stream_id: int, error_code: int) -> None:
        """Break a stream off. No `on_reset` follows."""
        stream = self._streams.get(stream_id)
        if stream is not None:
            self._out.append(encode_reset(stream_id, error_code))
            self._remember_forgotten(stream_id)
            self._forget(stream)

    # Frames, and backlogs.

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
