"""JSON as Go's decoder reads it where apps can tell: a first value with anything after it, half a surrogate pair.

A value is validated and left as it came; nothing is decoded into objects. Source: Go encoding/json, Decoder.
"""

import json
import re
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
from msgspec import Raw

T = TypeVar("T")
_decode_value = msgspec.json.Decoder(Raw).decode
_decode_object = msgspec.json.Decoder(dict[str, Raw]).decode
_LONE_SURROGATE = re.compile(r"(\\[^u]|\\u[dD][89abAB]..\\u[dD][c-fC-F]..)|\\u[dD][89a-fA-F]..")
_GO_KINDS = {"[": "array", '"': "string", "t": "bool", "f": "bool", "n": "null"} | dict.fromkeys(
    "-0123456789", "number"
)
"""{first character of a value: what Go calls it}"""


class NotJson(ValueError):
    """The bytes do not begin with the JSON value that was looked for."""


def decoded(decode: Callable[[bytes], T], data: bytes) -> T:
    """Return `decode(data)`; text that is no UTF-8 is mended first, as in Go's decoder. Raises what `decode` raises."""
    try:
        return decode(data)
    except UnicodeDecodeError:
        return decode(data.decode("utf-8", "replace").encode())


def first_value(data: bytes) -> bytes:
    """Return the JSON value `data` begins with, valid as JSON and as UTF-8; what follows it is ignored, as in daprd.

    Raises NotJson.
    """
    try:
        value = _decode_value(data)
    except (msgspec.DecodeError, RecursionError):
        return _tolerant_first_value(data)
    raw = bytes(value)
    return raw if raw.isascii() else raw.decode("utf-8", "replace").encode()


def _tolerant_first_value(data: bytes) -> bytes:
    r"""Find the first of several values, and mend \u escapes that are half a surrogate pair, as Go's decoder does."""
    text = data.decode("utf-8", "replace").lstrip(" \t\r\n")
    try:
        _, end = json.JSONDecoder(parse_constant=_refuse_constant).raw_decode(text)
        value = _LONE_SURROGATE.sub(lambda found: found[1] or "\\ufffd", text[:end]).encode()
        return bytes(_decode_value(value))
    except (ValueError, RecursionError) as error:
        raise NotJson(str(error)) from None


def _refuse_constant(name: str) -> Any:
    raise NotJson(f"{name} is no JSON")


def as_object(data: bytes) -> dict[str, Raw]:
    """Return the members of the JSON object `data` begins with, undecoded.

    Raises NotJson with the words of Go's decoder, which apps find in daprd's error.
    """
    try:
        return _decode_object(first_value(data))
    except (msgspec.DecodeError, NotJson) as error:
        raise NotJson(_as_go_says(data, str(error))) from None


def _as_go_says(data: bytes, otherwise: str) -> str:
    first = data.lstrip(b" \t\r\n")[:1].decode("latin-1")
    if not first:
        return "EOF"
    if first == "{":
        return otherwise
    kind = _GO_KINDS.get(first)
    try:
        first_value(data)
    except NotJson:
        return otherwise if kind else f"invalid character '{first}' looking for beginning of value"
    return f"json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}"
