"""Publishing: what each face takes, every error with its exact words, topic scopes, expiry."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from components.contract import Delivery, GroupName, SubscribeRequest, SubscriptionHandle, Surroundings, Verdict
from components.registry import open_pubsub
from noded.api.pubsub import MAX_KNOWN_TOPICS, Publication, publish, publish_http
from noded.api.pubsub_grpc import publish_grpc
from noded.api.topic_scopes import topic_scopes
from noded.app import App, PubSubBinding
from noded.calls import GrpcCall, Header, HttpCall, Reply
from noded.config.records import AppSpec
from noded.errors import ApiError, Grpc
from noded.node import Node
from noded.proto.pubsub_pb2 import PublishEventRequest
from tenancy.namespacing import topic_names
from tenancy.tenant import Tenants
from tests.daemon.pubsub_node import inline

JSON_HEADERS: tuple[Header, ...] = ((b"content-type", b"application/json"),)
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Publisher:
    """An app with one broker, `pubsub`, and a consumer that keeps what `orders` and `a/b` carry."""

    def __init__(self, tmp_path: Path, scopes: Mapping[str, str] | None = None) -> None:
        tenants = Tenants(clock=lambda: 0.0)
        surroundings = Surroundings(
            next_pass=lambda callback: callback(),
            run_soon=lambda callback: callback(),
            call_later=lambda _seconds, _callback: pytest.fail("nothing is retried here"),
            now=lambda: 0.0,
            state_dir=tmp_path,
            ledger=tenants.books.open_ledger(),
        )
        self.broker = open_pubsub("pubsub.in-memory", "pubsub", {}, surroundings)
        self.app = App(AppSpec("app"), tenants.attach("default", "app"), Node(), None)
        names = topic_names("default", "app")
        self.app.pubsub["pubsub"] = PubSubBinding("pubsub", self.broker, names, topic_scopes(scopes or {}, "app"))
        self.kept: list[Delivery] = []
        for topic in ("orders", "a/b"):
            inline(self._keep(topic))

    @property
    def events(self) -> list[Any]:
        """The envelopes that were carried."""
        return [json.loads(delivery.message.data) for delivery in self.kept]

    def http(self, *params: str, query: bytes = b"", headers: tuple[Header, ...] = (), body: bytes = b"{}") -> int:
        """Publish over HTTP; the status."""
        call = HttpCall(self.app, b"POST", b"/v1.0/publish", query, list(headers), body, None)  # type: ignore[arg-type]
        call.params = params
        answer = publish_http(call)
        return (answer if isinstance(answer, Reply) else inline(answer)).status

    def grpc(self, request: PublishEventRequest, metadata: tuple[Header, ...] = ()) -> None:
        """Publish over gRPC."""
        inline(publish_grpc(GrpcCall(self.app, metadata, None), request))

    async def _keep(self, topic: str) -> SubscriptionHandle:
        def keep(delivery: Delivery) -> None:
            self.kept.append(delivery)
            delivery.settle(Verdict.ACK)

        name = topic_names("default", "app").topic(topic)
        bounds = self.app.tenant.queue
        return await self.broker.subscribe(SubscribeRequest(name, GroupName("watch"), keep, 10, bounds))


@pytest.fixture
def publisher(tmp_path: Path) -> Publisher:
    return Publisher(tmp_path)


def test_http_publishes_and_answers_no_content(publisher: Publisher) -> None:
    """204; topics may hold slashes; the request's content type and trace go into the envelope."""
    headers = ((b"content-type", b"application/json"), (b"traceparent", TRACE.encode()), (b"tracestate", b"a=b"))

    assert publisher.http("pubsub", "a/b", headers=headers, body=b"[1]") == 204
    (event,) = publisher.events
    assert (event["topic"], event["source"], event["data"]) == ("a/b", "app", [1])
    assert (event["traceid"], event["traceparent"], event["tracestate"]) == (TRACE, TRACE, "a=b")


def test_grpc_publishes_the_same_event(publisher: Publisher) -> None:
    """Both faces make equal envelopes, id and time aside."""
    publisher.http("pubsub", "orders", headers=((b"content-type", b"application/json"),), body=b'{"a":1}')
    publisher.grpc(
        PublishEventRequest(pubsub_name="pubsub", topic="orders", data=b'{"a":1}', data_content_type="application/json")
    )

    over_http, over_grpc = publisher.events
    assert over_http | {"id": "", "time": ""} == over_grpc | {"id": "", "time": ""}


