"""Pub/sub to a gRPC app: which topics it is asked for, what it is sent, and what its answers mean."""

import json
from collections.abc import Iterator

import grpc
import pytest
from google.protobuf.json_format import MessageToDict

from noded.proto import appcallback_pb2, events_pb2, pubsub_pb2
from tests.daemon.grpc_app import GrpcApp, Metadata, Status, grpc_app
from tests.daemon.server_clients import MEMORY, PUBSUB, HttpClient, app, eventually, grpc_client, http, resources
from tests.daemon_process import Daemon, running_daemon

Event = events_pb2.TopicEventRequest
Topic = appcallback_pb2.TopicSubscription
Routes = appcallback_pb2.TopicRoutes
Rule = appcallback_pb2.TopicRule

TOPICS = [
    Topic(pubsub_name="pubsub", topic="plain"),
    Topic(pubsub_name="pubsub", topic="routed", routes=Routes(default="orders/new one")),
    Topic(pubsub_name="pubsub", topic="failing", dead_letter_topic="dead"),
    Topic(pubsub_name="pubsub", topic="dead", routes=Routes(default="dead")),
    Topic(pubsub_name="pubsub", topic="raw", metadata={"rawPayload": "true"}),
    Topic(
        pubsub_name="pubsub",
        topic="ruled",
        routes=Routes(rules=[Rule(match='event.type == "red"', path="red")], default="other"),
    ),
]
DECLARED: dict[str, object] = {
    "apiVersion": "dapr.io/v2alpha1",
    "kind": "Subscription",
    "metadata": {"name": "declared"},
    "spec": {"pubsubname": "pubsub", "topic": "declared", "routes": {"default": "declared"}},
    "scopes": ["silent"],
}
APPS = {"publisher": "default", "consumer": "default", "silent": "default"}


@pytest.fixture(scope="module")
def consumer() -> Iterator[GrpcApp]:
    with grpc_app(TOPICS) as served:
        yield served


@pytest.fixture(scope="module")
def silent() -> Iterator[GrpcApp]:
    with grpc_app() as served:
        yield served


@pytest.fixture(scope="module")
def daemon(consumer: GrpcApp, silent: GrpcApp) -> Iterator[Daemon]:
    described = resources(
        PUBSUB,
        MEMORY,
        app("publisher"),
        app("consumer", channel=consumer.channel, appToken="secret"),
        app("silent", channel=silent.channel),
        DECLARED,
    )
    with running_daemon(described, APPS) as running:
        eventually(lambda: len(subscriptions(running, "consumer")) == len(TOPICS))
        eventually(lambda: len(subscriptions(running, "silent")) == 1)
        yield running


@pytest.fixture
def publisher(daemon: Daemon, consumer: GrpcApp) -> Iterator[HttpClient]:
    consumer.events.clear()
    consumer.on_event = lambda *_: Status.SUCCESS
    with http(daemon, "publisher") as client:
        yield client


def subscriptions(daemon: Daemon, app_id: str) -> list[dict[str, object]]:
    with http(daemon, app_id) as client:
        listed = client("GET", "/v1.0/metadata").json.get("subscriptions", [])
    assert isinstance(listed, list)
    return listed


def publish(
    client: HttpClient, topic: str, body: object, content_type: str = "application/json", query: str = ""
) -> None:
    answer = client("POST", f"/v1.0/publish/pubsub/{topic}{query}", body, {"content-type": content_type})
    assert answer.status == 204, answer.body


def delivered(served: GrpcApp, count: int = 1) -> list[tuple[Event, Metadata]]:
    """What the app was sent, once it is `count` events."""
    return eventually(lambda: list(served.events), lambda events: len(events) >= count)


# Which topics.


def test_the_app_says_what_it_subscribes_to(daemon: Daemon) -> None:
    """Its ListTopicSubscriptions become subscriptions, with rules, metadata and dead letter topics as it says."""
    listed = {str(each["topic"]): each for each in subscriptions(daemon, "consumer")}

    assert {each["type"] for each in listed.values()} == {"PROGRAMMATIC"}
    assert listed["plain"]["rules"] == [{"path": ""}]
    assert listed["routed"]["rules"] == [{"path": "orders/new one"}]
    assert listed["ruled"]["rules"] == [{"match": 'event.type == "red"', "path": "red"}, {"path": "other"}]
    assert listed["failing"]["deadLetterTopic"] == "dead"
    assert listed["raw"]["metadata"] == {"rawPayload": "true"}


