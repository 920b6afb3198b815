"""Streaming subscriptions: the first message, events and verdicts by id, what a client that goes leaves behind."""

from pathlib import Path

import pytest

from noded.calls import StreamClosed
from noded.errors import ApiError, Grpc
from noded.proto.events_pb2 import TopicEventResponse
from noded.proto.pubsub_pb2 import (
    SubscribeTopicEventsRequestAlpha1,
    SubscribeTopicEventsRequestProcessedAlpha1,
)
from tenancy.admission import LimitExceeded
from tenancy.limits import Limits
from tests.daemon.pubsub_node import PubSubNode, eventually, with_node
from tests.daemon.pubsub_stream import Client

RETRY, DROP = TopicEventResponse.RETRY, TopicEventResponse.DROP


def test_the_acceptance_comes_first_then_events(tmp_path: Path) -> None:
    """One empty answer, then every event with its attributes, data as it was published, the rest as extensions."""

    async def scenario(node: PubSubNode) -> None:
        app = await node.attach("app")
        client = Client(app).ask()
        assert len(client.sent) == 1
        await app.publish("orders", b'{"big":12345678901234567890}')
        (event,) = client.events

        assert (event.source, event.type, event.spec_version) == ("app", "com.dapr.event.sent", "1.0")
        assert (event.topic, event.pubsub_name, event.path) == ("orders", "pubsub", "/")
        assert (event.data_content_type, event.data) == ("application/json", b'{"big":12345678901234567890}')
        assert {"topic", "pubsubname", "time", "traceid"} <= set(event.extensions)
        assert not {"id", "data", "source"} & set(event.extensions)

    with_node(tmp_path, scenario)


@pytest.mark.parametrize(
    ("envelope", "data"),
    [
        (b'{"id":"1","datacontenttype":"text/plain","data":"hi"}', b"hi"),
        (b'{"id":"1","datacontenttype":"application/json","data":"hi"}', b'"hi"'),
        (b'{"id":"1","datacontenttype":"application/x-yaml","data":"a: 1"}', b"a: 1"),
        (b'{"id":"1","datacontenttype":"application/octet-stream","data_base64":"AP8="}', b"\x00\xff"),
        (b'{"id":"1","data":null}', b""),
        (b'{"id":"1"}', b""),
    ],
)
def test_data_arrives_as_the_bytes_it_stands_for(tmp_path: Path, envelope: bytes, data: bytes) -> None:
    """Strings as text, base64 decoded, JSON as JSON."""

    async def scenario(node: PubSubNode) -> None:
        app = await node.attach("app")
        client = Client(app).ask()
        await app.publish("orders", envelope, metadata={"rawPayload": "true"})

        assert client.events[0].data == data

    with_node(tmp_path, scenario)


@pytest.mark.parametrize(
    ("extension", "value"),
    [(b"1.5", 1.5), (b'"text"', "text"), (b"[" * 80 + b"]" * 80, "[" * 80 + "]" * 80)],
    ids=["number", "text", "deep"],
)
def test_extensions_arrive_so_that_any_client_can_read_them(tmp_path: Path, extension: bytes, value: object) -> None:
    """Attributes without a field become extensions; what is nested too deep for protobuf is given as its JSON."""

    async def scenario(node: PubSubNode) -> None:
        app = await node.attach("app")
        client = Client(app).ask()
        await app.publish("orders", b'{"ext":%b}' % extension, metadata={"rawPayload": "true"})

        assert client.events[0].extensions["ext"] == value

    with_node(tmp_path, scenario)


def test_a_raw_subscriber_gets_the_bytes(tmp_path: Path) -> None:
    """With rawPayload in the request's metadata any bytes are an event."""

    async def scenario(node: PubSubNode) -> None:
        app = await node.attach("app")
        client = Client(app).ask(metadata={"rawPayload": "true"})
        await app.publish("orders", b"\xffhi", metadata={"rawPayload": "true"})

        assert (client.events[0].data, client.events[0].data_content_type) == (b"\xffhi", "application/octet-stream")

    with_node(tmp_path, scenario)


def test_verdicts_are_matched_by_event_id_in_any_order(tmp_path: Path) -> None:
    """Many events are with the client at once; each is settled by its own id, a foreign id settles nothing."""

    async def scenario(node: PubSubNode) -> None:
        app = await node.attach("app")
        client = Client(app).ask()
        for number in range(5):
            await app.publish("orders", b"%d" % number)
        client.settle("nobody's")
        used = app.app.tenant.gate.app.used
        assert (used["queued_messages"], used["deliveries_in_flight"]) == (5, 5)
        for event in reversed(client.events):
            client.settle(event.id)

        assert (used["queued_messages"], used["deliveries_in_flight"], len(client.events)) == (0, 0, 5)

    with_node(tmp_path, scenario)