@pytest.mark.parametrize("body", [b'{"a":1} ', b"[1, 2]", b'"\xc3\xa9"', b"no json", b"\xff", b"", b'{"a":1}{"b":2}'])
def test_an_event_like_earlier_ones_is_made_as_the_first_was(publisher: Publisher, body: bytes) -> None:
    """What is known of a topic changes nothing but the way there: envelopes are equal, id and time aside."""
    for _ in range(3):
        assert publisher.http("pubsub", "orders", headers=JSON_HEADERS, body=body) == 204

    first, *later = publisher.events
    assert len({event["id"] for event in publisher.events}) == 3
    assert [event | {"id": "", "time": ""} for event in later] == [first | {"id": "", "time": ""}] * 2
    use = publisher.app.pubsub["pubsub"].use
    assert use.topics["orders"].count == 3


def test_what_is_known_of_a_topic_is_of_plain_json_only(publisher: Publisher) -> None:
    """Another content type, a trace, or metadata counts for its own event, before and after plain ones."""
    plain: tuple[bytes, tuple[Header, ...]] = (b"", JSON_HEADERS)
    others: list[tuple[bytes, tuple[Header, ...]]] = [
        (b"", ((b"content-type", b"text/plain"),)),
        (b"", (*JSON_HEADERS, (b"traceparent", TRACE.encode()))),
        (b"metadata.cloudevent.id=mine", JSON_HEADERS),
        (b"metadata.rawPayload=true", JSON_HEADERS),
    ]
    for query, headers in (plain, plain, *others, plain):
        assert publisher.http("pubsub", "orders", query=query, headers=headers, body=b'{"a":1}') == 204

    first, again, text, traced, named, raw, last = publisher.events
    assert [event["data"] for event in (first, again, traced, named, last)] == [{"a": 1}] * 5
    assert (text["data"], text["datacontenttype"], raw) == ('{"a":1}', "text/plain", {"a": 1})
    assert [event["traceparent"] for event in (again, traced, last)] == ["", TRACE, ""]
    assert (named["id"], last["id"] == "mine") == ("mine", False)


def test_the_memory_of_topics_is_bounded(publisher: Publisher) -> None:
    """An app chooses its topics, as many as it likes."""
    for nth in range(MAX_KNOWN_TOPICS + 1):
        publisher.http("pubsub", f"t{nth}", headers=JSON_HEADERS)

    assert len(publisher.app.pubsub["pubsub"].known_topics) <= MAX_KNOWN_TOPICS


def test_a_known_topic_of_a_broker_that_went_down(publisher: Publisher) -> None:
    """It is answered, and counted, as the first to such a broker would be."""
    publisher.http("pubsub", "orders", headers=JSON_HEADERS)
    inline(publisher.broker.aclose())

    with pytest.raises(ApiError) as known:
        publisher.http("pubsub", "orders", headers=JSON_HEADERS)
    with pytest.raises(ApiError) as new:
        publisher.http("pubsub", "others", headers=JSON_HEADERS)
    assert known.value.json().replace(b"orders", b"others") == new.value.json()
    assert publisher.app.pubsub["pubsub"].use.topics["orders"].count == 1


@pytest.mark.parametrize("trace", [b"", b"odd", TRACE.encode().upper(), TRACE.encode() + b"-x"])
def test_a_traceparent_that_is_none_is_not_passed_on(publisher: Publisher, trace: bytes) -> None:
    """Only a W3C traceparent is believed, and its tracestate with it."""
    publisher.http("pubsub", "orders", headers=((b"traceparent", trace), (b"tracestate", b"a=b")))

    assert (publisher.events[0]["traceparent"], publisher.events[0]["tracestate"]) == ("", "")


def test_raw_payload_goes_as_it_came(publisher: Publisher) -> None:
    """With rawPayload the broker carries the very bytes; over gRPC the trace goes beside them."""
    publisher.http("pubsub", "orders", query=b"metadata.rawPayload=true", body=b"\xff")
    request = PublishEventRequest(pubsub_name="pubsub", topic="orders", data=b"\xfe", metadata={"rawPayload": "1"})
    publisher.grpc(request, ((b"traceparent", TRACE.encode()),))

    assert [delivery.message.data for delivery in publisher.kept] == [b"\xff", b"\xfe"]
    assert [dict(delivery.message.metadata) for delivery in publisher.kept] == [
        {"rawPayload": "true"},
        {"rawPayload": "1", "traceid": TRACE, "tracestate": ""},
    ]


@pytest.mark.parametrize("word", ["", "0", "f", "F", "FALSE", "false", "False"])
def test_raw_payload_may_be_declined(publisher: Publisher, word: str) -> None:
    """Every spelling of false that Go reads, and nothing at all, means an envelope."""
    publisher.http("pubsub", "orders", query=f"metadata.rawPayload={word}".encode())

    assert publisher.events[0]["specversion"] == "1.0"


