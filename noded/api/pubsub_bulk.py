"""Publishing many events in one request: every one is checked and wrapped before the first goes to the broker.

Each event is accepted or refused by itself; a failure names the entries that failed and says nothing of the others.
A request full of tiny ones is done in pieces (`pieces`), so it delays nobody else.
Source: dapr-api.md 1.4; daprd 1.18 pkg/api/http/http.go onBulkPublish, pkg/api/grpc/grpc.go bulkPublishEvent.
"""

import binascii
from collections.abc import Mapping, Sequence
from functools import partial

import msgspec
from msgspec import Raw, Struct

from components.contract import ComponentError, Message
from noded import errors
from noded.api import cloudevents
from noded.api.cloudevents import DataKind
from noded.api.lenient_json import NotJson, first_value
from noded.api.pieces import IDENTIFIED, ITEMS, UNREADABLE_JSON, decode_items, each
from noded.api.pubsub import (
    NO_METADATA,
    Publication,
    about,
    about_topic,
    as_utf8,
    envelope,
    event_headers,
    find_binding,
    is_raw,
)
from noded.app import App, PubSubBinding
from noded.calls import NO_CONTENT, HttpCall, Reply
from noded.errors import ApiError
from noded.query import metadata_of

_MISMATCH = "error: mismatch between contentType and event"
_ID_WRONG = "entryId is duplicated or not present for entry"
_NULL = Raw(b"null")


class Entry(Struct, gc=False):
    """One event of a bulk request."""

    entry_id: str
    data: bytes
    content_type: str
    metadata: Mapping[str, str] | None = None
    """Its own; None: it has none, and is not given the request's either, as in daprd."""


class FailedEntry(Struct, rename="camel"):
    """An event that the broker did not take."""

    entry_id: str
    error: str


async def publish_bulk(app: App, request: Publication, entries: Sequence[Entry]) -> Sequence[FailedEntry]:
    """Publish `entries` to the topic of `request`, whose data is not used. Gives those that failed.

    Raises ApiError: nothing was published.
    """
    binding = find_binding(app, request)
    raw = is_raw(request)
    _check_ids(app, request, entries)
    messages = await each(app, entries, partial(_message, app, binding, request, raw=raw))
    topic = request.topic
    if not binding.scopes.may_publish(topic):
        error = f"topic {topic} is not allowed for app id {app.app_id}"
        raise about_topic(errors.PUBSUB_FORBIDDEN, request, error, app_id=app.app_id)
    failed = []
    since = binding.use.time.now
    name = binding.names.topic(topic)
    for at, message in enumerate(messages):
        if at and not at % ITEMS:
            await app.next_turn()
        try:
            await binding.broker.publish(name, message)
        except ComponentError as error:
            failed.append(FailedEntry(entries[at].entry_id, str(error)))
    binding.use.batch(topic, since, success=not failed)
    return failed


def _message(app: App, binding: PubSubBinding, request: Publication, entry: Entry, *, raw: bool) -> Message:
    """What the broker is given of an entry. Raises ApiError: it is no CloudEvent."""
    metadata = NO_METADATA if entry.metadata is None else {**request.metadata, **entry.metadata}
    if raw:
        return Message(entry.data, metadata)
    event = Publication(request.pubsub_name, request.topic, entry.data, entry.content_type, metadata)
    event.traceparent, event.tracestate = request.traceparent, request.tracestate
    return Message(envelope(app, binding, event), metadata)


async def publish_bulk_http(call: HttpCall) -> Reply:
    """POST or PUT publish/bulk/{pubsub}/{topic...}. 204, or 500 with the entries that failed."""
    pubsub_name, topic = map(as_utf8, call.params)
    _, traceparent, tracestate = event_headers(call.headers)
    metadata = {name: as_utf8(value) for name, value in metadata_of(call.query).items()} if call.query else {}
    request = Publication(pubsub_name, topic, b"", "", metadata, traceparent, tracestate)
    find_binding(call.app, request)
    is_raw(request)
    try:
        items = await _items(call.app, call.body) if not call.too_large else _refuse("stream too large")
    except NotJson as error:
        app_id = {"appID": call.app.app_id}
        raise about(errors.PUBSUB_UNMARSHAL_EVENTS, request, app_id, str(error)) from None
    entries = await each(call.app, items, partial(_entry, call.app, request))
    failed = await publish_bulk(call.app, request, entries)
    return _failure(request, failed) if failed else NO_CONTENT


