"""What a delivery must know of the bytes a broker carries: trace, expiry, and nothing it need not decode."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import Struct

from components.contract import Message
from noded.api import cloudevents
from noded.api.cloudevents import DataKind
from noded.api.lenient_json import decoded
from noded.calls import Header

NO_TRACE = "00-00000000000000000000000000000000-0000000000000000-00"
"""What daprd tells an app of an event whose trace is empty, as it is while tracing is off."""
TRACE_FIELDS = ("traceid", "traceparent", "tracestate")

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", re.ASCII)
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e]*", re.ASCII)
_OURS = frozenset(
    b"connection content-length content-type dapr-api-token expect host keep-alive pubsubname te trailer "
    b"traceparent tracestate transfer-encoding upgrade".split()
)
"""Headers of a delivery that no publisher's metadata may set: framing, and what the app trusts the daemon for."""


def is_binary(message: Message) -> bool:
    """Whether the broker's message carries its attributes beside the data."""
    return cloudevents.kind_of(message.content_type) is DataKind.BASE64


class NotAnEvent(ValueError):
    """The bytes are no JSON object."""


class Event(Struct):
    """The attributes of an envelope that a delivery looks at; any JSON value may stand there."""

    expiration: Any = None
    traceid: Any = None
    traceparent: Any = None
    tracestate: Any = None

    def has_expired(self, now: float) -> bool:
        """Whether `expiration` is past `now` (Unix seconds). What is no RFC 3339 time never expires."""
        if not isinstance(self.expiration, str) or not self.expiration:
            return False
        try:
            expires = datetime.fromisoformat(self.expiration)
        except ValueError:
            return False
        return (expires if expires.tzinfo else expires.replace(tzinfo=UTC)).timestamp() < now

    def trace_headers(self) -> tuple[Header, ...]:
        """The W3C headers to call the app with: none for an event without a trace field, zeros for an empty one.

        The trace state stays in the event: daprd reads only the trace from it.
        """
        trace = self.traceparent if self.traceparent is not None else self.traceid
        if trace is None:
            return ()
        if not trace or not isinstance(trace, str) or _TRACEPARENT.fullmatch(trace) is None:
            return NO_TRACE_HEADERS
        return ((b"traceparent", trace.encode()),)


UNTRACED = Event(None, "", "", "")
"""Of every event that the daemon wraps for a publisher who gave no trace. Not to be changed."""
NO_TRACE_HEADERS = ((b"traceparent", NO_TRACE.encode()),)
_decode = msgspec.json.Decoder(Event).decode


def read(message: Message) -> Event:
    """Read what a delivery must know; the broker's metadata stands in for trace fields the envelope lacks.

    Raises NotAnEvent.
    """
    if isinstance(message.facts, Event):
        return message.facts
    if cloudevents.kind_of(message.content_type) is DataKind.BASE64:
        event = Event()
    else:
        try:
            event = decoded(_decode, message.data)
        except RecursionError:
            event = Event()  # an object, but deeper than the decoder looks
        except msgspec.DecodeError as error:
            raise NotAnEvent(str(error)) from None
    if message.metadata:
        _fall_back(event, message.metadata)
    return event


def wrap_raw(message: Message, topic: str, pubsub_name: str) -> tuple[bytes, Event]:
    """Make the event that a rawPayload subscriber is given."""
    trace = {name: message.metadata[name] for name in TRACE_FIELDS if name in message.metadata}
    if "traceparent" in trace:
        trace["traceid"] = trace["traceparent"]
    event = Event(None, trace.get("traceid"), trace.get("traceparent"), trace.get("tracestate"))
    return cloudevents.wrap_raw(message.data, topic, pubsub_name, trace), event


def metadata_headers(metadata: Mapping[str, str]) -> list[Header]:
    """The broker's metadata as headers of the delivery, names in lower case.

    Only what can stand in a header and is not the daemon's own: a publisher is another tenant's app.
    """
    headers = []
    for name, value in metadata.items():
        if _HEADER_NAME.fullmatch(name) and _HEADER_VALUE.fullmatch(value):
            lower = name.lower().encode()
            if lower not in _OURS:
                headers.append((lower, value.encode()))
    return headers


def _fall_back(event: Event, metadata: Mapping[str, str]) -> None:
    if event.traceid is None:
        event.traceid = metadata.get("traceid")
    if event.traceparent is None and "traceparent" in metadata:
        event.traceparent = event.traceid = metadata["traceparent"]
    if event.tracestate is None:
        event.tracestate = metadata.get("tracestate")
