"""CloudEvents 1.0 in JSON, as daprd wraps, completes and reads them.

Data that is JSON is put into the envelope as it came, byte for byte, once it is known to be JSON: nothing is decoded
into objects, big numbers stay, and a wrap costs a few joins. Source: dapr-api.md 1.4; daprd 1.18
pkg/runtime/pubsub/cloudevents.go, components-contrib pubsub/envelope.go, contenttype.
"""

import base64
import os
import time
from enum import Enum
from functools import lru_cache

import msgspec
from msgspec import Raw, Struct

from noded.api.lenient_json import NotJson, as_object, first_value

CLOUDEVENTS_JSON = "application/cloudevents+json"
EVENT_TYPE = "com.dapr.event.sent"
DEFAULT_SOURCE = "Dapr"
DEFAULT_DATA_CONTENT_TYPE = "text/plain"
OCTET_STREAM = "application/octet-stream"

_encode = msgspec.json.Encoder().encode


class Draft(Struct):
    """An event about to be wrapped."""

    data: bytes
    content_type: str
    """Of `data`; "" stands for text/plain."""
    source: str
    topic: str
    pubsub_name: str
    traceparent: str = ""
    tracestate: str = ""
    expiration: str = ""
    """RFC 3339; "": none, or the broker sees to it."""


class Overrides(Struct, frozen=True):
    """What `cloudevent.*` metadata of a publish replaces; "" leaves the attribute alone."""

    id: str = ""
    source: str = ""
    type: str = ""
    subject: str = ""
    traceid: str = ""
    traceparent: str = ""
    tracestate: str = ""


class DataKind(Enum):
    """How an envelope carries the data of a content type."""

    JSON = "json"
    TEXT = "text"
    BASE64 = "base64"
    PROTOBUF = "protobuf"
    """As BASE64 if it can be a CloudEvent in protobuf, else as TEXT."""
    CLOUD_EVENT = "cloudevent"


@lru_cache(1024)
def kind_of(content_type: str) -> DataKind:
    """Classify a content type; parameters and case do not matter."""
    match content_type.lower().partition(";")[0]:
        case "application/json":
            return DataKind.JSON
        case "application/cloudevents+json":
            return DataKind.CLOUD_EVENT
        case "application/octet-stream" | "application/cloudevents+protobuf":
            return DataKind.BASE64
        case "application/x-protobuf":
            return DataKind.PROTOBUF
        case _:
            return DataKind.TEXT


def is_string(content_type: str) -> bool:
    """Whether data of that type travels as a string over gRPC: text/* and application/xml."""
    lower = content_type.lower()
    return lower.startswith("text/") or lower.partition(";")[0] == "application/xml"


def wrap(draft: Draft) -> bytes:
    """Make the envelope of a payload."""
    field, value = _data_field(draft)
    head, middle, tail = _template(
        draft.content_type or DEFAULT_DATA_CONTENT_TYPE, draft.source, draft.topic, draft.pubsub_name
    )
    trace = _trace(draft.traceparent, draft.tracestate) if draft.traceparent or draft.tracestate else _NO_TRACE
    expiration = b',"expiration":' + _encode(draft.expiration) if draft.expiration else b""
    return b"".join((head, _ids.new(), middle, rfc3339(int(time.time())), tail, trace, expiration, field, value, b"}"))


def shared_by(content_type: str, source: str, topic: str, pubsub_name: str) -> bytes:
    """Write what all events of one content type and topic share that carry JSON and no trace: for `wrap_json`."""
    return _template(content_type, source, topic, pubsub_name)[2] + _NO_TRACE + b',"data":'


def wrap_json(shared: bytes, data: bytes) -> bytes:
    """Make the envelope of a payload of JSON from what it shares with others; as `wrap` makes it."""
    time_ = rfc3339(int(time.time()))
    return b"".join((b'{"id":"', _ids.new(), b'","time":"', time_, shared, _json(data), b"}"))


def wrap_with(draft: Draft, overrides: Overrides) -> bytes:
    """Make the envelope of a payload whose attributes the publisher chose himself. traceparent beats traceid."""
    traceparent = overrides.traceparent or overrides.traceid or draft.traceparent
    field, value = _data_field(draft)
    attributes: dict[str, object] = {
        "id": overrides.id or _ids.new().decode(),
        "specversion": "1.0",
        "datacontenttype": draft.content_type or DEFAULT_DATA_CONTENT_TYPE,
        "source": overrides.source or draft.source,
        "type": overrides.type or EVENT_TYPE,
        "topic": draft.topic,
        "pubsubname": draft.pubsub_name,
        "time": rfc3339(int(time.time())).decode(),
        "traceid": traceparent,
        "traceparent": traceparent,
        "tracestate": overrides.tracestate or draft.tracestate,
    }
    if overrides.subject:
        attributes["subject"] = overrides.subject
    if draft.expiration:
        attributes["expiration"] = draft.expiration
    return b"".join((_encode(attributes)[:-1], field, value, b"}"))


