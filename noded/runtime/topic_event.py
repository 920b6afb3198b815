"""A broker's bytes as the TopicEventRequest of gRPC.

Source: daprd 1.18 pkg/runtime/pubsub/subscriptions.go GRPCEnvelopeFromSubscriptionMessage. Unlike there, data of an
unknown content type is not lost: a string goes as its bytes, anything else as its JSON.
"""

import base64
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Raw

from components.contract import Message
from noded.api import cloudevents
from noded.proto.events_pb2 import TopicEventRequest
from noded.runtime.events import NotAnEvent

_OWN_FIELDS = frozenset({"id", "source", "type", "specversion", "datacontenttype", "data", "data_base64"})
"""Attributes with a field of their own; all others, topic and trace included, go into `extensions`."""

_DEPTH = 20
"""Of JSON; a google.protobuf.Value has three messages a level."""
_NULL = b"null"

_decode_object = msgspec.json.Decoder(dict[str, Raw]).decode


def topic_event(data: bytes, topic: str, pubsub_name: str, path: str) -> TopicEventRequest:
    """Read an envelope.

    Raises NotAnEvent: it is no JSON object, or its data_base64 is none.
    """
    try:
        event = _decode_object(data)
        request = TopicEventRequest(
            id=_text(event, "id"),
            source=_text(event, "source"),
            type=_text(event, "type"),
            spec_version=_text(event, "specversion"),
            data_content_type=_text(event, "datacontenttype"),
            data=_data(event),
            topic=topic,
            pubsub_name=pubsub_name,
            path=path,
        )
        request.extensions.update(
            {name: _extension(bytes(value)) for name, value in event.items() if name not in _OWN_FIELDS}
        )
    except (ValueError, OverflowError, RecursionError) as error:
        raise NotAnEvent(str(error)) from None
    return request


def binary_event(message: Message, topic: str, pubsub_name: str) -> TopicEventRequest:
    """Make the request of a message in CloudEvents' binary mode: attributes are `ce_*` metadata, the data itself."""
    attributes = {name[3:].lower(): value for name, value in message.metadata.items() if name.lower().startswith("ce_")}
    request = TopicEventRequest(
        id=attributes.get("id", ""),
        source=attributes.get("source", ""),
        type=attributes.get("type", ""),
        spec_version=attributes.get("specversion", ""),
        data_content_type=message.content_type,
        data=message.data,
        topic=topic,
        pubsub_name=pubsub_name,
    )
    request.extensions.update({name: value for name, value in attributes.items() if name not in _OWN_FIELDS})
    return request


def _text(event: Mapping[str, Raw], name: str) -> str:
    raw = event.get(name)
    value = None if raw is None else msgspec.json.decode(raw)
    return value if isinstance(value, str) else ""


def _data(event: Mapping[str, Raw]) -> bytes:
    if _text(event, "data_base64"):
        return base64.b64decode(_text(event, "data_base64"), validate=True)
    raw = bytes(event.get("data", _NULL))
    if raw == _NULL:
        return b""
    content_type = _text(event, "datacontenttype")
    kind = cloudevents.kind_of(content_type)
    if raw.startswith(b'"') and kind not in {cloudevents.DataKind.JSON, cloudevents.DataKind.CLOUD_EVENT}:
        return _text(event, "data").encode("utf-8", "replace")
    return raw


def _extension(raw: bytes) -> Any:
    """Decode an extension. One nested too deep for its reader is given as JSON text: protobuf parsers stop at 100."""
    return raw.decode() if raw.count(b"[") + raw.count(b"{") > _DEPTH else msgspec.json.decode(raw)
