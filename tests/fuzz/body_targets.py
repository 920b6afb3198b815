"""JSON: bodies of requests to the daemon, what apps answer, what the operator asks."""

import json
from collections.abc import Callable
from contextlib import suppress

import msgspec

from components.contract import Message
from noded.admin.attach_request import AttachRequest, spec_of
from noded.api.cloudevents import CLOUDEVENTS_JSON
from noded.api.lenient_json import NotJson, as_object, first_value
from noded.channel_contract import AppResponse
from noded.runtime import bulk_http, deliver, events, subscription_list
from noded.runtime.events import NotAnEvent
from noded.runtime.subscription_list import MalformedSubscriptions
from noded.runtime.topic_event import topic_event
from tests.fuzz.lone_node import LoneNode, carry
from tests.fuzz.target import Target
from tests.wire.recording_link import Answer, read_answers

DEEP = b"[" * 1500 + b"]" * 1500
_OBJECTS = (b"null", b"{}", DEEP)
_LISTS = (b"null", b"[]", b"[null]", DEEP)
_ANY = (b"1", b'"text"', b'{"a":1} trailing', b'"\\ud800x"', DEEP)
JSON_WORDS = (
    b"null", b"true", b"1e400", b"-0", b"{}", b"[]", b'""', b'"\\ud800"',
    b"\\u0000", b"\xed\xa0\x80", b",", b":", b"\xff",
    b"[[[[[[[[", b'{"a":{"a":{"a":', b"99999999999999999999999", b'"ttlInSeconds":"1"', b"\xef\xbb\xbf", b"NaN",
)  # fmt: skip


def named(*fields: str) -> tuple[bytes, ...]:
    """The words of every JSON body, and the fields of this one, each with its colon."""
    return (*JSON_WORDS, *(b'"%b":' % field.encode() for field in fields))


_ITEM = ("key", "value", "etag", "metadata", "options", "concurrency", "consistency", "contentType")
_EVENT = (
    "id", "source", "specversion", "type", "datacontenttype", "data", "data_base64", "topic", "pubsubname",
    "traceid", "traceparent", "tracestate", "expiration", "subject", "time",
)  # fmt: skip
_SUBSCRIPTION = (
    "pubsubname", "topic", "route", "routes", "rules", "match", "path", "default", "metadata", "deadLetterTopic",
    "bulkSubscribe", "enabled", "maxMessagesCount", "maxAwaitDurationMs",
)  # fmt: skip


def post(target: bytes, content_type: bytes = b"application/json") -> Callable[[bytes], None]:
    """Send an input as a body, twice, and read everything back: answers are HTTP, errors are of the table."""

    def run(body: bytes) -> None:
        node = LoneNode()
        head = b"POST %b HTTP/1.1\r\nHost: h\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n"
        request = head % (target, content_type, len(body)) + body
        bulk = b'{"keys":["k","j",""]}'
        reading = head % (b"/v1.0/state/s/bulk", content_type, len(bulk)) + bulk
        wire, link = node.http1()
        carry(wire, link, [request, request, reading, b"GET /v1.0/state/s/k HTTP/1.1\r\nHost: h\r\n\r\n"])
        answers = read_answers(bytes(link.sent), ended=link.shut_down)
        assert len(answers) == 4
        _check(answers)
        for _, message in node.broker.published:
            _is_event(message.data)

    return run


def note(body: bytes) -> None:
    """Any bytes as the value of a note: kept as they are, and told in JSON that every decoder reads."""
    node = LoneNode()
    head = b"PUT /v1.0/metadata/k HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % len(body)
    wire, link = node.http1()
    carry(wire, link, [head + body, b"GET /v1.0/metadata HTTP/1.1\r\nHost: h\r\n\r\n"])
    put, told = read_answers(bytes(link.sent), ended=link.shut_down)
    assert put.status == 204
    assert json.loads(told.body.decode())["extended"]["k"] == body.decode("utf-8", "replace")


def _check(answers: list[Answer]) -> None:
    for answer in answers[:3]:
        if answer.status != 204:
            json.loads(answer.body.decode())
        if answer.status >= 400:
            assert set(json.loads(answer.body)) >= {"errorCode"}


def _is_event(envelope: bytes) -> None:
    """An envelope is JSON to every decoder, whatever was put into it."""
    try:
        event = json.loads(envelope)
    except RecursionError:
        return
    assert isinstance(event, dict)
    assert event["topic"]
    msgspec.json.decode(envelope, type=dict[str, msgspec.Raw])


def event_answers(body: bytes) -> None:
    """What HTTP apps answer to an event, to a batch, and to the question what they subscribe to."""
    deliver.judge(AppResponse(200, (), body))
    bulk_http.judge(AppResponse(200, (), body), ["1", "2"])


