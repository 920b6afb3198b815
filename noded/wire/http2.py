"""HTTP/2 without IO: bytes in, events out; answers in, bytes out. The whole connection, and its control frames.

The path of a frame: `feed` here, then `http2_data` (DATA, windows, faults) or `http2_heads` (header blocks, new
streams); what goes out is `http2_send`, by way of `http2_output`. Single frames are in `http2_frames`, what a peer may
cost in `http2_limits`. The peer is never trusted: what breaks a rule ends its stream or its connection, and `feed`
raises nothing.

Source: RFC 9113.
"""

from msgspec import Struct

from noded.wire.fields import HeaderBlock
from noded.wire.hpack import BlockPutOff, HpackError, encode_block
from noded.wire.http2_frames import (
    ACK,
    CONTINUATION,
    DATA,
    DEFAULT_WINDOW_BYTES,
    ENABLE_PUSH,
    FRAME_HEAD_BYTES,
    GOAWAY,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    LARGEST_STREAM_ID,
    LARGEST_WINDOW_BYTES,
    MAX_CONCURRENT_STREAMS,
    MAX_FRAME_SIZE,
    MAX_HEADER_LIST_SIZE,
    PING,
    PREFACE,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    ConnectionFault,
    ErrorCode,
    decode_goaway,
    decode_settings,
    decode_word,
    encode_frame,
    encode_goaway,
    encode_settings,
    encode_window_update,
    unpack_head,
)
from noded.wire.http2_heads import HeadReceiver
from noded.wire.http2_limits import DEFAULT_LIMITS, MAX_PING_STRIKES, Http2Limits
from noded.wire.http2_output import NOBODY, Http2Events
from noded.wire.http2_send import StreamLimitError

__all__ = [
    "DEFAULT_LIMITS",
    "PREFACE",
    "ErrorCode",
    "HeaderBlock",
    "Http2Connection",
    "Http2Events",
    "Http2Limits",
    "Http2Statistics",
    "StreamLimitError",
    "encode_block",
]


class Http2Statistics(Struct, frozen=True):
    """One connection at a moment."""

    open_streams: int
    streams_opened: int
    """By the peer (server), or by us (client)."""
    resets: int
    """Streams broken off by the peer, or by us for its faults."""
    unanswered_pings: int
    send_window_bytes: int
    receive_window_bytes: int
    backlogged_streams: int