def complete(draft: Draft) -> bytes:
    """Complete an event that came as a CloudEvent: topic and pubsub are ours, the rest stays; `id` is not invented.

    Raises NotJson when `draft.data` is not a JSON object.
    """
    event: dict[str, object] = dict(as_object(draft.data))
    event.setdefault("time", rfc3339(int(time.time())).decode())
    if "traceid" not in event:
        event["traceid"] = event["traceparent"] = draft.traceparent
    event.setdefault("tracestate", draft.tracestate)
    event["topic"] = draft.topic
    event["pubsubname"] = draft.pubsub_name
    for name, default in (("source", DEFAULT_SOURCE), ("type", EVENT_TYPE), ("specversion", "1.0")):
        if event.get(name, _NULL) == _NULL:
            event[name] = default
    if draft.expiration:
        event["expiration"] = draft.expiration
    return _encode(event)


def wrap_raw(data: bytes, topic: str, pubsub_name: str, trace: dict[str, str]) -> bytes:
    """Make the event a rawPayload subscriber is given: a new id each time, the bytes in data_base64."""
    return _encode(
        {
            "id": _ids.new().decode(),
            "specversion": "1.0",
            "datacontenttype": OCTET_STREAM,
            "source": DEFAULT_SOURCE,
            "type": EVENT_TYPE,
            "topic": topic,
            "pubsubname": pubsub_name,
            "data_base64": base64.b64encode(data).decode(),
            **trace,
        }
    )


@lru_cache(64)
def rfc3339(unix_seconds: int) -> bytes:
    """Write a time as RFC 3339 in UTC. Cached: the clock gives one answer a second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(unix_seconds)).encode()


def _data_field(draft: Draft) -> tuple[bytes, bytes]:
    """Return `,"data":` or `,"data_base64":`, and the value."""
    kind = kind_of(draft.content_type)
    if kind is DataKind.JSON:
        return b',"data":', _json(draft.data)
    if kind is DataKind.BASE64 or (kind is DataKind.PROTOBUF and _is_protobuf(draft.data)):
        return b',"data_base64":"', base64.b64encode(draft.data) + b'"'
    return b',"data":', _text(draft.data)


def _json(data: bytes) -> bytes:
    """What was announced as JSON; what is none goes as text."""
    try:
        return first_value(data)
    except NotJson:
        return _text(data)


def _text(data: bytes) -> bytes:
    return _encode(data.decode("utf-8", "replace"))


def _is_protobuf(data: bytes) -> bool:
    """Whether the bytes are well-formed as a protobuf message; a CloudEvent has no required field."""
    from google.protobuf.empty_pb2 import Empty  # noqa: PLC0415 - protobuf is imported when sockets answer
    from google.protobuf.message import DecodeError  # noqa: PLC0415

    try:
        Empty.FromString(data)
    except DecodeError:
        return False
    return True


@lru_cache(4096)
def _template(content_type: str, source: str, topic: str, pubsub_name: str) -> tuple[bytes, bytes, bytes]:
    """Return what stands before the id, between id and time, and after the time."""
    fixed = _encode(
        {
            "datacontenttype": content_type,
            "pubsubname": pubsub_name,
            "source": source,
            "specversion": "1.0",
            "topic": topic,
            "type": EVENT_TYPE,
        }
    )
    return b'{"id":"', b'","time":"', b'",' + fixed[1:-1]


def _trace(traceparent: str, tracestate: str) -> bytes:
    return b"," + _encode({"traceid": traceparent, "traceparent": traceparent, "tracestate": tracestate})[1:-1]


_NO_TRACE = _trace("", "")
_NULL = Raw(b"null")


class _Ids:
    """Version 4 UUIDs from the kernel's random numbers, made 256 at a time."""

    def __init__(self) -> None:
        self._left: list[bytes] = []

    def new(self) -> bytes:
        """Return one id as text. The variant digit is always `a`, so 120 of its bits are random."""
        if not self._left:
            self._left = self._more()
        return self._left.pop()

    @staticmethod
    def _more() -> list[bytes]:
        digits = os.urandom(_IDS_AT_ONCE * len(_ID_DIGITS) // 2).hex().encode()
        ids = bytearray(_ID * _IDS_AT_ONCE)
        for nth, at in enumerate(_ID_DIGITS):
            ids[at :: len(_ID)] = digits[nth :: len(_ID_DIGITS)]
        text = bytes(ids)
        return [text[at : at + len(_ID)] for at in range(0, len(text), len(_ID))]


_IDS_AT_ONCE = 256
_ID = b"rrrrrrrr-rrrr-4rrr-arrr-rrrrrrrrrrrr"
_ID_DIGITS = tuple(at for at, digit in enumerate(_ID) if digit == ord("r"))
"""Where an id is random."""
_ids = _Ids()
