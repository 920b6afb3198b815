"""The sending half of an HTTP/2 connection: answers and requests, whole or in pieces. No IO.

`http2.Http2Connection` is this and the receiving halves; what they share is in `http2_output`.

Source: RFC 9113, sections 6.1, 6.2, 6.5, 8.1.
"""

from noded.wire.hpack import EMPTY_TABLE, TABLE_BYTES
from noded.wire.http2_frames import (
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
    pack_head,
)
from noded.wire.http2_output import Output
from noded.wire.http2_streams import Backlog, Stream


class StreamLimitError(RuntimeError):
    """The peer allows no further stream now; wait for one to end, or open another connection."""


class SendingHalf(Output):
    """Streams' answers out. Calls for a stream that is over do nothing: its end may cross them on the way."""

    __slots__ = ()

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

    # The peer's settings.

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