@pytest.mark.parametrize(
    ("query", "seconds"),
    [
        (b"metadata.ttlInSeconds=100", 100),
        (b"metadata.TTLINSECONDS=100", 100),
        (b"metadata.ttl=1m40s", 100),
        (b"metadata.ttl=100&metadata.ttlInSeconds=5", 100),
        (b"metadata.ttl=-5s", 0),
        (b"metadata.ttlInSeconds=99999999999999999999", 9_223_372_036),
        (b"metadata.ttlInSeconds=0", None),
        (b"metadata.ttlInSeconds=-1", None),
        (b"metadata.ttlInSeconds=soon", None),
        (b"ttlInSeconds=100", None),
    ],
)
def test_a_time_to_live_becomes_an_expiry(publisher: Publisher, query: bytes, seconds: int | None) -> None:
    """Where the broker knows no expiry of its own, the envelope says when the event ends; what is no TTL is ignored."""
    before = datetime.now(UTC).timestamp()
    publisher.http("pubsub", "orders", query=query)
    (event,) = publisher.events
    if seconds is None:
        assert "expiration" not in event
    else:
        left = datetime.fromisoformat(event["expiration"]).timestamp() - before
        assert -1 <= left - seconds <= 30


def test_metadata_overrides_attributes_in_any_case(publisher: Publisher) -> None:
    """`cloudevent.*` metadata replaces attributes; other metadata only travels beside the event."""
    publisher.http("pubsub", "orders", query=b"metadata.CloudEvent.ID=mine&metadata.cloudevent.other=1&metadata.k=v")
    (event,) = publisher.events

    assert event["id"] == "mine"
    assert not {"k", "other", "cloudevent.other"} & event.keys()
    assert publisher.kept[0].message.metadata["k"] == "v"


def test_bytes_that_are_no_utf8_in_a_url_do_no_harm(publisher: Publisher) -> None:
    """A topic or value with broken escapes is published with replacement characters."""
    assert publisher.http("pubsub", "or\udcff", query=b"metadata.cloudevent.subject=%ff") == 204


def refused(publisher: Publisher, publication: Publication) -> ApiError:
    with pytest.raises(ApiError) as caught:
        inline(publish(publisher.app, publication))
    return caught.value


class TestErrors:
    """Every refusal, with code, both statuses, message and details as daprd has them."""

    @pytest.mark.parametrize(
        ("publication", "code", "http", "grpc", "message", "reason", "resource"),
        [
            (Publication("", "t", b""), "ERR_PUBSUB_EMPTY", 404, Grpc.INVALID_ARGUMENT,
             "pubsub name is empty", "DAPR_PUBSUB_NAME_EMPTY", ""),
            (Publication("other", "t", b""), "ERR_PUBSUB_NOT_FOUND", 404, Grpc.INVALID_ARGUMENT,
             "pubsub other is not found", "DAPR_PUBSUB_NOT_FOUND", None),
            (Publication("pubsub", "", b""), "ERR_TOPIC_NAME_EMPTY", 404, Grpc.INVALID_ARGUMENT,
             "topic is empty in pubsub pubsub", "DAPR_PUBSUB_TOPIC_NAME_EMPTY", "pubsub"),
            (Publication("pubsub", "{t}", b"", metadata={"rawPayload": "maybe"}), "ERR_PUBSUB_REQUEST_METADATA", 400,
             Grpc.INVALID_ARGUMENT,
             "failed deserializing metadata. Error: rawPayload value must be a valid boolean: actual is 'maybe'",
             "DAPR_PUBSUB_METADATA_DESERIALIZATION", "pubsub"),
            (Publication("pubsub", "t", b"bad", "application/cloudevents+json"), "ERR_PUBSUB_CLOUD_EVENTS_SER", 500,
             Grpc.INVALID_ARGUMENT, "cannot create cloudevent", "DAPR_PUBSUB_CLOUD_EVENT_CREATION", "pubsub"),
            (Publication("pubsub", "secret", b""), "ERR_PUBSUB_FORBIDDEN", 403, Grpc.PERMISSION_DENIED,
             "topic secret is not allowed for app id app", "DAPR_PUBSUB_FORBIDDEN", "pubsub"),
        ],
        ids=lambda value: value if isinstance(value, str) and value.startswith("ERR") else "",
    )  # fmt: skip
    def test_refusal(  # noqa: PLR0913, PLR0917 - a row of the table
        self, tmp_path: Path, publication: Publication, code: str, http: int, grpc: Grpc, message: str, reason: str,
        resource: str | None,
    ) -> None:  # fmt: skip
        """Nothing is published, and the app is told why."""
        publisher = Publisher(tmp_path, {"protectedTopics": "secret"})
        error = refused(publisher, publication)
        body = json.loads(error.json())

        assert (body["errorCode"], body["message"], error.http, error.grpc) == (code, message, http, grpc)
        *resources, info = body["details"]
        assert (info["reason"], info["domain"]) == (reason, "dapr.io")
        assert [(each["resource_type"], each["resource_name"], each["description"]) for each in resources] == (
            [] if resource is None else [("pubsub", resource, message)]
        )
        assert publisher.kept == []

    @pytest.mark.parametrize(
        ("publication", "metadata"),
        [
            (Publication("other", "t", b""), {}),
            (Publication("other", "t", b"", metadata={"k": "v"}), {"k": "v"}),
            (Publication("pubsub", "t", b"", metadata={"rawPayload": "x"}), {"rawPayload": "x"}),
            (Publication("pubsub", "t", b"", "application/cloudevents+json"), {"appID": "app", "error": "EOF"}),
        ],
    )
    def test_what_error_info_says(
        self, publisher: Publisher, publication: Publication, metadata: Mapping[str, str]
    ) -> None:
        """ErrorInfo carries the request's metadata, or what went wrong."""
        assert json.loads(refused(publisher, publication).json())["details"][-1]["metadata"] == metadata

    def test_a_broker_that_is_down(self, publisher: Publisher) -> None:
        """What the broker says is passed on: 500 and INTERNAL."""
        inline(publisher.broker.aclose())
        error = refused(publisher, Publication("pubsub", "t", b"1"))

        assert (error.row.code, error.http, error.grpc) == ("ERR_PUBSUB_PUBLISH_MESSAGE", 500, Grpc.INTERNAL)
        assert error.message == "error when publishing to topic t in pubsub pubsub: component is closed"
        assert error.details[-1]["metadata"] == {"topic": "t", "error": "component is closed"}


