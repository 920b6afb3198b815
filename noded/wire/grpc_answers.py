"""What a gRPC server answered, read from heads, trailers and resets; and message sizes watched in passing. No IO.

Source: gRPC over HTTP/2 (PROTOCOL-HTTP2.md), http-grpc-status-mapping.md.
"""

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from noded.calls import Header
from noded.wire.grpc import GrpcWireError, MessageTooLarge, decode_binary, decode_message

_UNKNOWN: Final = 2
_INTERNAL: Final = 13
_BY_HTTP: Final = {400: _INTERNAL, 401: 16, 403: 7, 404: 12, 429: 14, 502: 14, 503: 14, 504: 14}
_BY_RESET: Final = {0x7: 14, 0x8: 1, 0xB: 8, 0xC: 7}
_PREFIX_BYTES: Final = 5
_OF_THE_PROTOCOL: Final = frozenset(
    (b"content-type", b"grpc-accept-encoding", b"grpc-encoding", b"grpc-message", b"grpc-status")
)


class GrpcStatus(Struct, frozen=True):
    """How a call ended."""

    code: int
    message: str = ""
    details: bytes = b""
    """A serialized google.rpc.Status; empty: none was sent."""


OK_STATUS: Final = GrpcStatus(0)


def status_of(trailers: Sequence[Header]) -> GrpcStatus:
    """Read the status in trailers, or in a head without messages; UNKNOWN where there is none."""
    fields = dict(trailers)
    written = fields.get(b"grpc-status", b"")
    if written == b"0" and b"grpc-message" not in fields:
        return OK_STATUS
    try:
        code = int(written)
        details = decode_binary(fields.get(b"grpc-status-details-bin", b""))
    except GrpcWireError:
        details = b""
    except ValueError:
        return GrpcStatus(_UNKNOWN, "the app ended the call without a grpc-status")
    return GrpcStatus(code, decode_message(fields.get(b"grpc-message", b"")), details)


def not_grpc(head: Sequence[Header]) -> GrpcStatus | None:
    """Why an answer's head is no gRPC's; None: it is."""
    fields = dict(head)
    status = int(fields[b":status"])
    content_type = fields.get(b"content-type", b"").decode("latin-1")
    if status != 200:
        return GrpcStatus(
            _BY_HTTP.get(status, _UNKNOWN), f"unexpected HTTP status code received from the app: {status}"
        )
    if not content_type.startswith("application/grpc"):
        return GrpcStatus(_UNKNOWN, f'unexpected content-type "{content_type}" received from the app')
    return None


def reset_status(code: int) -> int:
    """The status that an HTTP/2 error code stands for."""
    return _BY_RESET.get(code, _INTERNAL)


def own_metadata(fields: Sequence[Header]) -> list[Header]:
    """What of a head or of trailers is the application's metadata; -bin values stay as they came."""
    return [
        field
        for field in fields
        if field[0] not in _OF_THE_PROTOCOL and field[0][:1] != b":" and field[0] != b"grpc-status-details-bin"
    ]


class MessageMeter:
    """Count the messages that pass in pieces, and hold each to a size, without keeping any of them."""

    __slots__ = ("_left", "_max_message_bytes", "_prefix", "begun")

    def __init__(self, max_message_bytes: int) -> None:
        self._max_message_bytes = max_message_bytes
        self._left = 0  # bytes of the message that is passing
        self._prefix = b""
        self.begun = 0
        """Messages whose prefix was seen."""

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the stream. Raises MessageTooLarge; the stream is then of no more use."""
        position, end = 0, len(data)
        while position < end:
            if self._left:
                step = min(self._left, end - position)
                self._left -= step
                position += step
                continue
            missing = _PREFIX_BYTES - len(self._prefix)
            self._prefix += data[position : position + missing]
            position += missing
            if len(self._prefix) == _PREFIX_BYTES:
                self._begin(int.from_bytes(self._prefix[1:], "big"))

    def _begin(self, size: int) -> None:
        self._prefix = b""
        self._left = size
        self.begun += 1
        if size > self._max_message_bytes:
            raise MessageTooLarge(f"grpc: received message larger than max ({size} vs. {self._max_message_bytes})")
