"""gRPC over HTTP/2, the pieces: messages in DATA frames, heads and trailers, timeouts, status texts. No IO.

Source: gRPC over HTTP/2 (PROTOCOL-HTTP2.md of grpc/grpc).
"""

import gzip
import re
import zlib
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Callable, Sequence
from functools import cache
from struct import Struct
from typing import Final, NamedTuple

from noded.calls import Header
from noded.wire.hpack import encode_block
from noded.wire.http2_frames import DATA, END_HEADERS, END_STREAM, HEADERS, pack_opening

IDENTITY: Final = b"identity"
"""The encoding of messages that are not compressed."""
OK: Final = 0
UNIMPLEMENTED: Final = 12
INTERNAL: Final = 13
RESOURCE_EXHAUSTED: Final = 8

_PREFIX: Final = Struct(">BL")
unpack_prefix: Final = _PREFIX.unpack_from
"""Read what comes before a message: the flag, 1 where it is compressed, and its size in bytes."""
_PREFIX_BYTES: Final = 5
_SECONDS_OF: Final = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_LARGEST_TIMEOUT: Final = 99_999_999
is_timeout = re.compile(rb"[0-9]{1,8}[HMSmun]").fullmatch
_GZIP_WINDOW_BITS: Final = 31


class GrpcWireError(ValueError):
    """The peer's gRPC is malformed; answer the call with `status` and the text."""

    status = INTERNAL


class MessageTooLarge(GrpcWireError):
    """A message is above the limit, as announced or once decompressed."""

    status = RESOURCE_EXHAUSTED


class UnknownEncoding(GrpcWireError):
    """A message is compressed by something else than gzip; say so with grpc-accept-encoding."""

    status = UNIMPLEMENTED


class MessageReader:
    """Cut one stream's DATA into whole messages; what is kept never exceeds one message.

    `encoding` is the request's grpc-encoding; a message whose flag is set is decompressed by it.
    """

    __slots__ = ("_encoding", "_max_message_bytes", "_needed", "_pending")

    def __init__(self, max_message_bytes: int, encoding: bytes = IDENTITY) -> None:
        self._max_message_bytes = max_message_bytes
        self._encoding = encoding
        self._pending = bytearray()
        self._needed = _PREFIX_BYTES  # bytes of `_pending` worth looking at

    def feed(self, data: bytes) -> list[bytes]:
        """Take a DATA frame's bytes, give the messages they complete (often none).

        Raises MessageTooLarge before a larger body is awaited, UnknownEncoding, and GrpcWireError for a wrong flag
        or compressed bytes that do not decompress; the stream is then of no more use.
        """
        if self._pending:
            self._pending += data
            if len(self._pending) < self._needed:
                return []
            data = bytes(self._pending)
            self._pending.clear()
        messages = []
        position, end = 0, len(data)
        while end - position >= _PREFIX_BYTES:
            flag, size = _PREFIX.unpack_from(data, position)
            if size > self._max_message_bytes:
                raise MessageTooLarge(f"grpc: received message larger than max ({size} vs. {self._max_message_bytes})")
            start = position + _PREFIX_BYTES
            if start + size > end:
                self._needed = _PREFIX_BYTES + size
                break
            position = start + size
            message = data[start:position]
            messages.append(self._decompress(flag, message) if flag else message)
        else:
            self._needed = _PREFIX_BYTES
        if position < end:
            self._pending += data[position:]
        return messages

    @property
    def is_empty(self) -> bool:
        """Whether no part of a message waits; False at the end of a stream means it was cut off."""
        return not self._pending

    def _decompress(self, flag: int, message: bytes) -> bytes:
        if flag != 1:
            raise GrpcWireError(f"grpc: message flag {flag} is neither 0 nor 1")
        if self._encoding == IDENTITY:
            raise GrpcWireError("grpc: compressed flag set with identity or empty encoding")
        if self._encoding != b"gzip":
            encoding = self._encoding.decode("latin-1")
            raise UnknownEncoding(f'grpc: Decompressor is not installed for grpc-encoding "{encoding}"')
        return _gunzip(message, self._max_message_bytes)