def test_equal_ids_are_settled_one_by_one(tmp_path: Path) -> None:
    """Publishers may use an id twice; each event still needs a verdict of its own."""

    async def scenario(node: PubSubNode) -> None:
        app = await node.attach("app")
        client = Client(app).ask()
        for _ in range(2):
            await app.publish("orders", metadata={"cloudevent.id": "same"})
        client.settle("same")
        assert app.app.tenant.gate.app.used["queued_messages"] == 1
        client.settle("same")
        assert app.app.tenant.gate.app.used["queued_messages"] == 0
        client.settle("same")
        assert not client.ended

    with_node(tmp_path, scenario)


@pytest.mark.parametrize("status", [RETRY, 7], ids=["RETRY", "unknown"])
def test_retry_comes_again(tmp_path: Path, status: int) -> None:
    """RETRY, or a status nobody knows, redelivers the event with its id."""

    async def scenario(node: PubSubNode) -> None:
        app = await node.attach("app")
        client = Client(app).ask()
        await app.publish("orders")
        client.settle(client.events[0].id, status)
        await eventually(lambda: len(client.events) == 2)

        assert client.events[0].id == client.events[1].id

    with_node(tmp_path, scenario)


@pytest.mark.parametrize("status", [DROP, RETRY], ids=["DROP", "RETRY"])
def test_what_fails_goes_to_the_dead_letter_topic(tmp_path: Path, status: int) -> None:
    """With a dead letter topic the first failure is final."""

    async def scenario(node: PubSubNode) -> None:
        app = await node.attach("app")
        client, letters = Client(app).ask(dead_letter_topic="dead"), Client(app).ask("dead")
        await app.publish("orders", b"7")
        client.settle(client.events[0].id, status)

        assert [event.data for event in letters.events] == [b"7"]
        letters.settle(letters.events[0].id)
        assert app.app.tenant.gate.app.used["queued_messages"] == 0

    with_node(tmp_path, scenario)


@pytest.mark.parametrize(
    ("data", "held"),
    [
        (b'{"expiration":"2001-01-01T00:00:00Z"}', 1),
        (b"none", 2),
        (b'{"data_base64":"?"}', 2),
        (b'{"n":1%b}' % (b"0" * 400), 2),
    ],
)
def test_what_is_no_live_event_is_not_sent(tmp_path: Path, data: bytes, held: int) -> None:
    """Expired events are dropped, bytes that are none go back to the broker; the next is sent."""

    async def scenario(node: PubSubNode) -> None:
        app = await node.attach("app")
        client = Client(app).ask()
        for body in (data, b'{"id":"next"}'):
            await app.publish("orders", body, metadata={"rawPayload": "true"})

        assert [event.id for event in client.events] == ["next"]
        assert app.app.tenant.gate.app.used["queued_messages"] == held

    with_node(tmp_path, scenario)


def test_a_stream_that_says_neither_raw_nor_not(tmp_path: Path) -> None:
    """Where `rawPayload` is no word for yes or no it is accepted, and every event is a dead letter."""

    async def scenario(node: PubSubNode) -> None:
        app = await node.attach("app")
        client = Client(app).ask(metadata={"rawPayload": "perhaps"}, dead_letter_topic="dead")
        letters = Client(app).ask("dead")
        await app.publish("orders", b"7")

        assert (client.events, [event.data for event in letters.events]) == ([], [b"7"])

    with_node(tmp_path, scenario)


def test_streams_of_one_app_compete_and_a_lost_one_leaves_its_events_to_the_others(tmp_path: Path) -> None:
    """Two streams share a topic; when one is gone, what it did not settle is delivered to the other."""

    async def scenario(node: PubSubNode) -> None:
        app = await node.attach("app")
        staying, leaving = Client(app).ask(), Client(app).ask()
        for number in range(4):
            await app.publish("orders", b"%d" % number)
        assert [len(staying.events), len(leaving.events)] == [2, 2]
        leaving.leave()

        assert leaving.ended
        assert isinstance(leaving.error, StreamClosed)
        assert sorted(event.data for event in staying.events) == [b"0", b"1", b"2", b"3"]

    with_node(tmp_path, scenario)


