"""Events to HTTP apps: what an app is sent, and what its answers mean."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from noded.runtime.events import NO_TRACE
from tests.daemon.pubsub_node import ORDERS, Answer, PubSubNode, eventually, idle, retried, with_node

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
DEAD: dict[str, object] = {"pubsubname": "pubsub", "topic": "dead", "route": "/dead"}


def test_an_event_is_posted_to_its_route(tmp_path: Path) -> None:
    """The body is the envelope; the headers say CloudEvents, which pubsub, which trace, and that it is the daemon."""

    async def scenario(node: PubSubNode) -> None:
        app = await node.attach("app", ORDERS, app_token="secret")
        await app.subscribed()
        await app.publish("orders", b'{"id":1}')
        (event,) = await app.server.wait_for(1)

        assert event.path == "/orders"
        assert event.json["data"] == {"id": 1}
        assert {name: value for name, value in event.headers.items() if name not in {"host", "content-length"}} == {
            "content-type": "application/cloudevents+json",
            "pubsubname": "pubsub",
            "traceparent": NO_TRACE,
            "dapr-api-token": "secret",
        }

    with_node(tmp_path, scenario)


def test_trace_and_broker_metadata_travel_as_headers(tmp_path: Path) -> None:
    """A publisher's metadata reaches the subscriber, but not what frames the request or what the app trusts us for.

    Of the trace only the parent is a header: its state stays in the event.
    """

    async def scenario(node: PubSubNode) -> None:
        app = await node.attach("app", ORDERS)
        await app.subscribed()
        metadata = {
            "MyKey": "v",
            "dapr-api-token": "forged",
            "Content-Length": "0",
            "transfer-encoding": "chunked",
            "pubsubname": "lie",
            "split": "a\r\nx-evil: 1",
            "bad name": "1",
        }
        await app.publish("orders", traceparent=TRACE, tracestate="a=b", metadata=metadata)
        (event,) = await app.server.wait_for(1)

        headers = event.headers
        assert (headers["traceparent"], headers.get("tracestate"), headers["mykey"]) == (TRACE, None, "v")
        assert headers["pubsubname"] == "pubsub"
        assert not {"dapr-api-token", "transfer-encoding", "split", "x-evil", "bad name"} & headers.keys()

    with_node(tmp_path, scenario)


@pytest.mark.parametrize(
    ("data", "traceparent"),
    [
        (b'{"data":1}', None),
        (b'{"traceid":"odd","data":1}', NO_TRACE),
        (b'{"traceparent":"a\\r\\nb: c","data":1}', NO_TRACE),
        (b'{"traceparent":5,"data":1}', NO_TRACE),
        (b'{"traceid":"%b"}' % TRACE.encode(), TRACE),
    ],
)
def test_the_trace_header_is_the_event_s_own(tmp_path: Path, data: bytes, traceparent: str | None) -> None:
    """None for an event without a trace field, zeros for one that is no W3C trace, else the trace."""

    async def scenario(node: PubSubNode) -> None:
        app = await node.attach("app", ORDERS)
        await app.subscribed()
        await app.publish("orders", data, metadata={"rawPayload": "true"})
        (event,) = await app.server.wait_for(1)

        assert event.headers.get("traceparent") == traceparent

    with_node(tmp_path, scenario)


ACKNOWLEDGED = [
    Answer(200),
    Answer(204),
    Answer(299, b"not json"),
    Answer(200, b'{"status":""}'),
    Answer(200, b'{"status":"SUCCESS"}'),
    Answer(200, b'{"status":null}'),
    Answer(200, b'{"status":5}'),
    Answer(200, b'{"other":1}'),
    Answer(200, b'"RETRY"'),
    Answer(200, b"[]"),
]
DROPPED = [Answer(200, b'{"status":"DROP"}'), Answer(200, b'{"Status":"DROP"}'), Answer(404)]
FAILED = [
    Answer(200, b'{"status":"RETRY"}'),
    Answer(200, b'{"status":"PERHAPS"}'),
    Answer(200, b'{"status":"success"}'),
    Answer(302),
    Answer(400),
    Answer(503),
    Answer(dies=True),
]


def shown(answer: Answer) -> str:
    return "dies" if answer.dies else f"{answer.status} {answer.body.decode()}"


@pytest.mark.parametrize("answer", ACKNOWLEDGED + DROPPED, ids=shown)
def test_an_answer_that_ends_the_delivery(tmp_path: Path, answer: Answer) -> None:
    """A success without a status, SUCCESS, DROP and 404: the event is not sent again, and holds no room."""

    async def scenario(node: PubSubNode) -> None:
        app = await node.attach("app", ORDERS, answers={"/orders": [answer]})
        await app.subscribed()
        await app.publish("orders")
        await app.server.wait_for(1)
        await idle(app)

        assert len(app.server.events) == 1

    with_node(tmp_path, scenario)


@pytest.mark.parametrize("answer", FAILED, ids=shown)
def test_an_answer_that_means_again(tmp_path: Path, answer: Answer) -> None:
    """RETRY, a status nobody knows, any other failure and a dead connection: the same event comes again."""

    async def scenario(node: PubSubNode) -> None:
        app = await node.attach("app", ORDERS, answers={"/orders": [answer, answer, Answer()]})
        await app.subscribed()
        await app.publish("orders", b"7")
        await app.server.wait_for(3)
        await idle(app)

        assert [event.json["data"] for event in app.server.events] == [7, 7, 7]
        assert len({event.json["id"] for event in app.server.events}) == 1

    with_node(tmp_path, scenario)


@pytest.mark.parametrize("answer", DROPPED + FAILED, ids=shown)
def test_what_is_not_acknowledged_goes_to_the_dead_letter_topic(tmp_path: Path, answer: Answer) -> None:
    """With a dead letter topic the first failure is final, as in daprd: the very bytes are published there."""

    async def scenario(node: PubSubNode) -> None:
        app = await node.attach("app", {**ORDERS, "deadLetterTopic": "dead"}, DEAD, answers={"/orders": [answer]})
        await app.subscribed(2)
        await app.publish("orders", b"7")
        first, dead = await app.server.wait_for(2)
        await idle(app)

        assert (first.path, dead.path) == ("/orders", "/dead")
        assert dead.body == first.body
        assert len(app.server.events) == 2

    with_node(tmp_path, scenario)


def test_an_event_that_cannot_be_dead_lettered_comes_again(tmp_path: Path) -> None:
    """Where the app may not publish to its dead letter topic, the event is kept rather than lost."""

    async def scenario(node: PubSubNode) -> None:
        app = await node.attach(
            "app",
            {**ORDERS, "deadLetterTopic": "dead"},
            scopes={"publishingScopes": "app=orders"},
            answers={"/orders": [Answer(500), Answer()]},
        )
        await app.subscribed()
        await app.publish("orders")
        await app.server.wait_for(2)

    with_node(tmp_path, scenario)


EXPIRED = b'{"id":"old","expiration":"2001-01-01T00:00:00Z"}'
NO_EVENTS = (b"no event", b'["no","event"]')
RAW = {"rawPayload": "true"}
UNDECIDED = {"metadata": {"rawPayload": "perhaps"}}
BULK = {"bulkSubscribe": {"enabled": True, "maxMessagesCount": 1}}


@pytest.mark.parametrize(
    ("more", "data"),
    [({}, EXPIRED), *(({}, data) for data in NO_EVENTS), (UNDECIDED, b"{}"), ({**UNDECIDED, **BULK}, b"{}")],
    ids=repr,
)
def test_what_can_never_be_delivered_is_a_dead_letter(tmp_path: Path, more: Mapping[str, object], data: bytes) -> None:
    """Expired events, bytes that are no event, and all that comes where `rawPayload` says neither yes nor no."""

    async def scenario(node: PubSubNode) -> None:
        app = await node.attach("app", {**ORDERS, "deadLetterTopic": "dead", **more})
        letters = await node.attach("letters", {**DEAD, "metadata": RAW})
        await app.subscribed()
        await letters.subscribed()
        await app.publish("orders", data, metadata=RAW)
        await letters.server.wait_for(1)
        await idle(app)

        assert app.server.events == []

    with_node(tmp_path, scenario)


def test_an_expired_event_is_dropped(tmp_path: Path) -> None:
    """Without a dead letter topic it is done with."""

    async def scenario(node: PubSubNode) -> None:
        app = await node.attach("app", ORDERS)
        await app.subscribed()
        await app.publish("orders", EXPIRED, metadata=RAW)
        await idle(app)

        assert app.server.events == []

    with_node(tmp_path, scenario)


@pytest.mark.parametrize(
    ("more", "data"),
    [*(({}, data) for data in NO_EVENTS), (BULK, b"no event"), (UNDECIDED, b"{}"), ({**UNDECIDED, **BULK}, b"{}")],
    ids=repr,
)
def test_what_no_event_can_be_made_of_goes_back_to_the_broker(
    tmp_path: Path, more: Mapping[str, object], data: bytes
) -> None:
    """Without a dead letter topic it comes again, as an event does that the app refuses; the app never sees it."""

    async def scenario(node: PubSubNode) -> None:
        app = await node.attach("app", {**ORDERS, **more})
        await app.subscribed()
        await app.publish("orders", data, metadata=RAW)
        await eventually(lambda: retried(app) >= 2)

        assert app.server.events == []
        assert app.app.tenant.gate.app.used["queued_messages"] == 1

    with_node(tmp_path, scenario)


def test_an_event_with_a_future_or_unreadable_expiry_is_delivered(tmp_path: Path) -> None:
    """Only a time that is past ends an event."""

    async def scenario(node: PubSubNode) -> None:
        app = await node.attach("app", ORDERS)
        await app.subscribed()
        for expiration in ("2101-01-01T00:00:00Z", "2101-01-01T00:00:00+02:00", "soon", ""):
            await app.publish("orders", b'{"expiration":"%b"}' % expiration.encode(), metadata={"rawPayload": "t"})
        await app.server.wait_for(4)

    with_node(tmp_path, scenario)


def test_a_raw_subscriber_gets_the_bytes_in_an_event(tmp_path: Path) -> None:
    """With rawPayload in the subscription's metadata any bytes are an event."""

    async def scenario(node: PubSubNode) -> None:
        app = await node.attach("app", {**ORDERS, "metadata": {"rawPayload": "true"}})
        await app.subscribed()
        await app.publish("orders", b"hi", metadata={"rawPayload": "true"})
        (event,) = await app.server.wait_for(1)

        assert (event.json["data_base64"], event.json["topic"], event.json["source"]) == ("aGk=", "orders", "Dapr")

    with_node(tmp_path, scenario)


def test_an_event_without_a_route_is_dropped(tmp_path: Path) -> None:
    """A subscription whose rules all have a condition takes no event that none of them matches."""

    async def scenario(node: PubSubNode) -> None:
        routes = {"rules": [{"match": "false", "path": "/never"}]}
        app = await node.attach("app", {"pubsubname": "pubsub", "topic": "orders", "routes": routes})
        await app.subscribed()
        await app.publish("orders")
        await idle(app)

        assert app.server.events == []

    with_node(tmp_path, scenario)
