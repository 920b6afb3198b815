"""HTTP/2 without IO: bytes in, events out; answers in, bytes out. The receiving half, and the whole connection.

One connection's rules stand in four files: `http2_frames` (one frame), `http2_limits` (what a peer may cost),
`http2_send` (what goes out) and this one (what comes in). The peer is never trusted: what breaks a rule ends its
stream or its connection, and `feed` raises nothing.

Source: RFC 9113.
"""

from typing import Final

from msgspec import Struct

from noded.wire.fields import INTERIM_RESPONSE, REQUEST, RESPONSE, TOO_LARGE, TRAILERS, HeaderBlock
from noded.wire.hpack import Decoder, HpackError, encode_block
from noded.wire.http2_frames import (
    ACK,
    CONTINUATION,
    DATA,
    DEFAULT_WINDOW_BYTES,
    ENABLE_PUSH,
    END_HEADERS,
    END_STREAM,
    FRAME_HEAD_BYTES,
    GOAWAY,
    HAS_PRIORITY,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    LARGEST_STREAM_ID,
    LARGEST_WINDOW_BYTES,
    MAX_CONCURRENT_STREAMS,
    MAX_FRAME_SIZE,
    MAX_HEADER_LIST_SIZE,
    PADDED,
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
    encode_reset,
    encode_settings,
    encode_window_update,
    strip_padding,
    unpack_head,
)
from noded.wire.http2_limits import DEFAULT_LIMITS, Budget, Http2Limits
from noded.wire.http2_send import Http2Events, SendingHalf, StreamLimitError
from noded.wire.http2_streams import Stream

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

_TOO_LARGE_ANSWER: Final = encode_block(((b":status", b"431"), (b"content-length", b"0")))


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