def _gunzip(message: bytes, limit: int) -> bytes:
    """Decompress one message, never producing more than `limit` bytes and one."""
    stream = zlib.decompressobj(_GZIP_WINDOW_BITS)
    try:
        plain = stream.decompress(message, limit + 1)
    except zlib.error as error:
        raise GrpcWireError(f"grpc: failed to decompress the received message: {error}") from error
    if len(plain) > limit:
        raise MessageTooLarge(f"grpc: received message after decompression larger than max {limit}")
    if not stream.eof or stream.unused_data:
        raise GrpcWireError("grpc: failed to decompress the received message: wrong end")
    return plain


def frame_message(payload: bytes) -> bytes:
    """Put the length prefix before a message, uncompressed."""
    return _PREFIX.pack(0, len(payload)) + payload


def frame_gzip_message(payload: bytes) -> bytes:
    """Compress a message and put the prefix before it; the head must say `grpc-encoding: gzip`.

    An empty one stays as it is, as grpc-go leaves it.
    """
    if not payload:
        return frame_message(payload)
    packed = gzip.compress(payload, compresslevel=1, mtime=0)
    return _PREFIX.pack(1, len(packed)) + packed


def parse_timeout(value: bytes) -> float:
    """Read a grpc-timeout header; seconds.

    Raises GrpcWireError unless it is one to eight digits and a unit.
    """
    if not is_timeout(value):
        raise GrpcWireError(f"malformed grpc-timeout: {value.decode('latin-1')}")
    return int(value[:-1]) * _SECONDS_OF[value[-1:]]


def encode_timeout(seconds: float) -> bytes:
    """Write a grpc-timeout in the finest unit eight digits hold; 0 or less is `0n`."""
    for unit in (b"n", b"u", b"m", b"S", b"M"):
        count = max(0, round(seconds / _SECONDS_OF[unit]))
        if count <= _LARGEST_TIMEOUT:
            return b"%d%s" % (count, unit)
    return b"%dH" % min(round(seconds / 3600.0), _LARGEST_TIMEOUT)


_must_escape = re.compile(rb"[^ -$&-~]")
_escaped = re.compile(rb"%([0-9A-Fa-f]{2})")


def encode_message(text: str) -> bytes:
    """Write a status text for grpc-message: UTF-8, percent-encoded where it is not printable ASCII."""
    return _must_escape.sub(lambda match: b"%%%02X" % match[0][0], text.encode(errors="replace"))


def decode_message(value: bytes) -> str:
    """Read a grpc-message. Never fails: what is not an escape stays, what is not UTF-8 is replaced."""
    return _escaped.sub(lambda match: bytes((int(match[1], 16),)), value).decode(errors="replace")


def encode_binary(value: bytes) -> bytes:
    """Write the value of a -bin header: base64 without padding."""
    return b64encode(value).rstrip(b"=")


def decode_binary(value: bytes) -> bytes:
    """Read the value of a -bin header, padded or not.

    Raises GrpcWireError when it is not base64.
    """
    try:
        return b64decode(value + b"=" * (-len(value) % 4), validate=True)
    except Base64Error as error:
        raise GrpcWireError(f"malformed binary metadata: {error}") from error


def encode_metadata(metadata: Sequence[Header]) -> bytes:
    """Encode metadata as a block; the values of names ending in -bin are raw, and become base64 here."""
    return encode_block([(name, encode_binary(value) if name.endswith(b"-bin") else value) for name, value in metadata])


RESPONSE_HEAD: Final = encode_block(((b":status", b"200"), (b"content-type", b"application/grpc")))
"""The head of every answer that has no metadata of its own; with some, `RESPONSE_HEAD + encode_metadata(...)`."""


class Framing(NamedTuple):
    """How the messages of an answer go out."""

    head: bytes
    """In the place of RESPONSE_HEAD."""
    frame: Callable[[bytes], bytes]
    """Put the prefix before a message."""