@pytest.mark.parametrize("how", ["half-close", "cancel"])
def test_the_end_of_a_stream_frees_everything(tmp_path: Path, how: str) -> None:
    """However the client goes, nothing of the subscription is left: not listed, not counted, not held."""

    async def scenario(node: PubSubNode) -> None:
        app = await node.attach("app", limits=Limits(deliveries_in_flight=2))
        client = Client(app).ask()
        for _ in range(5):
            await app.publish("orders")
        used = app.app.tenant.gate.app.used
        assert [entry["type"] for entry in app.subscriptions.listing()] == ["STREAMING"]
        assert (used["subscriptions"], used["queued_messages"], used["deliveries_in_flight"]) == (1, 5, 2)
        if how == "cancel":
            client.leave()
        else:
            client.put(None)

        assert client.ended
        assert app.subscriptions.listing() == []
        assert (used["subscriptions"], used["queued_messages"], used["deliveries_in_flight"]) == (0, 0, 0)

    with_node(tmp_path, scenario)


def test_a_slow_reader_is_sent_no_more_than_it_has_room_for(tmp_path: Path) -> None:
    """Events wait for the client's room, in order, and others of the topic's groups are not delayed."""

    async def scenario(node: PubSubNode) -> None:
        app, other = await node.attach("app"), await node.attach("other")
        slow, quick = Client(app, room=2).ask(), Client(other).ask()
        for number in range(4):
            await app.publish("orders", b"%d" % number)
        assert [len(slow.events), len(quick.events)] == [1, 4]
        for _ in range(3):
            slow.read()

        assert [event.data for event in slow.events] == [b"0", b"1", b"2", b"3"]

    with_node(tmp_path, scenario)


@pytest.mark.parametrize(
    ("first", "problem"),
    [
        (None, "initial request is required"),
        (b"", "initial request is required"),
        (SubscribeTopicEventsRequestAlpha1(
            event_processed=SubscribeTopicEventsRequestProcessedAlpha1(id="1")).SerializeToString(),
         "initial request is required"),
    ],
    ids=["ended", "empty", "a verdict"],
)  # fmt: skip
def test_the_first_message_must_ask(tmp_path: Path, first: bytes | None, problem: str) -> None:
    """Anything else ends the stream with UNKNOWN and daprd's words."""

    async def scenario(node: PubSubNode) -> None:
        client = Client(await node.attach("app")).put(first)

        assert isinstance(client.error, ApiError)
        assert (client.error.grpc, client.error.message, client.sent) == (Grpc.UNKNOWN, problem, [])

    with_node(tmp_path, scenario)


@pytest.mark.parametrize(
    ("pubsub_name", "topic", "code", "message"),
    [
        ("", "orders", Grpc.UNKNOWN, "pubsubName is required"),
        ("pubsub", "", Grpc.UNKNOWN, "topic is required"),
        ("other", "orders", Grpc.INVALID_ARGUMENT, "pubsub other is not found"),
        (
            "pubsub",
            "secret",
            Grpc.UNKNOWN,
            (
                "failed to create subscription for pubsub: "
                "subscription to topic 'secret' on pubsub 'pubsub' is not allowed"
            ),
        ),
    ],
)
def test_what_may_not_be_asked(tmp_path: Path, pubsub_name: str, topic: str, code: Grpc, message: str) -> None:
    """Names that are missing, unknown or out of scope are refused before anything is subscribed to."""

    async def scenario(node: PubSubNode) -> None:
        app = await node.attach("app", scopes={"subscriptionScopes": "app=orders,"})
        client = Client(app).ask(topic, pubsub_name)

        assert isinstance(client.error, ApiError)
        assert (client.error.grpc, client.error.message) == (code, message)
        assert app.app.tenant.gate.app.used["subscriptions"] == 0

    with_node(tmp_path, scenario)


def test_a_second_request_on_a_stream_ends_it(tmp_path: Path) -> None:
    """One stream is one subscription."""

    async def scenario(node: PubSubNode) -> None:
        app = await node.attach("app")
        client = Client(app).ask().ask()

        assert isinstance(client.error, ApiError)
        assert client.error.message == "duplicate initial request received"
        assert app.subscriptions.listing() == []

    with_node(tmp_path, scenario)


def test_streams_count_as_subscriptions(tmp_path: Path) -> None:
    """At the limit one more is refused; the end of another makes room."""

    async def scenario(node: PubSubNode) -> None:
        app = await node.attach("app", limits=Limits(subscriptions=1))
        first, over = Client(app).ask(), Client(app).ask("others")
        assert isinstance(over.error, LimitExceeded)
        assert over.error.refusal.limit == "subscriptions"
        first.put(None)
        again = Client(app).ask("others")

        assert not again.ended

    with_node(tmp_path, scenario)
