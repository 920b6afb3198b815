"""The frames of HTTP/2: numbers, building, and the checks that need nothing but the frame. No IO.

Source: RFC 9113, sections 4, 6 and 7.
"""

from enum import IntEnum
from struct import Struct
from typing import Final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""What every client sends first."""

FRAME_HEAD_BYTES: Final = 9
SMALLEST_MAX_FRAME_BYTES: Final = 16_384
"""The default of SETTINGS_MAX_FRAME_SIZE, and the least it may be."""
LARGEST_MAX_FRAME_BYTES: Final = 16_777_215
DEFAULT_WINDOW_BYTES: Final = 65_535
LARGEST_WINDOW_BYTES: Final = 2**31 - 1
LARGEST_STREAM_ID: Final = 2**31 - 1

DATA: Final = 0
HEADERS: Final = 1
PRIORITY: Final = 2
RST_STREAM: Final = 3
SETTINGS: Final = 4
PUSH_PROMISE: Final = 5
PING: Final = 6
GOAWAY: Final = 7
WINDOW_UPDATE: Final = 8
CONTINUATION: Final = 9

END_STREAM: Final = 0x1
ACK: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
HAS_PRIORITY: Final = 0x20

HEADER_TABLE_SIZE: Final = 1
ENABLE_PUSH: Final = 2
MAX_CONCURRENT_STREAMS: Final = 3
INITIAL_WINDOW_SIZE: Final = 4
MAX_FRAME_SIZE: Final = 5
MAX_HEADER_LIST_SIZE: Final = 6

# A frame's head as three numbers: length (24 bits) with type (8), flags, stream id with the reserved bit.
_HEAD: Final = Struct(">LBL")
unpack_head = _HEAD.unpack_from
pack_head = _HEAD.pack
pack_opening = Struct(">LB").pack
"""Write length with type, and flags: a frame's head but for its stream id."""
_WORD: Final = Struct(">L")
_SETTING: Final = Struct(">HL")
_RST: Final = Struct(">LBLL")
_TWO_WORDS: Final = Struct(">LL")


class ErrorCode(IntEnum):
    """Why a stream or a connection ends (RFC 9113, section 7)."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    SETTINGS_TIMEOUT = 4
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    CONNECT_ERROR = 10
    ENHANCE_YOUR_CALM = 11
    INADEQUATE_SECURITY = 12
    HTTP_1_1_REQUIRED = 13


class ConnectionFault(Exception):
    """The peer broke a rule that ends the connection. Never leaves the codec: it becomes a GOAWAY."""

    def __init__(self, code: ErrorCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


def encode_frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    """Build one frame; the payload must fit the peer's SETTINGS_MAX_FRAME_SIZE."""
    return pack_head(len(payload) << 8 | kind, flags, stream_id) + payload


def encode_settings(settings: dict[int, int]) -> bytes:
    """Build a SETTINGS frame."""
    return encode_frame(SETTINGS, 0, 0, b"".join([_SETTING.pack(*setting) for setting in settings.items()]))


def encode_window_update(stream_id: int, size: int) -> bytes:
    """Build a WINDOW_UPDATE for a stream, or for the connection with id 0; `size` in bytes, at least 1."""
    return _RST.pack(4 << 8 | WINDOW_UPDATE, 0, stream_id, size)


def encode_reset(stream_id: int, error_code: int) -> bytes:
    """Build a RST_STREAM."""
    return _RST.pack(4 << 8 | RST_STREAM, 0, stream_id, error_code)


def encode_goaway(last_stream_id: int, error_code: int, reason: str = "") -> bytes:
    """Build a GOAWAY; the reason is for people who read packet dumps."""
    return encode_frame(GOAWAY, 0, 0, _TWO_WORDS.pack(last_stream_id, error_code) + reason.encode())


def strip_padding(payload: bytes) -> bytes:
    """Give what a padded frame holds.

    Raises ConnectionFault when the padding is as long as the frame or longer.
    """
    if not payload or payload[0] >= len(payload):
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "padding longer than its frame")
    return payload[1 : len(payload) - payload[0]]


def decode_word(payload: bytes) -> int:
    """Read the payload of RST_STREAM.

    Raises ConnectionFault unless it is four bytes.
    """
    if len(payload) != 4:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "frame of four bytes expected")
    word: int = _WORD.unpack(payload)[0]
    return word


def decode_goaway(payload: bytes) -> tuple[int, int]:
    """Read last stream id and error code.

    Raises ConnectionFault when the frame is too short.
    """
    if len(payload) < 8:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "GOAWAY of fewer than eight bytes")
    last_stream_id, error_code = _TWO_WORDS.unpack_from(payload)
    return last_stream_id & LARGEST_STREAM_ID, error_code


def decode_settings(payload: bytes) -> dict[int, int]:
    """Read a SETTINGS frame; of a repeated setting the last counts. Unknown ones are kept, for nobody to read.

    Raises ConnectionFault for a wrong length or a forbidden value.
    """
    if len(payload) % 6:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "SETTINGS not a multiple of six bytes")
    settings = {}
    for key, value in _SETTING.iter_unpack(payload):
        if key == ENABLE_PUSH and value > 1:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "ENABLE_PUSH is neither 0 nor 1")
        if key == INITIAL_WINDOW_SIZE and value > LARGEST_WINDOW_BYTES:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "INITIAL_WINDOW_SIZE too large")
        if key == MAX_FRAME_SIZE and not SMALLEST_MAX_FRAME_BYTES <= value <= LARGEST_MAX_FRAME_BYTES:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "MAX_FRAME_SIZE out of range")
        settings[key] = value
    return settings