def test_an_app_that_cannot_say_has_what_is_declared(daemon: Daemon, publisher: HttpClient, silent: GrpcApp) -> None:
    """UNIMPLEMENTED to ListTopicSubscriptions means none of its own; declared subscriptions hold all the same."""
    publish(publisher, "declared", {"a": 1})

    ((event, _),) = delivered(silent)
    assert (event.topic, event.path) == ("declared", "declared")


# What is sent.


def test_an_event_arrives_with_its_attributes(publisher: HttpClient, consumer: GrpcApp) -> None:
    """Attributes with a field are there, all others in extensions; the path is the route, empty where there is none."""
    event = {
        "specversion": "1.0",
        "id": "7",
        "source": "tests",
        "type": "made.up",
        "datacontenttype": "application/json",
        "data": {"a": [1, None]},
        "mine": "yes",
        "count": 3,
    }
    publish(publisher, "plain", event, "application/cloudevents+json")

    ((got, metadata),) = delivered(consumer)
    assert (got.id, got.source, got.type, got.spec_version) == ("7", "tests", "made.up", "1.0")
    assert (got.topic, got.pubsub_name, got.path) == ("plain", "pubsub", "")
    assert (got.data_content_type, json.loads(got.data)) == ("application/json", {"a": [1, None]})
    extensions = MessageToDict(got.extensions)
    assert (extensions["mine"], extensions["count"]) == ("yes", 3)
    assert {"topic", "pubsubname", "traceid"} <= extensions.keys()
    assert not extensions.keys() & {"id", "data", "source", "type", "specversion", "datacontenttype"}
    assert (metadata["pubsubname"], metadata["dapr-api-token"]) == ("pubsub", "secret")
    assert "traceparent" in metadata


@pytest.mark.parametrize(
    ("content_type", "body", "data"),
    [
        ("application/json", b'{"a":1}', b'{"a":1}'),
        ("text/plain", b"plain \xc3\xa9", "plain é".encode()),
        ("application/xml", b"<a/>", b"<a/>"),
        ("application/octet-stream", b"\0\1\xff", b"\0\1\xff"),
    ],
)
def test_data_arrives_as_it_was_published(
    publisher: HttpClient, consumer: GrpcApp, content_type: str, body: bytes, data: bytes
) -> None:
    """JSON stays JSON, text is its characters, bytes come decoded from data_base64."""
    publish(publisher, "plain", body, content_type)

    ((got, _),) = delivered(consumer)
    assert (got.data, got.data_content_type) == (data, content_type)


def test_raw_payload_arrives_as_bytes(publisher: HttpClient, consumer: GrpcApp) -> None:
    """A subscriber to raw payloads gets the very bytes."""
    publish(publisher, "raw", b"\0raw", "application/octet-stream", "?metadata.rawPayload=true")

    ((got, _),) = delivered(consumer)
    assert (got.data, got.data_content_type) == (b"\0raw", "application/octet-stream")


def test_the_route_is_the_path(publisher: HttpClient, consumer: GrpcApp) -> None:
    """A route reaches the app as it wrote it."""
    publish(publisher, "routed", {})

    ((got, _),) = delivered(consumer)
    assert got.path == "orders/new one"


@pytest.mark.parametrize(("kind", "path"), [("red", "red"), ("blue", "other")])
def test_rules_choose_the_path(publisher: HttpClient, consumer: GrpcApp, kind: str, path: str) -> None:
    """The first rule that matches an event says its path, the default route else."""
    event = {"specversion": "1.0", "id": "1", "source": "s", "type": kind, "data": 1}
    publish(publisher, "ruled", event, "application/cloudevents+json")

    ((got, _),) = delivered(consumer)
    assert got.path == path


def test_the_publishers_metadata_comes_along(publisher: HttpClient, consumer: GrpcApp) -> None:
    """The broker's metadata is metadata of the call, and never what the app trusts the daemon for."""
    publish(publisher, "plain", {}, query="?metadata.mine=yes&metadata.dapr-api-token=forged")

    ((_, metadata),) = delivered(consumer)
    assert (metadata["mine"], metadata["dapr-api-token"]) == ("yes", "secret")


