"""The receiving half of an HTTP/2 connection, first part: DATA, windows, and what becomes of a peer's faults. No IO.

Source: RFC 9113, sections 5.1, 5.2, 5.4 and 6.1.
"""

from noded.wire.http2_frames import (
    END_STREAM,
    PADDED,
    ConnectionFault,
    ErrorCode,
    encode_reset,
    encode_window_update,
    strip_padding,
)
from noded.wire.http2_limits import Budget, Http2Limits
from noded.wire.http2_output import Http2Events
from noded.wire.http2_send import SendingHalf
from noded.wire.http2_streams import Stream


class DataReceiver(SendingHalf):
    """Takes DATA in, knows which stream ids are idle, open or over, and counts faults."""

    __slots__ = ("_controls", "_highest_id", "_now", "_reset_budget", "_resets")

    def __init__(self, events: Http2Events, *, client: bool, limits: Http2Limits) -> None:
        super().__init__(events, client=client, limits=limits)
        self._reset_budget = Budget(limits.reset_burst, limits.resets_per_second)
        self._controls = Budget(limits.control_burst, limits.controls_per_second)
        self._now = 0.0
        self._highest_id = 0  # of the streams the peer opened
        self._resets = 0

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

    @property
    def _highest_peer_id(self) -> int:
        return self._highest_id

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