_PLAIN: Final = Framing(RESPONSE_HEAD, frame_message)
_GZIP: Final = Framing(RESPONSE_HEAD + encode_block(((b"grpc-encoding", b"gzip"),)), frame_gzip_message)


def framing_for(encoding: bytes) -> Framing:
    """How a call is answered whose request says `grpc-encoding: encoding`: in gzip only where it came in gzip.

    Source: daprd 1.18, as grpc-go's server: whatever the caller says that it accepts.
    """
    return _GZIP if encoding == b"gzip" else _PLAIN


OK_TRAILERS: Final = encode_block(((b"grpc-status", b"0"),))


def encode_trailers(
    status: int, message: str = "", details_bin: bytes | None = None, extra: Sequence[Header] = ()
) -> bytes:
    """Encode the end of a call: status, text, google.rpc.Status in raw bytes, and trailing metadata.

    An answer without messages is `RESPONSE_HEAD + encode_trailers(...)` in one HEADERS frame (Trailers-Only).
    """
    if status == OK and not (message or details_bin or extra):
        return OK_TRAILERS
    trailers = [(b"grpc-status", b"%d" % status)]
    if message:
        trailers.append((b"grpc-message", encode_message(message)))
    if details_bin is not None:
        trailers.append((b"grpc-status-details-bin", encode_binary(details_bin)))
    return encode_block(trailers) + encode_metadata(extra)


_HEAD_OPENING: Final = pack_opening(len(RESPONSE_HEAD) << 8 | HEADERS, END_HEADERS)
_TRAILERS_OPENING: Final = pack_opening(len(OK_TRAILERS) << 8 | HEADERS, END_HEADERS | END_STREAM)
_ANSWER: Final = Struct(f">5sL{len(RESPONSE_HEAD) + 5}sLBL").pack
_ANSWER_END: Final = Struct(f">5sL{len(OK_TRAILERS)}s").pack
_SMALL: Final = 256
"""Messages of fewer bytes are framed in one go, each size by a packer of its own."""


def _data_opening(size: int) -> bytes:
    """The head of an answer, and what its DATA frame with a message of that size begins with."""
    return RESPONSE_HEAD + pack_opening(size + _PREFIX_BYTES << 8 | DATA, 0)


@cache
def _small_answer(size: int) -> tuple[Callable[..., bytes], bytes]:
    packer = Struct(f">5sL{len(RESPONSE_HEAD) + 5}sLBL{size}s5sL{len(OK_TRAILERS)}s")
    return packer.pack, _data_opening(size)


def frame_answer(stream_id: int, payload: bytes) -> bytes:
    """Write a whole answer without metadata as frames: head, message, trailers.

    Only for a message of at most 16,379 bytes, so that every peer takes its frame.
    """
    size = len(payload)
    if size < _SMALL:
        pack, data = _small_answer(size)
        return pack(
            _HEAD_OPENING, stream_id, data, stream_id, 0, size, payload, _TRAILERS_OPENING, stream_id, OK_TRAILERS
        )
    begin = _ANSWER(_HEAD_OPENING, stream_id, _data_opening(size), stream_id, 0, size)
    return begin + payload + _ANSWER_END(_TRAILERS_OPENING, stream_id, OK_TRAILERS)


def encode_request_head(
    path: bytes,
    authority: bytes,
    timeout_seconds: float | None = None,
    metadata: Sequence[Header] = (),
    *,
    scheme: bytes = b"http",
) -> bytes:
    """Encode a call's head as a client sends it; `path` is /package.Service/Method, `scheme` http or https."""
    head = [
        (b":method", b"POST"),
        (b":scheme", scheme),
        (b":path", path),
        (b":authority", authority),
        (b"te", b"trailers"),
    ]
    if timeout_seconds is not None:
        head.append((b"grpc-timeout", encode_timeout(timeout_seconds)))
    head.append((b"content-type", b"application/grpc"))
    return encode_block(head) + encode_metadata(metadata)