class Http2Connection(HeadReceiver):
    """One HTTP/2 connection, server or client.

    The owner calls `start`, then `feed` with what it reads and writes `take_output` after each; once `closed` it
    writes the rest, which tells the peer why, and closes. Streams open at that moment are over without `on_reset`.
    """

    __slots__ = (
        "_cuts",
        "_granted_bytes",
        "_last_ping_at",
        "_needed",
        "_partial",
        "_ping_strikes",
        "_preface_due",
        "_sent_at_answer",
        "_sent_at_ping",
        "_settings_due",
        "put_off",
        "unfinished",
    )

    def __init__(self, events: Http2Events, *, client: bool, limits: Http2Limits = DEFAULT_LIMITS) -> None:
        super().__init__(events, client=client, limits=limits)
        self._partial = bytearray()
        self._needed = 0  # bytes that complete the frame in `_partial`
        self._preface_due = not client
        self._settings_due = True
        self._cuts = 0
        self.unfinished = 0
        """Which frame, or header block, has come in part; 0: none. Each has its number."""
        self.put_off = False
        """Whether a long header block was decoded in part: feed nothing, for its next piece and what is behind it."""
        self._granted_bytes = 0  # by the peer's WINDOW_UPDATEs of the connection
        self._sent_at_answer = -self._send_window  # `_granted_bytes` less the window when a PING was last answered
        self._last_ping_at = float("-inf")
        self._ping_strikes = 0
        self._sent_at_ping = (0, 0)

    def start(self) -> None:
        """Queue what opens the connection: preface (client), SETTINGS, and the connection's window."""
        limits = self._limits
        settings = {
            MAX_FRAME_SIZE: limits.max_frame_bytes,
            INITIAL_WINDOW_SIZE: limits.stream_window_bytes,
            MAX_HEADER_LIST_SIZE: limits.max_header_list_bytes,
        }
        if self._client:
            self._out.append(PREFACE)
            settings[ENABLE_PUSH] = 0
        else:
            settings[MAX_CONCURRENT_STREAMS] = limits.max_concurrent_streams
        self._out.append(encode_settings(settings))
        growth = limits.connection_window_bytes - DEFAULT_WINDOW_BYTES
        if growth > 0:
            self._out.append(encode_window_update(0, growth))

    def statistics(self) -> Http2Statistics:
        """Give the connection's figures now."""
        return Http2Statistics(
            open_streams=len(self._streams),
            streams_opened=(self._next_id if self._client else self._highest_id + 1) // 2,
            resets=self._resets,
            unanswered_pings=self._unanswered_pings,
            send_window_bytes=self._send_window,
            receive_window_bytes=self._receive_window,
            backlogged_streams=len(self._backlogged),
        )

    def answer_whole(self, *, allowed: bool) -> None:
        """Whether known requests may be answered without a stream of their own, and past `on_headers`."""
        limits = self._limits
        self._largest_whole = min(limits.auto_consume_bytes, limits.max_frame_bytes) if allowed else 0

    @property
    def open_streams(self) -> int:
        """Streams not yet over."""
        return len(self._streams)

    def lose(self) -> None:
        """The connection is gone: forget what was learnt on it, and tell nobody of anything any more.

        Whoever is told has this, and so has what was learnt: cycles that would stay until the collector comes.
        """
        self.closed = True
        self._events = NOBODY
        self._streams.clear()
        self._backlogged.clear()
        self.backlog_bytes = 0
        self._forget_heads()

    # Bytes in.

    def feed(self, data: bytes, now: float = 0.0) -> None:
        """Take what was read; `now` is the loop's time in seconds, by which flood budgets grow back.

        Never raises for the peer's faults: GOAWAY is queued and `closed` is True, after which bytes are ignored. Where
        `put_off` was set, whoever feeds it takes that back, and feeds again.
        """
        if self.closed:
            return
        self._now = now
        if self._partial:
            self._partial += data
            if len(self._partial) < self._needed:
                return
            data = bytes(self._partial)
            self._partial.clear()
            self.unfinished = 0
        elif self.unfinished:
            self.unfinished = 0
        try:
            used = self._receive_preface(data) if self._preface_due else self._receive(data)
        except ConnectionFault as fault:
            self._close(fault)
        except HpackError as error:
            self._close(ConnectionFault(ErrorCode.COMPRESSION_ERROR, str(error)))
        else:
            if used < len(data) or self._block_stream_id:
                self._cut(data[used:])

    def _cut(self, rest: bytes) -> None:
        """What was read ended inside a frame or a header block."""
        self._partial += rest
        self._cuts += 1
        self.unfinished = self._cuts

    def _close(self, fault: ConnectionFault) -> None:
        self.closed = True
        self._out.append(encode_goaway(self._highest_id, fault.code, fault.reason))
        self._streams.clear()
        self._backlogged.clear()
        self.backlog_bytes = 0
        self._partial.clear()
        self._block.clear()

    def _receive(self, data: bytes, position: int = 0) -> int:
        """Handle every whole frame from there on; give the bytes used."""
        end = len(data)
        max_frame_bytes = self._limits.max_frame_bytes
        while end - position >= FRAME_HEAD_BYTES:
            length_and_kind, flags, stream_id = unpack_head(data, position)
            length = length_and_kind >> 8
            if length > max_frame_bytes:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "frame larger than SETTINGS_MAX_FRAME_SIZE")
            start = position + FRAME_HEAD_BYTES
            stop = start + length
            if stop > end:
                self._needed = FRAME_HEAD_BYTES + length
                return position
            position = stop
            kind = length_and_kind & 0xFF
            stream_id &= LARGEST_STREAM_ID
            if self._block_stream_id or self._settings_due:
                self._check_order(kind, flags, stream_id)
            try:
                if kind == DATA:
                    self._receive_data(stream_id, flags, data[start:stop])
                elif kind == HEADERS:
                    position = self._receive_opening(stream_id, flags, data, start, stop)
                else:
                    self._receive_control(kind, stream_id, flags, data[start:stop])
            except BlockPutOff:
                self._needed = 0
                self.put_off = True
                return start - FRAME_HEAD_BYTES
            if self.closed:
                return end
        self._needed = FRAME_HEAD_BYTES
        return position

    def _receive_preface(self, data: bytes) -> int:
        if len(data) < len(PREFACE) and PREFACE.startswith(data):
            self._needed = len(data) + 1  # the next byte may already tell it is none
            return 0
        if not data.startswith(PREFACE):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "not the HTTP/2 preface")
        self._preface_due = False
        return self._receive(data, len(PREFACE))

    def _check_order(self, kind: int, flags: int, stream_id: int) -> None:
        """Only SETTINGS opens a connection; nothing comes between the frames of a header block."""
        if self._settings_due:
            if kind != SETTINGS or flags & ACK:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "the first frame is not SETTINGS")
            self._settings_due = False
        elif kind != CONTINUATION or stream_id != self._block_stream_id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "CONTINUATION expected")

    # Everything else.

    def _receive_control(self, kind: int, stream_id: int, flags: int, payload: bytes) -> None:
        if kind == WINDOW_UPDATE:
            self._receive_window_update(stream_id, payload)
        elif kind == SETTINGS:
            self._receive_settings(stream_id, flags, payload)
        elif kind == PING:
            self._receive_ping(stream_id, flags, payload)
        elif kind == RST_STREAM:
            self._receive_reset(stream_id, payload)
        elif kind == CONTINUATION:
            self._receive_continuation(stream_id, flags, payload)
        elif kind == GOAWAY:
            self._receive_goaway(stream_id, payload)
        elif kind == PRIORITY:
            self._receive_priority(stream_id, payload)
        elif kind == PUSH_PROMISE:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "PUSH_PROMISE is not allowed here")
        else:
            self._controls.spend(self._now, "frames of unknown types")

    def _receive_window_update(self, stream_id: int, payload: bytes) -> None:
        growth = decode_word(payload) & LARGEST_STREAM_ID
        if not stream_id:
            if not growth:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE by nothing")
            self._send_window += growth
            self._granted_bytes += growth
            if self._limits.max_output_bytes <= LARGEST_WINDOW_BYTES:
                self._floor += growth  # it says nothing of what was taken
            if self._send_window > LARGEST_WINDOW_BYTES:
                raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "connection window overflow")
            if self._backlogged:
                self._flush_all()
            return
        stream = self._streams.get(stream_id)
        if stream is None:
            self._check_late(stream_id, "WINDOW_UPDATE")
            return
        stream.send_window += growth
        if not growth:
            self._fault(stream_id, ErrorCode.PROTOCOL_ERROR)
        elif stream.send_window > LARGEST_WINDOW_BYTES:
            self._fault(stream_id, ErrorCode.FLOW_CONTROL_ERROR)
        else:
            while self._flush_frame(stream):
                pass

    def _receive_settings(self, stream_id: int, flags: int, payload: bytes) -> None:
        if stream_id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "SETTINGS on a stream")
        if flags & ACK:
            if payload:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "SETTINGS acknowledgement with a payload")
            return
        settings = decode_settings(payload)
        self._controls.spend(self._now, "SETTINGS frames")
        if self._client and settings.get(ENABLE_PUSH):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a server may not set ENABLE_PUSH")
        self._append_control(encode_frame(SETTINGS, ACK, 0))
        self._apply_settings(settings)

    def _receive_ping(self, stream_id: int, flags: int, payload: bytes) -> None:
        if stream_id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "PING on a stream")
        if len(payload) != 8:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "PING not of eight bytes")
        if flags & ACK:
            self._unanswered_pings = 0
            return
        self._pay_for_ping()
        self._append_control(encode_frame(PING, ACK, 0, payload))
        if self._limits.min_ping_seconds:
            self._judge_ping()

    def _pay_for_ping(self) -> None:
        """Spend for a ping, unless data was sent since the last: grpc-go answers data so, to learn the bandwidth."""
        sent = self._granted_bytes - self._send_window
        if sent == self._sent_at_answer:
            self._controls.spend(self._now, "PING frames")
        self._sent_at_answer = sent

    def _judge_ping(self) -> None:
        """Count pings that come too soon, as long as no stream was opened and nothing was sent between them.

        Source: grpc-go, keepalive enforcement.
        """
        moved = (self._highest_id, self._granted_bytes - self._send_window)
        if moved != self._sent_at_ping:
            self._sent_at_ping = moved
            self._ping_strikes = 0
        elif self._now - self._last_ping_at < self._limits.min_ping_seconds:
            self._ping_strikes += 1
        self._last_ping_at = self._now
        if self._ping_strikes > MAX_PING_STRIKES:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "too_many_pings")

    def _receive_reset(self, stream_id: int, payload: bytes) -> None:
        error_code = decode_word(payload)
        stream = self._streams.get(stream_id)
        if stream is None:
            self._check_late(stream_id, "RST_STREAM")
            return
        self._forget(stream)
        self._resets += 1
        self._reset_budget.spend(self._now, "streams broken off")
        self._events.on_reset(stream_id, error_code)

    def _receive_goaway(self, stream_id: int, payload: bytes) -> None:
        if stream_id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "GOAWAY on a stream")
        last_stream_id, error_code = decode_goaway(payload)
        self._controls.spend(self._now, "GOAWAY frames")
        self._goaway_received = True
        self._events.on_goaway(last_stream_id, error_code)
        if self._client:
            for stream in [stream for stream in self._streams.values() if stream.stream_id > last_stream_id]:
                self._forget(stream)
                self._events.on_reset(stream.stream_id, ErrorCode.REFUSED_STREAM)

    def _receive_priority(self, stream_id: int, payload: bytes) -> None:
        """Check what RFC 9113, section 5.3.2, leaves of PRIORITY, and take no notice otherwise."""
        if not stream_id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "PRIORITY on stream 0")
        self._controls.spend(self._now, "PRIORITY frames")
        if len(payload) != 5:
            self._fault(stream_id, ErrorCode.FRAME_SIZE_ERROR)
        elif int.from_bytes(payload[:4], "big") & LARGEST_STREAM_ID == stream_id:
            self._fault(stream_id, ErrorCode.PROTOCOL_ERROR)
