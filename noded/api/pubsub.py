"""Publishing an event: once, and its face for HTTP; `pubsub_grpc.py` has the one for gRPC.

The topic's subscribers are never waited for: an inline broker has queued or handed on the event when this returns.
Source: dapr-api.md 1.4; order of checks as daprd 1.18 pkg/api/http/http.go onPublish.
"""

import re
import time
from collections.abc import Mapping, Sequence

from msgspec import Struct

from components.contract import BrokerAtHand, Capability, ComponentError, Message, TopicName
from components.fields import parse_seconds
from noded import errors, gobool
from noded.api import cloudevents
from noded.api.cloudevents import CLOUDEVENTS_JSON, DataKind, Draft, Overrides
from noded.api.lenient_json import NotJson
from noded.app import App, PubSubBinding
from noded.calls import NO_CONTENT, Header, HttpCall, Reply
from noded.errors import ApiError, ErrorRow
from noded.query import metadata_of
from noded.route_table import Running
from noded.runtime.events import UNTRACED, Event
from tenancy.tally import Cell
from tenancy.use import PublishUse

_TRACEPARENT = re.compile(rb"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_OVERRIDE = "cloudevent."
NO_METADATA: Mapping[str, str] = {}
"""Shared by all that have none."""


MAX_KNOWN_TOPICS = 256
"""Of one app at one broker; when it is full everything is forgotten and learnt anew."""


class KnownTopic(Struct, frozen=True):
    """What publishing JSON to a topic comes to, where that was done before and may be: no more is to be asked."""

    content_type: str
    broker: BrokerAtHand
    name: TopicName
    """At the broker."""
    shared: bytes
    """Of all its envelopes (`cloudevents.wrap_json`)."""
    cell: Cell
    """Counts what is published."""


class Publication(Struct):
    """What an app asks to be published."""

    pubsub_name: str
    topic: str
    data: bytes
    content_type: str = ""
    metadata: Mapping[str, str] = NO_METADATA
    traceparent: str = ""
    tracestate: str = ""


async def publish(app: App, publication: Publication) -> None:
    """Wrap an event as its content type and metadata ask, and hand it to the broker.

    Raises ApiError: a PUBSUB row of noded/errors.py.
    """
    binding = find_binding(app, publication)
    topic = publication.topic
    data = publication.data if is_raw(publication) else envelope(app, binding, publication)
    if not binding.scopes.may_publish(topic):
        error = f"topic {topic} is not allowed for app id {app.app_id}"
        raise about_topic(errors.PUBSUB_FORBIDDEN, publication, error, app_id=app.app_id)
    use = binding.use
    since = use.time.now
    try:
        await binding.broker.publish(binding.names.topic(topic), _message(publication, data))
    except ComponentError as error:
        use.failed(topic, since)
        raise about_topic(errors.PUBSUB_PUBLISH, publication, str(error)) from error
    published = use.topics.get(topic) or use.topic(topic)
    published.count += 1
    if use.time.now is not since:
        use.took(published, since)


def _message(publication: Publication, data: bytes) -> Message:
    """The broker's message; of an envelope that is ours alone, deliveries need not read what it says."""
    if publication.metadata or cloudevents.kind_of(publication.content_type) is DataKind.CLOUD_EVENT:
        return Message(data, publication.metadata)
    trace = publication.traceparent
    facts = Event(None, trace, trace, publication.tracestate) if trace else UNTRACED
    return Message(data, publication.metadata, facts=facts)


def publish_http(call: HttpCall) -> Reply | Running:
    """POST or PUT /v1.0/publish/{pubsub}/{topic...}. 204; the topic may hold slashes. Raises as `publish`.

    An event like earlier ones, as nearly all are, is published in place.
    """
    pubsub_name, topic = call.params
    binding = call.app.pubsub.get(pubsub_name)
    if binding is None or (known := binding.known_topics.get(topic)) is None or not _is_plain(call, known):
        return _publish_http(call)
    _publish_known(binding.use, known, call)
    return NO_CONTENT


def _is_plain(call: HttpCall, known: KnownTopic) -> bool:
    """Whether an event is as those that are known: of that content type, without metadata and trace."""
    return not call.query and not call.too_large and _headers_of(call) == (known.content_type, "", "")


def _publish_known(use: PublishUse, known: KnownTopic, call: HttpCall) -> None:
    """As `publish`, which has found before that there is nothing to refuse."""
    since = use.time.now
    data = cloudevents.wrap_json(known.shared, call.body)
    try:
        known.broker.publish_now(known.name, Message(data, NO_METADATA, CLOUDEVENTS_JSON, UNTRACED))
    except ComponentError as error:
        pubsub_name, topic = call.params
        use.failed(topic, since)
        raise about_topic(errors.PUBSUB_PUBLISH, Publication(pubsub_name, topic, b""), str(error)) from error
    cell = known.cell
    cell.count += 1
    if use.time.now is not since:
        use.took(cell, since)


async def _publish_http(call: HttpCall) -> Reply:
    pubsub_name, topic = map(as_utf8, call.params)
    content_type, traceparent, tracestate = _headers_of(call)
    metadata = {name: as_utf8(value) for name, value in metadata_of(call.query).items()} if call.query else NO_METADATA
    publication = Publication(pubsub_name, topic, call.body, content_type, metadata, traceparent, tracestate)
    if call.too_large:
        find_binding(call.app, publication)
        raise about_topic(errors.PUBSUB_PUBLISH, publication, "stream too large")
    await publish(call.app, publication)
    if not metadata and not traceparent and not tracestate:
        _remember(call.app, publication)
    return NO_CONTENT


def _remember(app: App, publication: Publication) -> None:
    """Keep what a plain event came to, which was published, for the next one like it."""
    binding = app.pubsub.get(publication.pubsub_name)
    content_type, topic = publication.content_type, publication.topic
    if binding is None or binding.at_hand is None or cloudevents.kind_of(content_type) is not DataKind.JSON:
        return
    shared = cloudevents.shared_by(content_type, app.app_id, topic, publication.pubsub_name)
    if len(binding.known_topics) >= MAX_KNOWN_TOPICS:
        binding.known_topics.clear()
    use = binding.use
    cell = use.topics.get(topic) or use.topic(topic)
    binding.known_topics[topic] = KnownTopic(content_type, binding.at_hand, binding.names.topic(topic), shared, cell)


def not_found(pubsub_name: str, metadata: Mapping[str, str]) -> ApiError:
    """Make the error for a broker the app does not have."""
    return errors.PUBSUB_NOT_FOUND.error(metadata=metadata, name=pubsub_name)


def find_binding(app: App, publication: Publication) -> PubSubBinding:
    """Find the broker. Raises ApiError: its name or the topic is empty, or the app has none of that name."""
    name = publication.pubsub_name
    if not name:
        raise about(errors.PUBSUB_NAME_EMPTY, publication, publication.metadata)
    binding = app.pubsub.get(name)
    if binding is None:
        raise not_found(name, publication.metadata)
    if not publication.topic:
        raise about(errors.PUBSUB_TOPIC_EMPTY, publication, publication.metadata)
    return binding


def envelope(app: App, binding: PubSubBinding, publication: Publication) -> bytes:
    """Wrap or complete an event as its content type and metadata ask. Raises ApiError: it is no CloudEvent."""
    draft = Draft(
        publication.data,
        publication.content_type,
        app.app_id,
        publication.topic,
        publication.pubsub_name,
        publication.traceparent,
        publication.tracestate,
    )
    metadata = publication.metadata
    if metadata and Capability.MESSAGE_TTL not in binding.broker.capabilities:
        draft.expiration = _expiration(metadata)
    if cloudevents.kind_of(draft.content_type) is DataKind.CLOUD_EVENT:
        try:
            return cloudevents.complete(draft)
        except NotJson as error:
            details = {"appID": app.app_id, "error": str(error)}
            raise about(errors.PUBSUB_CLOUD_EVENT, publication, details) from None
    if metadata and (overrides := _overrides(metadata)) is not None:
        return cloudevents.wrap_with(draft, overrides)
    return cloudevents.wrap(draft)


def is_raw(publication: Publication) -> bool:
    """Whether the payload goes without an envelope. Raises ApiError unless rawPayload is a bool as Go reads it."""
    if not publication.metadata:
        return False
    word = publication.metadata.get("rawPayload", "")
    if not word or word in gobool.FALSE:
        return False
    if word in gobool.TRUE:
        return True
    error = f"rawPayload value must be a valid boolean: actual is '{word}'"
    raise about(errors.PUBSUB_METADATA, publication, publication.metadata, error=error)


def _expiration(metadata: Mapping[str, str]) -> str:
    """Return the `expiration` that ttl or ttlInSeconds asks for; "" without a usable one."""
    fields = {name.lower(): value for name, value in metadata.items()}
    text = fields.get("ttl", fields.get("ttlinseconds", ""))
    seconds = parse_seconds(text) if text else None
    if seconds is None or (seconds <= 0 and text.lstrip("+-").isdecimal()):
        return ""
    return cloudevents.rfc3339(int(time.time() + min(max(seconds, 0.0), _LONGEST_TTL_SECONDS))).decode()


_LONGEST_TTL_SECONDS = 9_223_372_036.0  # an int64 of nanoseconds, as Go's duration


def _overrides(metadata: Mapping[str, str]) -> Overrides | None:
    """Gather `cloudevent.*` metadata, names case-insensitive; None without any."""
    given = {
        name[len(_OVERRIDE) :].lower(): value for name, value in metadata.items() if name.lower().startswith(_OVERRIDE)
    }
    known = {name: given[name] for name in Overrides.__struct_fields__ if name in given}
    return Overrides(**known) if known else None


def as_utf8(text: str) -> str:
    """Replace bytes that were no UTF-8 in the URL: an envelope cannot carry them."""
    return text if text.isascii() else text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _headers_of(call: HttpCall) -> tuple[str, str, str]:
    """The `event_headers` of a call, read once for all requests that come with the same headers."""
    known = call.known
    if known is None:
        return event_headers(call.headers)
    if not isinstance(known.parsed, _EventHeaders):
        known.parsed = _EventHeaders(event_headers(call.headers))
    return known.parsed.values


class _EventHeaders(Struct, frozen=True):
    """What a known head says of an event."""

    values: tuple[str, str, str]


def event_headers(headers: Sequence[Header]) -> tuple[str, str, str]:
    """Return content type, traceparent and tracestate; a traceparent that is none counts as absent, with its state."""
    content_type = traceparent = tracestate = b""
    for name, value in headers:
        if name == b"content-type":
            content_type = value
        elif name == b"traceparent" and _TRACEPARENT.fullmatch(value):
            traceparent = value
        elif name == b"tracestate":
            tracestate = value
    if traceparent:
        return content_type.decode("latin-1"), traceparent.decode(), tracestate.decode("latin-1")
    return content_type.decode("latin-1"), "", ""


def about(
    row: ErrorRow, publication: Publication, metadata: Mapping[str, str], error: str = "", app_id: str = ""
) -> ApiError:
    """Make an error with daprd's ResourceInfo, whose description repeats the message."""
    name, topic = publication.pubsub_name, publication.topic
    message = row.text.format(name=name, topic=topic, error=error, app_id=app_id)
    info = errors.resource_info("pubsub", name, message)
    return row.error(info, metadata=metadata, name=name, topic=topic, error=error, app_id=app_id)


def about_topic(row: ErrorRow, publication: Publication, error: str, app_id: str = "") -> ApiError:
    """Make an error whose ErrorInfo tells the topic and what is wrong."""
    return about(row, publication, {"topic": publication.topic, "error": error}, error, app_id)