# What answers mean.


def test_success_is_the_end_of_it(publisher: HttpClient, consumer: GrpcApp) -> None:
    """An event that succeeded comes once."""
    publish(publisher, "failing", 1)
    delivered(consumer, 1)  # two under way at once may come in either order
    publish(publisher, "failing", 2)

    assert [event.data for event, _ in delivered(consumer, 2)] == [b"1", b"2"]


def test_retry_brings_it_again(publisher: HttpClient, consumer: GrpcApp) -> None:
    """RETRY asks for the event again."""
    answers = iter([Status.RETRY, Status.SUCCESS])
    consumer.on_event = lambda *_: next(answers)
    publish(publisher, "plain", {})

    first, second = delivered(consumer, 2)
    assert first[0].id == second[0].id


@pytest.mark.parametrize("code", [grpc.StatusCode.INTERNAL, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNAVAILABLE])
def test_an_error_brings_it_again(publisher: HttpClient, consumer: GrpcApp, code: grpc.StatusCode) -> None:
    """Any error but UNIMPLEMENTED is a reason to try again."""

    def fail_once(_: Event, context: grpc.ServicerContext) -> int:
        if len(consumer.events) == 1:
            context.abort(code, "not now")
        return Status.SUCCESS

    consumer.on_event = fail_once
    publish(publisher, "plain", {})

    first, second = delivered(consumer, 2)
    assert first[0].id == second[0].id


def test_drop_goes_to_the_dead_letter_topic(publisher: HttpClient, consumer: GrpcApp) -> None:
    """DROP sends the event on to where the subscription says, and it is not delivered again."""
    consumer.on_event = lambda event, _: Status.DROP if event.topic == "failing" else Status.SUCCESS
    publish(publisher, "failing", {"lost": True})

    dropped, dead = delivered(consumer, 2)
    assert (dropped[0].topic, dead[0].path) == ("failing", "dead")
    assert dropped[0].id == dead[0].id


def test_drop_without_a_dead_letter_topic_is_the_end_of_it(publisher: HttpClient, consumer: GrpcApp) -> None:
    """Where there is no dead letter topic a dropped event is gone, and the next one comes."""
    consumer.on_event = lambda *_: Status.DROP
    publish(publisher, "plain", 1)
    delivered(consumer)
    publish(publisher, "plain", 2)

    assert [event.data for event, _ in delivered(consumer, 2)] == [b"1", b"2"]


def test_unimplemented_is_the_end_of_it(publisher: HttpClient, consumer: GrpcApp) -> None:
    """An app that has no OnTopicEvent is not asked again, and nothing is dead-lettered."""

    def refuse(event: Event, context: grpc.ServicerContext) -> int:
        if event.topic == "failing":
            context.abort(grpc.StatusCode.UNIMPLEMENTED, "no such thing")
        return Status.SUCCESS

    consumer.on_event = refuse
    publish(publisher, "failing", 1)
    delivered(consumer)
    publish(publisher, "dead", 2)

    assert [event.data for event, _ in delivered(consumer, 2)] == [b"1", b"2"]


def test_an_unknown_status_fails_the_attempt(publisher: HttpClient, consumer: GrpcApp) -> None:
    """A status that is none of the three is no success: with a dead letter topic the event goes there."""
    consumer.on_event = lambda event, _: 7 if event.topic == "failing" else Status.SUCCESS
    publish(publisher, "failing", {})

    failed, dead = delivered(consumer, 2)
    assert (failed[0].topic, dead[0].path) == ("failing", "dead")


def test_an_app_that_restarts_gets_what_it_missed(daemon: Daemon, publisher: HttpClient, consumer: GrpcApp) -> None:
    """While a subscribed app is away its events wait at the broker, and come when it is back."""
    consumer.stop()
    with grpc_client(daemon, "publisher") as client:
        client("PublishEvent", pubsub_pb2.PublishEventRequest(pubsub_name="pubsub", topic="plain", data=b"1"))
    consumer.start()

    assert delivered(consumer)[0][0].topic == "plain"
