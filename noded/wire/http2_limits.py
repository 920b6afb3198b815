"""What a connection allows its peer, and the budgets that end a flood. No IO, no clock: time comes in."""

from typing import Final

from msgspec import Struct

from noded.wire.hpack import LARGEST_BLOCK_BYTES
from noded.wire.http2_frames import SMALLEST_MAX_FRAME_BYTES, ConnectionFault, ErrorCode


class Http2Limits(Struct, frozen=True):
    """One connection's limits. Sizes in bytes."""

    max_concurrent_streams: int = 100
    """Streams the peer may have open; one more is answered REFUSED_STREAM. The RFC advises at least 100."""
    stream_window_bytes: int = 256 * 1024
    """DATA a stream may hold that nobody took yet; at least 65,535."""
    connection_window_bytes: int = 1024 * 1024
    """The same for all streams together; at least 65,535."""
    auto_consume_bytes: int = 32 * 1024
    """The first bytes of every stream count as taken when they come, so small bodies need no `consumed`."""
    max_header_list_bytes: int = 64 * 1024
    """Names, values and 32 for each field; more is answered 431. Twice as much in one frame, or more than this in
    several, ends the connection. Source: Go net/http, http2Framer.readMetaFrame."""
    whole_block_bytes: int = LARGEST_BLOCK_BYTES
    """Of a header block that is decoded in one go; of a longer one a piece is, each time the codec is fed."""
    max_continuations: int = 16
    """CONTINUATION frames of one block; nghttp2 allows 8."""
    max_output_bytes: int = 2**31
    """DATA that goes out between two calls of `open_output`, for an owner that calls it."""
    max_frame_bytes: int = SMALLEST_MAX_FRAME_BYTES
    """Largest frame the peer may send."""
    reset_burst: int = 1000
    """Streams broken off by the peer, or by us for its faults, before it must slow down; nghttp2's figure."""
    resets_per_second: float = 33.0
    """What it may go on with; nghttp2's figure."""
    control_burst: int = 1000
    """PING, SETTINGS, PRIORITY, empty and unknown frames in a row, with no request and no data between them."""
    controls_per_second: float = 33.0
    min_ping_seconds: float = 0.0
    """Between two PINGs with nothing sent in between; who pings faster is cut off. 0: no matter."""
    max_control_output: int = 1000
    """Answers to PING and SETTINGS, and resets, waiting to be taken from the codec; nghttp2 allows 1000."""


MAX_PING_STRIKES: Final = 2
"""Pings that may come sooner than `Http2Limits.min_ping_seconds` after another; grpc-go's figure."""
DEFAULT_LIMITS: Final = Http2Limits()


class Budget:
    """A token bucket: `burst` at once, `per_second` in the long run."""

    __slots__ = ("_burst", "_left", "_per_second", "_updated", "touched")

    def __init__(self, burst: int, per_second: float) -> None:
        self._burst = burst
        self._per_second = per_second
        self._left = float(burst)
        self._updated = 0.0
        self.touched = False
        """Whether tokens were taken since all were given back."""

    def spend(self, now: float, what: str) -> None:
        """Take one token; `now` in seconds of any steady clock.

        Raises ConnectionFault with ENHANCE_YOUR_CALM when none is left.
        """
        elapsed = now - self._updated
        if elapsed > 0.0:
            self._left = min(self._burst, self._left + elapsed * self._per_second)
            self._updated = now
        if self._left < 1.0:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, f"too many {what}")
        self._left -= 1.0
        self.touched = True

    def refill(self) -> None:
        """Give all tokens back."""
        self._left = self._burst
        self.touched = False