def subscriptions(body: bytes) -> None:
    """An app's list of topics, or MalformedSubscriptions; what is read can be told in /v1.0/metadata."""
    try:
        specs = subscription_list.parse(body)
    except MalformedSubscriptions:
        return
    for spec in specs:
        assert spec.rules
        msgspec.json.encode(subscription_list.describe(spec, subscription_list.Kind.PROGRAMMATIC))


def envelopes(data: bytes) -> None:
    """Any bytes a broker may carry, on their way to an HTTP and to a gRPC app."""
    message = Message(data, {"traceid": "x", "ttl": "1"}, CLOUDEVENTS_JSON)
    try:
        event = events.read(message)
        event.trace_headers()
        event.has_expired(1.0)
    except NotAnEvent:
        pass
    with suppress(NotAnEvent):
        topic_event(data, "t", "p", "/").SerializeToString()


def lenient(data: bytes) -> None:
    """The first value of anything is JSON as every decoder reads it, is its own first value, and ends where it did."""
    try:
        value = first_value(data)
    except NotJson:
        try:
            json.loads(data.decode(), parse_constant=_refuse)
        except (ValueError, RecursionError):
            return
        raise
    assert first_value(value) == value
    assert first_value(value + b" {") == value
    try:
        loaded = json.loads(value, parse_int=str)
    except RecursionError:
        return
    try:
        assert isinstance(loaded, dict) == (as_object(data) is not None)
    except NotJson:
        assert not isinstance(loaded, dict)


def _refuse(name: str) -> None:
    raise ValueError(name)


def attach(body: bytes) -> None:
    """What `noded run` asks: a ValueError, or a RuntimeError of too deep nesting, is told to the operator."""
    try:
        spec_of(msgspec.json.decode(body, type=AttachRequest))
    except (msgspec.DecodeError, ValueError, RuntimeError):
        return


TARGETS = (
    Target("json_state_save", post(b"/v1.0/state/s?metadata.a=b"), _LISTS, named(*_ITEM)),
    Target(
        "json_state_transaction",
        post(b"/v1.0/state/s/transaction"),
        _OBJECTS,
        (*named("operations", "operation", "request", *_ITEM), b'"upsert"', b'"delete"'),
    ),
    Target(
        "json_state_bulk_get",
        post(b"/v1.0/state/s/bulk?metadata.a=b"),
        (*_OBJECTS, b'{"keys":["k","","k||j"],"parallelism":2,"metadata":{"partitionKey":"k"}}'),
        named("keys", "parallelism", "metadata"),
    ),
    Target(
        "json_state_query",
        post(b"/v1.0-alpha1/state/s/query"),
        (*_OBJECTS, b'{"filter":{"EQ":{"a":1}},"sort":[{"key":"a"}],"page":{"limit":2}}'),
        named("filter", "sort", "page"),
    ),
    Target("metadata_note", note, (b"", b"text", b"\xff\xfe", b'"\\ud800"', b"\xed\xa0\x80"), JSON_WORDS),
    Target("json_publish", post(b"/v1.0/publish/p/t?metadata.ttlInSeconds=5"), _ANY, JSON_WORDS),
    Target(
        "json_publish_cloudevent",
        post(b"/v1.0/publish/p/t", b"application/cloudevents+json"),
        (*_OBJECTS, b'{"id":null,"data":"x","topic":1}'),
        named(*_EVENT),
    ),
    Target(
        "json_publish_bulk",
        post(b"/v1.0/publish/bulk/p/t"),
        _LISTS,
        (*named("entryId", "event", "contentType", "metadata"), b'"application/cloudevents+json"'),
    ),
    Target(
        "json_event_answers",
        event_answers,
        (*_OBJECTS, b'{"status":"SUCCESS"}', b'{"STATUS":"DROP"}'),
        (*JSON_WORDS, b'"status"', b'"entryId"', b'"statuses"', b'"RETRY"'),
    ),
    Target("json_subscriptions", subscriptions, (*_LISTS, b'[{"Topic":"t","route":"r"},null]'), named(*_SUBSCRIPTION)),
    Target("json_envelopes", envelopes, (*_OBJECTS, b'{"data_base64":"aGk=","x":[[1]]}'), named(*_EVENT)),
    Target("json_lenient", lenient, (*_ANY, b'"\\ud83d\\ude00\\ud800"', b"-0.0e1"), JSON_WORDS),
    Target(
        "json_attach",
        attach,
        (*_OBJECTS, b'{"appId":"a","loopback":false}'),
        named("appId", "namespace", "channel", "protocol", "maxConcurrency", "httpPort", "grpcPort", "limits"),
    ),
)