class Http2Connection(SendingHalf):
    """One HTTP/2 connection, server or client.

    The owner calls `start`, then `feed` with what it reads and writes `take_output` after each; once `closed` it
    writes the rest, which tells the peer why, and closes. Streams open at that moment are over without `on_reset`.
    """

    __slots__ = (
        "_block",
        "_block_continuations",
        "_block_ends_stream",
        "_block_stream_id",
        "_controls",
        "_decoder",
        "_gaps",
        "_highest_id",
        "_needed",
        "_now",
        "_partial",
        "_preface_due",
        "_reset_budget",
        "_resets",
        "_settings_due",
    )

    def __init__(self, events: Http2Events, *, client: bool, limits: Http2Limits = DEFAULT_LIMITS) -> None:
        super().__init__(events, client=client, limits=limits)
        self._decoder = Decoder(limits.max_header_list_bytes)
        self._reset_budget = Budget(limits.reset_burst, limits.resets_per_second)
        self._controls = Budget(limits.control_burst, limits.controls_per_second)
        self._now = 0.0
        self._partial = bytearray()
        self._needed = 0  # bytes that complete the frame in `_partial`
        self._preface_due = not client
        self._settings_due = True
        self._highest_id = 0  # of the streams the peer opened
        self._gaps: list[tuple[int, int]] = []  # ids it left out, first and last
        self._resets = 0
        self._block = bytearray()  # a header block waiting for CONTINUATION
        self._block_stream_id = 0
        self._block_ends_stream = 0
        self._block_continuations = 0

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

    @property
    def open_streams(self) -> int:
        """Streams not yet over."""
        return len(self._streams)

    def consumed(self, stream_id: int, size: int) -> None:
        """The application took `size` DATA bytes of the stream: let the peer send as many more."""
        stream = self._streams.get(stream_id)
        if stream is None:
            return
        if stream.held:
            owed = min(size, stream.held)
            stream.held -= owed
            self._grant(owed)
        if stream.receiving:
            window = self._limits.stream_window_bytes
            stream.credit = min(stream.credit + size, window - stream.receive_window)
            if stream.credit * 2 >= window:
                self._out.append(encode_window_update(stream_id, stream.credit))
                stream.receive_window += stream.credit
                stream.credit = 0

    @property
    def _highest_peer_id(self) -> int:
        return self._highest_id

    # Bytes in.

    def feed(self, data: bytes, now: float = 0.0) -> None:
        """Take what was read; `now` is the loop's time in seconds, by which flood budgets grow back.

        Never raises for the peer's faults: GOAWAY is queued and `closed` is True, after which bytes are ignored.
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
        try:
            used = self._receive(data)
        except ConnectionFault as fault:
            self._close(fault)
        except HpackError as error:
            self._close(ConnectionFault(ErrorCode.COMPRESSION_ERROR, str(error)))
        else:
            if used < len(data):
                self._partial += data[used:]

    def _close(self, fault: ConnectionFault) -> None:
        self.closed = True
        self._out.append(encode_goaway(self._highest_id, fault.code, fault.reason))
        self._streams.clear()
        self._backlogged.clear()
        self._partial.clear()
        self._block.clear()

    def _receive(self, data: bytes) -> int:
        """Handle every whole frame; give the bytes used."""
        position = self._receive_preface(data) if self._preface_due else 0
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
            if kind == DATA:
                self._receive_data(stream_id, flags, data[start:stop])
            elif kind == HEADERS:
                self._receive_headers(stream_id, flags, data[start:stop])
            else:
                self._receive_control(kind, stream_id, flags, data[start:stop])
            if self.closed:
                return end
        self._needed = FRAME_HEAD_BYTES
        return position

    def _receive_preface(self, data: bytes) -> int:
        if len(data) < len(PREFACE) and PREFACE.startswith(data):
            self._needed = len(PREFACE)
            return 0
        if not data.startswith(PREFACE):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "not the HTTP/2 preface")
        self._preface_due = False
        return len(PREFACE)

    def _check_order(self, kind: int, flags: int, stream_id: int) -> None:
        """Only SETTINGS opens a connection; nothing comes between the frames of a header block."""
        if self._settings_due:
            if kind != SETTINGS or flags & ACK:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "the first frame is not SETTINGS")
            self._settings_due = False
        elif kind != CONTINUATION or stream_id != self._block_stream_id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "CONTINUATION expected")

    # DATA.

    def _receive_data(self, stream_id: int, flags: int, data: bytes) -> None:
        size = len(data)
        self._receive_window -= size
        if self._receive_window < 0:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "DATA beyond the connection's window")
        stream = self._streams.get(stream_id)
        if stream is None or not stream.receiving:
            self._receive_late_data(stream_id, stream, size)
            return
        stream.receive_window -= size
        if stream.receive_window < 0:
            self._grant(size)
            self._fault(stream_id, ErrorCode.FLOW_CONTROL_ERROR)
            return
        if size <= stream.auto_consume:
            stream.auto_consume -= size
            self._grant(size)
        else:
            stream.held += size
        ends = flags & END_STREAM
        if flags & PADDED:
            data = strip_padding(data)
            self.consumed(stream_id, size - len(data))
        if data:
            self._controls.refill()
        elif not ends:
            self._controls.spend(self._now, "empty DATA frames")
        checked = stream.head_received and stream.body_left is None
        if not checked and not self._body_fits(stream, len(data), ends):
            return
        if ends:
            self._end_receiving(stream)
        self._events.on_data(stream_id, data, ends != 0)

    def _receive_late_data(self, stream_id: int, stream: Stream | None, size: int) -> None:
        """DATA for a stream that takes none: forgiven if we broke it off, the peer's fault otherwise."""
        self._grant(size)
        if stream is not None:
            self._fault(stream_id, ErrorCode.STREAM_CLOSED)
        elif self._is_idle(stream_id):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "DATA on a stream that was never opened")
        elif not self._is_forgiven(stream_id):
            raise ConnectionFault(ErrorCode.STREAM_CLOSED, "DATA on a closed stream")
        elif not size:
            self._controls.spend(self._now, "empty DATA frames")

    def _body_fits(self, stream: Stream, size: int, ends: int) -> bool:
        """Hold a body against its content-length; False after breaking the stream off."""
        left = 0 if stream.body_left is None else stream.body_left - size
        stream.body_left = None if stream.body_left is None else left
        if stream.head_received and left >= 0 and not (ends and left):
            return True
        self._fault(stream.stream_id, ErrorCode.PROTOCOL_ERROR)
        return False

    def _end_receiving(self, stream: Stream) -> None:
        stream.receiving = False
        if not stream.sending:
            self._forget(stream)

    # HEADERS and CONTINUATION.

    def _receive_headers(self, stream_id: int, flags: int, raw: bytes) -> None:
        if not stream_id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "HEADERS on stream 0")
        if flags & (PADDED | HAS_PRIORITY):
            raw = self._strip_head(stream_id, flags, raw)
        if flags & END_HEADERS:
            self._receive_block(stream_id, raw, flags & END_STREAM)
            return
        self._block += raw
        self._block_stream_id = stream_id
        self._block_ends_stream = flags & END_STREAM
        self._block_continuations = 0

    def _strip_head(self, stream_id: int, flags: int, raw: bytes) -> bytes:
        if flags & PADDED:
            raw = strip_padding(raw)
        if not flags & HAS_PRIORITY:
            return raw
        if len(raw) < 5:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "HEADERS too short for its priority")
        if int.from_bytes(raw[:4], "big") & LARGEST_STREAM_ID == stream_id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a stream that depends on itself")
        return raw[5:]

    def _receive_continuation(self, stream_id: int, flags: int, raw: bytes) -> None:
        if not self._block_stream_id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "CONTINUATION without HEADERS")
        self._block += raw
        self._block_continuations += 1
        limits = self._limits
        if self._block_continuations > limits.max_continuations or len(self._block) > limits.max_header_list_bytes:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "header block too large")
        if flags & END_HEADERS:
            block = bytes(self._block)
            self._block.clear()
            self._block_stream_id = 0
            self._receive_block(stream_id, block, self._block_ends_stream)

    def _receive_block(self, stream_id: int, raw: bytes, ends: int) -> None:
        """Decode a whole block first, whatever becomes of it: the decoder must stay in step with the peer."""
        block = self._decoder.decode(raw)
        stream = self._streams.get(stream_id)
        if stream is None:
            if self._client or stream_id <= self._highest_id or not stream_id & 1:
                self._receive_late_block(stream_id)
            else:
                self._receive_request(stream_id, block, ends)
        elif not stream.receiving:
            self._fault(stream_id, ErrorCode.STREAM_CLOSED)
        elif stream.head_received:
            self._receive_trailers(stream, block, ends)
        else:
            self._receive_response(stream, block, ends)

    def _receive_late_block(self, stream_id: int) -> None:
        """HEADERS for a stream that takes none."""
        if self._is_idle(stream_id) or any(first <= stream_id <= last for first, last in self._gaps):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "stream id not allowed")
        if not self._is_forgiven(stream_id):
            raise ConnectionFault(ErrorCode.STREAM_CLOSED, "HEADERS on a closed stream")

    def _receive_request(self, stream_id: int, block: HeaderBlock, ends: int) -> None:
        if self._highest_id + 2 < stream_id:
            self._note_gap(self._highest_id + 1, stream_id - 1)
        if self._goaway_sent:
            self._highest_id = stream_id
            self._remember_forgotten(stream_id)
            return
        self._highest_id = stream_id
        if block.kind != REQUEST or (ends and block.content_length):
            self._refuse_block(stream_id, block)
            return
        streams = self._streams
        if len(streams) >= self._limits.max_concurrent_streams:
            self._fault(stream_id, ErrorCode.REFUSED_STREAM)
            return
        stream = streams[stream_id] = self._new_stream(stream_id)
        stream.head_received = True
        stream.receiving = not ends
        stream.body_left = block.content_length
        self._controls.refill()
        self._events.on_headers(stream_id, block, ends != 0)

    def _note_gap(self, first: int, last: int) -> None:
        """Remember ids that may never be used any more; the latest few are enough to name the fault."""
        self._gaps.append((first, last))
        del self._gaps[:-16]

    def _refuse_block(self, stream_id: int, block: HeaderBlock) -> None:
        if block.kind == TOO_LARGE and stream_id not in self._streams and not self._client:
            self._append_block(stream_id, _TOO_LARGE_ANSWER, END_STREAM)
            self._fault(stream_id, ErrorCode.NO_ERROR)
            return
        self._fault(stream_id, ErrorCode.PROTOCOL_ERROR)

    def _receive_response(self, stream: Stream, block: HeaderBlock, ends: int) -> None:
        if block.kind == INTERIM_RESPONSE and not ends:
            self._controls.spend(self._now, "interim responses")
            return
        if block.kind != RESPONSE:
            self._refuse_block(stream.stream_id, block)
            return
        stream.head_received = True
        # A response to HEAD, and a 304, announce a length and end at once.
        stream.body_left = block.content_length
        if ends:
            self._end_receiving(stream)
        self._controls.refill()
        self._events.on_headers(stream.stream_id, block, ends != 0)

    def _receive_trailers(self, stream: Stream, block: HeaderBlock, ends: int) -> None:
        if not ends or block.kind != TRAILERS or stream.body_left:
            self._refuse_block(stream.stream_id, block)
            return
        self._end_receiving(stream)
        self._events.on_trailers(stream.stream_id, block.headers)

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
        self._controls.spend(self._now, "PING frames")
        self._append_control(encode_frame(PING, ACK, 0, payload))

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

    # What a stream id is, and whose fault.

    def _is_idle(self, stream_id: int) -> bool:
        """Whether nobody opened the stream yet. Even ids are for pushes, which nobody may send here."""
        if not stream_id & 1:
            return True
        return stream_id >= self._next_id if self._client else stream_id > self._highest_id

    def _is_forgiven(self, stream_id: int) -> bool:
        return stream_id in self._forgotten

    def _check_late(self, stream_id: int, what: str) -> None:
        """A frame for a stream not open any more is ignored, but not for ever."""
        if self._is_idle(stream_id):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"{what} on a stream that was never opened")
        self._controls.spend(self._now, f"{what} frames for closed streams")

    def _append_control(self, frame: bytes) -> None:
        """Queue an answer the peer asked for; one that never reads may not pile them up."""
        self._undrained_controls += 1
        if self._undrained_controls > self._limits.max_control_output:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "answers not read")
        self._out.append(frame)

    def _fault(self, stream_id: int, code: ErrorCode) -> None:
        """Break a stream off for the peer's fault; one never opened cannot be, so the connection ends."""
        if self._is_idle(stream_id):
            raise ConnectionFault(code, "fault on a stream that was never opened")
        self._resets += 1
        self._reset_budget.spend(self._now, "streams broken off")
        self._append_control(encode_reset(stream_id, code))
        self._remember_forgotten(stream_id)
        stream = self._streams.get(stream_id)
        if stream is not None:
            self._forget(stream)
            self._events.on_reset(stream_id, code)
