"""The receiving half of an HTTP/2 connection, second part: header blocks, and the streams they open. No IO.

Source: RFC 9113, sections 4.3, 5.1.1, 5.1.2, 6.2, 6.10 and 8.1.
"""

from typing import Final

from noded.wire.fields import INTERIM_RESPONSE, REQUEST, RESPONSE, TOO_LARGE, TRAILERS, HeaderBlock, TakeWhole
from noded.wire.hpack import Decoder, encode_block
from noded.wire.http2_data import DataReceiver
from noded.wire.http2_frames import (
    DATA,
    END_HEADERS,
    END_STREAM,
    FRAME_HEAD_BYTES,
    HAS_PRIORITY,
    LARGEST_STREAM_ID,
    PADDED,
    ConnectionFault,
    ErrorCode,
    strip_padding,
    unpack_head,
)
from noded.wire.http2_limits import Http2Limits
from noded.wire.http2_output import Http2Events
from noded.wire.http2_streams import Stream

_TOO_LARGE_ANSWER: Final = encode_block(((b":status", b"431"), (b"content-length", b"0")))
_GAPS: Final = 16
"""Runs of skipped ids remembered; the latest are enough to name the fault."""


class HeadReceiver(DataReceiver):
    """Takes HEADERS and CONTINUATION in: requests, responses and trailers."""

    __slots__ = (
        "_block",
        "_block_continuations",
        "_block_ends_stream",
        "_block_stream_id",
        "_decoder",
        "_gaps",
        "_largest_whole",
        "_longest_block",
    )

    def __init__(self, events: Http2Events, *, client: bool, limits: Http2Limits) -> None:
        super().__init__(events, client=client, limits=limits)
        self._decoder = Decoder(limits.max_header_list_bytes, limits.whole_block_bytes)
        self._gaps: list[tuple[int, int]] = []  # ids the peer left out, first and last
        self._block = bytearray()  # a header block waiting for CONTINUATION
        self._block_stream_id = 0
        self._block_ends_stream = 0
        self._block_continuations = 0
        self._largest_whole = min(limits.auto_consume_bytes, limits.max_frame_bytes)
        self._longest_block = 2 * limits.max_header_list_bytes  # not decoded only to be refused, as in Go's server

    def _receive_headers(self, stream_id: int, flags: int, raw: bytes) -> None:
        if not stream_id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "HEADERS on stream 0")
        if flags & (PADDED | HAS_PRIORITY):
            raw = self._strip_head(stream_id, flags, raw)
        if flags & END_HEADERS:
            self._receive_block(stream_id, self._decoder.decode(raw), flags & END_STREAM)
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
        limits, size = self._limits, len(self._block) + len(raw)
        if self._block_continuations >= limits.max_continuations or size > limits.max_header_list_bytes:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "header block too large")
        if not flags & END_HEADERS:
            self._block += raw
            self._block_continuations += 1
            return
        block = self._decoder.decode(bytes(self._block) + raw)
        self._block.clear()
        self._block_stream_id = 0
        self._receive_block(stream_id, block, self._block_ends_stream)

    def _receive_block(self, stream_id: int, block: HeaderBlock, ends: int) -> None:
        """Take a whole block, decoded whatever becomes of it: the decoder must stay in step with the peer."""
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

    def _receive_opening(self, stream_id: int, flags: int, data: bytes, start: int, stop: int) -> int:
        """Take the HEADERS whose payload is `data[start:stop]`, and what was taken with them; give where that ends.

        A known head, and the one DATA frame that ends its request, are handed on together without opening a stream.
        """
        if stop - start > self._longest_block:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "header block too large")
        if flags != END_HEADERS or not stream_id:
            self._receive_headers(stream_id, flags, data[start:stop])
            return stop
        raw = data[start:stop]
        block = self._decoder.known(raw)
        if block is None:
            block = self._decoder.decode_new(raw)
            take = None if block.kinship is None else block.kinship.take
        else:
            take = block.take
        if take is not None:
            end = self._take_whole(take, block, stream_id, data, stop)
            if end:
                return end
        self._receive_block(stream_id, block, 0)
        if block.take is not None and block.kinship is not None:
            block.kinship.take = block.take
        return stop

    def _forget_heads(self) -> None:
        """Forget what takes requests like those before; what was learnt of heads goes with it."""
        self._decoder = Decoder(self._limits.max_header_list_bytes, self._limits.whole_block_bytes)

    def _take_whole(self, take: TakeWhole, block: HeaderBlock, stream_id: int, data: bytes, position: int) -> int:
        """Give where the DATA frame at `position` ends, having taken it; 0: something stands against it."""
        if len(data) < position + FRAME_HEAD_BYTES:
            return 0
        length_and_kind, flags, its_stream_id = unpack_head(data, position)
        size: int = length_and_kind >> 8
        start = position + FRAME_HEAD_BYTES
        stop = start + size
        if (
            length_and_kind & 0xFF != DATA
            or flags != END_STREAM
            or its_stream_id != stream_id
            or stream_id != self._highest_id + 2
            or not 0 < size <= self._largest_whole
            or size > self._receive_window
            or stop > len(data)
            or ((length := block.content_length) is not None and length != size)
            or self._goaway_sent
            or len(self._streams) >= self._limits.max_concurrent_streams
        ):
            return 0
        self._highest_id = stream_id
        self._receive_window -= size
        self._credit += size
        if self._credit >= self._credit_due:
            self._give_credit()
        if self._controls.touched:
            self._controls.refill()
        take(block, stream_id, data, start, stop)
        return stop

    def open_received(self, stream_id: int) -> None:
        """Open the stream of a request that was taken whole, so that it may be answered later, or in pieces."""
        stream = self._streams[stream_id] = self._new_stream(stream_id)
        stream.head_received = True
        stream.receiving = False

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
        if self._controls.touched:
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
        if self._controls.touched:
            self._controls.refill()
        self._events.on_headers(stream.stream_id, block, ends != 0)

    def _receive_trailers(self, stream: Stream, block: HeaderBlock, ends: int) -> None:
        if not ends or block.kind != TRAILERS or stream.body_left:
            self._refuse_block(stream.stream_id, block)
            return
        self._end_receiving(stream)
        self._events.on_trailers(stream.stream_id, block.headers)