class _Item(Struct, rename="camel", forbid_unknown_fields=True, gc=False):
    entry_id: str | None = None
    event: Raw = _NULL
    content_type: str | None = None
    metadata: dict[str, str] | None = None


_decoder = msgspec.json.Decoder(list[_Item] | None)
_decode_objects = msgspec.json.Decoder(list[dict[str, Raw] | None] | None).decode


async def _items(app: App, body: bytes) -> Sequence[_Item]:
    """Read the list of entries. Raises NotJson."""
    try:
        return await decode_items(app, _decoder, body, IDENTIFIED)
    except UNREADABLE_JSON:
        return _lenient_items(body)


def _lenient_items(body: bytes) -> Sequence[_Item]:
    """As Go's decoder reads them: names in any case, null for what is absent, other members ignored."""
    try:
        objects = _decode_objects(first_value(body)) or ()
        return [msgspec.convert(_members(each or {}), _Item) for each in objects]
    except (msgspec.DecodeError, NotJson, RecursionError) as error:
        raise NotJson(str(error) if body.strip() else "EOF") from None


_NAMES = {"entryid": "entryId", "event": "event", "contenttype": "contentType", "metadata": "metadata"}


def _members(item: Mapping[str, Raw]) -> Mapping[str, object]:
    """The known members of an entry, all but the event decoded."""
    known = {name: value for key, value in item.items() if (name := _NAMES.get(key.lower())) is not None}
    return {name: value if name == "event" else msgspec.json.decode(value) for name, value in known.items()}


def _refuse(problem: str) -> Sequence[_Item]:
    raise NotJson(problem)


def _entry(app: App, request: Publication, item: _Item) -> Entry:
    """The entry with its event as bytes. Raises ApiError: the event is not what its content type says."""
    try:
        data = _event_bytes(bytes(item.event), item.content_type or "")
    except ValueError as error:
        told = str(error)
        raise about(errors.PUBSUB_MARSHAL_ENVELOPE, request, {"appID": app.app_id, "error": told}, told) from None
    return Entry(item.entry_id or "", data, item.content_type or "", item.metadata)


def _event_bytes(event: bytes, content_type: str) -> bytes:
    """Octets are a base64 string, text is a string, JSON is itself; no other type is taken.

    Raises ValueError, worded as daprd words it.
    """
    kind = cloudevents.kind_of(content_type)
    if kind in {DataKind.JSON, DataKind.CLOUD_EVENT}:
        return event
    if kind is not DataKind.BASE64 and not cloudevents.is_string(content_type):
        raise ValueError(_MISMATCH)
    text = msgspec.json.decode(event)
    if not isinstance(text, str):
        raise ValueError(_MISMATCH)  # noqa: TRY004 - a ValueError is what is told
    if kind is not DataKind.BASE64:
        return text.encode("utf-8", "replace")
    try:
        return binascii.a2b_base64(text.encode(), strict_mode=True)
    except ValueError as error:
        told = f"error: unable to decode base64 application/octect-stream data: illegal base64 data: {error}"
        raise ValueError(told) from None


def _check_ids(app: App, request: Publication, entries: Sequence[Entry]) -> None:
    """Raise ApiError unless every entry has an id of its own."""
    ids = {entry.entry_id for entry in entries}
    if len(ids) < len(entries) or "" in ids:
        details = {"appID": app.app_id, "error": _ID_WRONG}
        raise about(errors.PUBSUB_MARSHAL_EVENTS, request, details, _ID_WRONG)


def _failure(request: Publication, failed: Sequence[FailedEntry]) -> Reply:
    """Name the failed entries in the body, and once more in a header, as daprd does."""
    error: ApiError = about_topic(errors.PUBSUB_PUBLISH, request, failed[0].error)
    body = msgspec.json.encode({"failedEntries": failed, "errorCode": error.row.code})
    told = f"api error: code = Internal desc = {error.message}"
    headers = [(b"metadata.error", _header_value(told))]
    if len(body) <= _HEADER_BYTES:
        headers.append((b"metadata.responsedata", _header_value(body.decode())))
    return Reply(error.http, body, headers=tuple(headers))


_HEADER_BYTES = 4096
"""A longer list of failed entries stands in the body only: clients refuse larger headers."""


def _header_value(text: str) -> bytes:
    """One line of ASCII: a broker's error may hold anything."""
    return "".join(each if " " <= each <= "~" else "?" for each in text).encode()
