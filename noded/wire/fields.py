"""Header fields of HTTP/2: what one field may be, and what a whole block of them is. No IO.

A field is classified once, when it is decoded; the classes of a block's fields in a row are its shape; a shape is
judged once and remembered. So a request whose values change from call to call costs a look-up here.

Clients give some fields a new value with every request (trace contexts, deadlines): these are of the class CHANGING,
and a block that has any is known by its kinship: all its other fields, and the names of these.

Source: RFC 9113, section 8.2 (fields), 8.3 (pseudo-fields), 8.5 (CONNECT), 8.1.1 (malformed).
"""

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final

from msgspec import Struct

from noded.calls import Header

Field = tuple[Header, int, int]
"""Name and value, class, and size in bytes as header lists and the dynamic table count it."""

FIELD_OVERHEAD_BYTES: Final = 32
"""RFC 7541, section 4.1."""

# Classes of fields. One byte each, for a block's shape is the bytes of its fields' classes.
REGULAR: Final = 0
METHOD: Final = 1
CONNECT: Final = 2
SCHEME: Final = 3
PATH: Final = 4
AUTHORITY: Final = 5
STATUS: Final = 6
INTERIM_STATUS: Final = 7
CONTENT_LENGTH: Final = 8
INVALID: Final = 9
_TE: Final = 10
CHANGING: Final = 11

# What a whole block is.
MALFORMED: Final = 0
REQUEST: Final = 1
RESPONSE: Final = 2
INTERIM_RESPONSE: Final = 3
TRAILERS: Final = 4
TOO_LARGE: Final = 5

_NAMED: Final[dict[bytes, int]] = {
    b":method": METHOD,
    b":scheme": SCHEME,
    b":path": PATH,
    b":authority": AUTHORITY,
    b":status": STATUS,
    b"content-length": CONTENT_LENGTH,
    b"te": _TE,
    b"connection": INVALID,
    b"proxy-connection": INVALID,
    b"keep-alive": INVALID,
    b"transfer-encoding": INVALID,
    b"upgrade": INVALID,
    b"traceparent": CHANGING,
    b"tracestate": CHANGING,
    b"baggage": CHANGING,
    b"grpc-trace-bin": CHANGING,
    b"grpc-timeout": CHANGING,
    b"x-request-id": CHANGING,
}
_LF: Final = 0x0A
_CR: Final = 0x0D
_NUL: Final = 0x00
_LONGEST_REMEMBERED: Final = 64
"""Bytes of a name, or fields in a shape; longer ones are judged anew each time."""

_is_name = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+").fullmatch
_is_method = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
_is_status = re.compile(rb"[1-9][0-9][0-9]").fullmatch
_is_length = re.compile(rb"[0-9]{1,18}").fullmatch


TakeWhole = Callable[["HeaderBlock", int, bytes, int, int], None]
"""Given the header block, the stream id, what was read, and where in it the request's body begins and ends, takes a
request whose stream is not opened yet: answers by `send_whole`, or opens the stream by `open_received`, before it
returns. It serves every block of the same kinship."""


class Kinship(Struct):
    """Many blocks of a connection that have `in_common` what can be: one object for all of them."""

    take: TakeWhole | None = None
    """What takes the next one that comes whole."""


class HeaderBlock(Struct):
    """A decoded block. Equal blocks of a connection may be one object, so `headers` is never changed."""

    headers: tuple[Header, ...]
    """In the order they came; a valid block has its pseudo-headers first."""
    kind: int
    """REQUEST, RESPONSE, INTERIM_RESPONSE, TRAILERS; MALFORMED or TOO_LARGE are refused by the connection."""
    content_length: int | None = None
    """The body's announced size in bytes."""
    parsed: object | None = None
    """For the receiver: what it made of this block, kept for when the same block comes again."""
    take: TakeWhole | None = None
    """For the receiver of a valid request: what takes the next one that comes whole."""
    kinship: Kinship | None = None
    """Set where a field is CHANGING: this very block will not come again, but others of its kind will."""


def field_of(name: bytes, value: bytes) -> Field:
    """Classify one field. Never raises: a field HTTP/2 forbids has the class INVALID."""
    kind = _name_class(name) if len(name) <= _LONGEST_REMEMBERED else _classify_name(name)
    if kind not in (REGULAR, CHANGING):
        kind = _class_by_value(kind, value)
    if _LF in value or _CR in value or _NUL in value or value != value.strip(b" \t"):
        kind = INVALID
    return (name, value), kind, len(name) + len(value) + FIELD_OVERHEAD_BYTES


def _classify_name(name: bytes) -> int:
    named = _NAMED.get(name)
    if named is not None:
        return named
    return REGULAR if _is_name(name) else INVALID


_name_class = lru_cache(maxsize=512)(_classify_name)


def _class_by_value(kind: int, value: bytes) -> int:
    """Refine the class of a field whose value matters to HTTP/2 itself."""
    if kind == METHOD:
        if value == b"CONNECT":
            return CONNECT
        return METHOD if _is_method(value) else INVALID
    if kind == STATUS:
        if not _is_status(value) or value == b"101":
            return INVALID
        return INTERIM_STATUS if value[0] == 0x31 else STATUS
    if kind == _TE:
        return REGULAR if value == b"trailers" else INVALID
    if kind == CONTENT_LENGTH:
        return CONTENT_LENGTH if _is_length(value) else INVALID
    if kind in (SCHEME, PATH):
        return kind if value else INVALID
    return kind


_PSEUDO: Final = bytes((METHOD, CONNECT, SCHEME, PATH, AUTHORITY, STATUS, INTERIM_STATUS))
_ORDINARY: Final = bytes((REGULAR, CONTENT_LENGTH, CHANGING))
_HEADS: Final[dict[frozenset[int], int]] = {
    frozenset(): TRAILERS,
    frozenset((METHOD, SCHEME, PATH)): REQUEST,
    frozenset((METHOD, SCHEME, PATH, AUTHORITY)): REQUEST,
    frozenset((CONNECT, AUTHORITY)): REQUEST,
    frozenset((STATUS,)): RESPONSE,
    frozenset((INTERIM_STATUS,)): INTERIM_RESPONSE,
}


def _judge(shape: bytes) -> int:
    regular = shape.lstrip(_PSEUDO)
    pseudo = shape[: len(shape) - len(regular)]
    if len(set(pseudo)) != len(pseudo) or regular.strip(_ORDINARY):
        return MALFORMED
    return _HEADS.get(frozenset(pseudo), MALFORMED)


_judge_short = lru_cache(maxsize=512)(_judge)


def block_of(headers: tuple[Header, ...], shape: bytes) -> HeaderBlock:
    """Judge a block by the classes of its fields."""
    kind = _judge_short(shape) if len(shape) <= _LONGEST_REMEMBERED else _judge(shape)
    block = HeaderBlock(headers, kind)
    if CONTENT_LENGTH in shape and kind != MALFORMED:
        lengths = {int(value) for name, value in headers if name == b"content-length"} or {0}
        block.kind = kind if len(lengths) == 1 else MALFORMED
        block.content_length = lengths.pop()
    return block


def in_common(fields: Sequence[Field]) -> tuple[Header | bytes, ...]:
    """What blocks like one of these have in common: the fields in order, of those that are CHANGING only the names."""
    return tuple([header[0] if kind == CHANGING else header for header, kind, _ in fields])