class TestTopicScopes:
    """allowedTopics, protectedTopics, publishingScopes and subscriptionScopes of a component."""

    @pytest.mark.parametrize(
        ("metadata", "may"),
        [
            ({}, {"a", "b", "c"}),
            ({"allowedTopics": "a, b"}, {"a", "b"}),
            ({"ALLOWEDTOPICS": "a"}, {"a"}),
            ({"protectedTopics": "a"}, {"b", "c"}),
            ({"protectedTopics": "a", "publishingScopes": "app=a"}, {"a"}),
            ({"publishingScopes": "app=a,b;other=c"}, {"a", "b"}),
            ({"publishingScopes": "app=a;app=b"}, {"a", "b"}),
            ({"publishingScopes": "app="}, set()),
            ({"publishingScopes": "other=a"}, {"a", "b", "c"}),
            ({"publishingScopes": "app"}, {"a", "b", "c"}),
            ({"publishingScopes": "app=a,c", "allowedTopics": "a,b"}, {"a"}),
            ({"subscriptionScopes": "app=a"}, {"a", "b", "c"}),
            ({"protectedTopics": "a,b", "publishingScopes": "other=a;app=b"}, {"b"}),
            ({"protectedTopics": "a", "publishingScopes": "app=b"}, {"b"}),
            ({"protectedTopics": "a", "allowedTopics": "b"}, {"b"}),
            ({"allowedTopics": "a,", "publishingScopes": ""}, {"a"}),
            ({"allowedTopics": "A"}, set()),
            ({"publishingScopes": "app = a , b ; other=c"}, {"a", "b"}),
            ({"publishingScopes": "app=a=b,c"}, {"a"}),
            ({"publishingScopes": "APP=a"}, {"a", "b", "c"}),
        ],
    )
    def test_publishing(self, metadata: Mapping[str, str], may: set[str]) -> None:
        """An app publishes to what is allowed, and within its own list where it has one."""
        scopes = topic_scopes(metadata, "app")

        assert {topic for topic in "abc" if scopes.may_publish(topic)} == may

    def test_subscribing_has_a_list_of_its_own(self) -> None:
        """Publishing and subscribing are scoped apart."""
        scopes = topic_scopes({"publishingScopes": "app=a", "subscriptionScopes": "app=b"}, "app")

        assert [scopes.may_publish("a"), scopes.may_publish("b")] == [True, False]
        assert [scopes.may_subscribe("a"), scopes.may_subscribe("b")] == [False, True]
