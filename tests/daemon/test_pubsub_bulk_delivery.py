"""Bulk subscriptions: when a batch leaves, what it holds, and what each answer means for each entry."""

import base64
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from noded.channel_contract import AppResponse
from noded.config.records import BulkSubscribe, RouteRule, SubscriptionSpec
from noded.runtime.bulk import BATCH_BYTES, MAX_MESSAGES, messages_in_flight
from noded.runtime.bulk_http import judge
from noded.runtime.dead_letter import Outcome
from noded.runtime.events import NO_TRACE
from tenancy.limits import Limits
from tests.daemon.pubsub_node import Answer, Event, PubSubNode, eventually, idle, with_node

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
DEAD: Mapping[str, object] = {"pubsubname": "pubsub", "topic": "dead", "route": "/dead"}
LONG_MS = 60_000
"""Longer than any test: a batch that leaves did not wait for it."""
DONE = Answer(statuses={})


def bulk(count: int = 2, await_ms: int = LONG_MS, dead_letter_topic: str = "", **more: object) -> Mapping[str, object]:
    """A bulk subscription as an app answers it."""
    asked = {"enabled": True, "maxMessagesCount": count, "maxAwaitDurationMs": await_ms}
    item = {"pubsubname": "pubsub", "topic": "orders", "route": "/bulk", "bulkSubscribe": asked}
    return {**item, "deadLetterTopic": dead_letter_topic, **more}


def data_of(event: Event) -> list[object]:
    return [entry["event"]["data"] for entry in event.json["entries"]]


def test_a_batch_leaves_when_it_is_full(tmp_path: Path) -> None:
    """One POST for maxMessagesCount messages, whose body says what it is and holds each event as it was published."""

    async def scenario(node: PubSubNode) -> None:
        app = await node.attach("app", bulk(2), answers={"/bulk": [DONE]}, app_token="secret")
        await app.subscribed()
        await app.publish("orders", b"1", metadata={"k": "v"})
        await app.publish("orders", b"2")
        (event,) = await app.server.wait_for(1)
        await idle(app)

        headers = {name: value for name, value in event.headers.items() if name not in {"host", "content-length"}}
        assert headers == {
            "content-type": "application/json",
            "pubsubname": "pubsub",
            "traceparent": NO_TRACE,
            "dapr-api-token": "secret",
        }
        batch = event.json
        first, second = batch.pop("entries")
        assert batch.pop("id")
        assert batch == {
            "type": "com.dapr.event.sent.bulk",
            "topic": "orders",
            "pubsubname": "pubsub",
            "metadata": {"pubsubName": "pubsub"},
        }
        assert (first["event"]["data"], first["metadata"], first["contentType"]) == (
            1,
            {"k": "v"},
            "application/cloudevents+json",
        )
        assert (second["event"]["data"], second["metadata"]) == (2, {})
        assert first["entryId"] != second["entryId"]

    with_node(tmp_path, scenario)


def test_a_batch_leaves_when_its_first_message_waited_long_enough(tmp_path: Path) -> None:
    """What was gathered within maxAwaitDurationMs is sent, however little."""

    async def scenario(node: PubSubNode) -> None:
        app = await node.attach("app", bulk(100, await_ms=20), answers={"/bulk": [DONE]})
        await app.subscribed()
        for number in range(3):
            await app.publish("orders", b"%d" % number)
        await eventually(lambda: sum(len(event.json["entries"]) for event in app.server.events) == 3)
        await app.publish("orders", b"3")
        await eventually(lambda: data_of(app.server.events[-1]) == [3])

    with_node(tmp_path, scenario)


def test_a_batch_leaves_when_it_has_many_bytes(tmp_path: Path) -> None:
    """A batch is one body in memory, here and in the app: large messages leave in small numbers."""

    async def scenario(node: PubSubNode) -> None:
        app = await node.attach("app", bulk(100), answers={"/bulk": [DONE]})
        await app.subscribed()
        for _ in range(2):
            await app.publish("orders", b'"%b"' % (b"x" * (BATCH_BYTES // 2)))
        (event,) = await app.server.wait_for(1)

        assert len(event.json["entries"]) == 2

    with_node(tmp_path, scenario)


def test_a_declared_bulk_subscription(tmp_path: Path) -> None:
    """A Subscription resource asks for batches as /dapr/subscribe does."""

    async def scenario(node: PubSubNode) -> None:
        asked = BulkSubscribe(enabled=True, max_messages_count=2, max_await_duration_ms=LONG_MS)
        spec = SubscriptionSpec("pubsub", "orders", (RouteRule("", "/bulk"),), bulk=asked)
        app = await node.attach("app", declared=[spec], answers={"/bulk": [DONE]})
        await app.subscribed()
        await app.publish("orders", b"1")
        await app.publish("orders", b"2")
        (event,) = await app.server.wait_for(1)

        assert data_of(event) == [1, 2]

    with_node(tmp_path, scenario)


def test_each_entry_has_its_own_end(tmp_path: Path) -> None:
    """SUCCESS is done, RETRY comes again, alone; DROP is gone without a dead letter topic."""

    async def scenario(node: PubSubNode) -> None:
        answers = {"/bulk": [Answer(statuses={"1": "RETRY", "2": "DROP"}), DONE]}
        app = await node.attach("app", bulk(3, await_ms=300), answers=answers)
        await app.subscribed()
        for number in range(3):
            await app.publish("orders", b"%d" % number)
        first, second = await app.server.wait_for(2)
        await idle(app)

        assert (data_of(first), data_of(second)) == ([0, 1, 2], [1])
        assert len(app.server.events) == 2

    with_node(tmp_path, scenario)


def test_failed_and_dropped_entries_are_dead_letters(tmp_path: Path) -> None:
    """Where there is a dead letter topic, each goes there as it was published; the rest of the batch does not."""

    async def scenario(node: PubSubNode) -> None:
        answers = {"/bulk": [Answer(statuses={"1": "RETRY", "2": "DROP"})]}
        app = await node.attach("app", bulk(3, dead_letter_topic="dead"), DEAD, answers=answers)
        await app.subscribed(2)
        for number in range(3):
            await app.publish("orders", b"%d" % number)
        await app.server.wait_for(3)
        await idle(app)

        dead = [event.json for event in app.server.events if event.path == "/dead"]
        assert sorted(each["data"] for each in dead) == [1, 2]
        assert {each["topic"] for each in dead} == {"orders"}

    with_node(tmp_path, scenario)


@pytest.mark.parametrize("failing", [Answer(500), Answer(302), Answer(200, b"fine"), Answer(200), Answer(dies=True)])
def test_an_answer_that_fails_the_batch(tmp_path: Path, failing: Answer) -> None:
    """An error, no JSON, no answer: every entry comes again."""

    async def scenario(node: PubSubNode) -> None:
        app = await node.attach("app", bulk(2, await_ms=200), answers={"/bulk": [failing, DONE]})
        await app.subscribed()
        await app.publish("orders", b"1")
        await app.publish("orders", b"2")
        await eventually(lambda: sum(len(event.json["entries"]) for event in app.server.events) >= 4)
        await idle(app)

        assert data_of(app.server.events[0]) == [1, 2]
        assert sorted(str(each) for event in app.server.events[1:] for each in data_of(event)) == ["1", "2"]

    with_node(tmp_path, scenario)


def test_404_acknowledges_a_batch(tmp_path: Path) -> None:
    """It is dropped, and, unlike a single event, sent to no dead letter topic."""

    async def scenario(node: PubSubNode) -> None:
        app = await node.attach("app", bulk(1, dead_letter_topic="dead"), DEAD, answers={"/bulk": [Answer(404)]})
        await app.subscribed(2)
        await app.publish("orders", b"1")
        await app.server.wait_for(1)
        await idle(app)

        assert [event.path for event in app.server.events] == ["/bulk"]

    with_node(tmp_path, scenario)


IDS = ("a", "b")
D, F, X = Outcome.DONE, Outcome.FAILED, Outcome.DROPPED


@pytest.mark.parametrize(
    ("status", "body", "outcomes"),
    [
        (200, b'{"statuses":[{"entryId":"a","status":"SUCCESS"},{"entryId":"b","status":"DROP"}]}', (D, X)),
        (299, b'{"Statuses":[{"ENTRYID":"b","Status":"SUCCESS"}]} more', (F, D)),
        (200, b'{"statuses":[{"entryId":"a","status":"RETRY"},{"entryId":"b","status":""}]}', (F, F)),
        (200, b'{"statuses":[{"entryId":"a","status":"success"},{"entryId":"b"}]}', (F, F)),
        (200, b'{"statuses":[{"entryId":"a","status":null},null,{"entryId":"c","status":"SUCCESS"}]}', (F, F)),
        (200, b'{"statuses":[{"entryId":"a","status":"SUCCESS"},{"entryId":"b","status":1}]}', (F, F)),
        (200, b'{"statuses":null}', (F, F)),
        (200, b"{}", (F, F)),
        (200, b"null", (F, F)),
        (200, b"[]", (F, F)),
        (200, b"", (F, F)),
        (200, b"[" * 100_000, (F, F)),
        (204, b"", (F, F)),
        (404, b"", (D, D)),
        (400, b'{"statuses":[{"entryId":"a","status":"SUCCESS"}]}', (F, F)),
    ],
)
def test_an_answer_to_a_batch(status: int, body: bytes, outcomes: Sequence[Outcome]) -> None:
    """An entry is done only if the answer says so."""
    assert tuple(judge(AppResponse(status, (), body), IDS)) == outcomes


def test_a_batch_per_route(tmp_path: Path) -> None:
    """Events of one batch that go to different paths are posted apart; one without a route is not posted."""

    async def scenario(node: PubSubNode) -> None:
        routes = {"rules": [{"match": "event.data < 2", "path": "/low"}, {"match": "event.data > 2", "path": "/high"}]}
        wanted = bulk(4, route="", routes=routes, dead_letter_topic="dead")
        app = await node.attach("app", wanted, DEAD, answers={"/low": [DONE], "/high": [DONE]})
        await app.subscribed(2)
        for number in range(4):
            await app.publish("orders", b"%d" % number)
        await app.server.wait_for(3)
        await idle(app)

        by_path = {event.path: event for event in app.server.events}
        assert (data_of(by_path["/low"]), data_of(by_path["/high"])) == ([0, 1], [3])
        assert by_path["/dead"].json["data"] == 2

    with_node(tmp_path, scenario)


def test_raw_payload_is_base64(tmp_path: Path) -> None:
    """A rawPayload subscriber of batches is given the bytes themselves, in base64, and no envelope."""

    async def scenario(node: PubSubNode) -> None:
        app = await node.attach("app", bulk(1, metadata={"rawPayload": "true"}), answers={"/bulk": [DONE]})
        await app.subscribed()
        await app.publish("orders", b"\x00\xff", metadata={"rawPayload": "true"})
        (event,) = await app.server.wait_for(1)

        (entry,) = event.json["entries"]
        assert base64.b64decode(entry["event"]) == b"\x00\xff"
        assert entry["contentType"] == "application/octet-stream"

    with_node(tmp_path, scenario)


@pytest.mark.parametrize("poison", [b"no event", b"[1]", b'{"a":' + b"[" * 5000 + b"}" * 5000])
def test_bytes_that_are_no_event_do_not_spoil_a_batch(tmp_path: Path, poison: bytes) -> None:
    """They are dropped, or dead letters; the others of the batch are delivered, in a body that is JSON."""

    async def scenario(node: PubSubNode) -> None:
        dead = {**DEAD, "metadata": {"rawPayload": "true"}}
        app = await node.attach("app", bulk(3, dead_letter_topic="dead"), dead, answers={"/bulk": [DONE]})
        await app.subscribed(2)
        await app.publish("orders", b"1")
        await app.publish("orders", poison, metadata={"rawPayload": "true"})
        await app.publish("orders", b"2")
        await app.server.wait_for(2)
        await idle(app)

        by_path = {event.path: event for event in app.server.events}
        assert data_of(by_path["/bulk"]) == [1, 2]
        assert base64.b64decode(by_path["/dead"].json["data_base64"]) == poison

    with_node(tmp_path, scenario)


def test_the_trace_of_a_batch_is_its_last(tmp_path: Path) -> None:
    """A request has room for one trace: that of the last event that has one."""

    async def scenario(node: PubSubNode) -> None:
        app = await node.attach("app", bulk(2), answers={"/bulk": [DONE]})
        await app.subscribed()
        await app.publish("orders", traceparent=TRACE)
        await app.publish("orders", b"{}", metadata={"rawPayload": "true"})
        (event,) = await app.server.wait_for(1)

        assert event.headers["traceparent"] == TRACE

    with_node(tmp_path, scenario)


def test_an_expired_event_is_left_out(tmp_path: Path) -> None:
    """A message that is past its time when its batch leaves is a dead letter, and the app does not see it."""

    async def scenario(node: PubSubNode) -> None:
        app = await node.attach("app", bulk(2, dead_letter_topic="dead"), answers={"/bulk": [DONE]})
        other = await node.attach("other", {**DEAD, "metadata": {"rawPayload": "true"}})
        await app.subscribed()
        await other.subscribed()
        old = json.dumps({"id": "old", "expiration": "2001-01-01T00:00:00Z"}).encode()
        await app.publish("orders", old, metadata={"rawPayload": "true"})
        await app.publish("orders", b"2")
        (event,) = await app.server.wait_for(1)
        await other.server.wait_for(1)
        await idle(app)

        assert data_of(event) == [2]

    with_node(tmp_path, scenario)


def test_each_message_of_a_batch_is_a_delivery_in_flight(tmp_path: Path) -> None:
    """deliveries_in_flight bounds what is gathered too: a batch is no way around it, and leaves when it has waited."""

    async def scenario(node: PubSubNode) -> None:
        limits = Limits(deliveries_in_flight=2)
        app = await node.attach("app", bulk(100, await_ms=30), answers={"/bulk": [DONE]}, limits=limits)
        await app.subscribed()
        for number in range(5):
            await app.publish("orders", b"%d" % number)
        await eventually(lambda: sum(len(event.json["entries"]) for event in app.server.events) == 5)
        await idle(app)

        assert max(len(event.json["entries"]) for event in app.server.events) <= 2

    with_node(tmp_path, scenario)


def test_what_was_gathered_outlives_its_subscription(tmp_path: Path) -> None:
    """A subscription that ends gives what it gathered back to the broker, for whoever comes next; nothing leaks."""

    async def scenario(node: PubSubNode) -> None:
        spec = SubscriptionSpec("pubsub", "orders", (RouteRule("", "/bulk"),), bulk=BulkSubscribe(True, 10, LONG_MS))
        app = await node.attach("app", declared=[spec])
        await app.subscribed()
        await app.publish("orders", b"1")
        await eventually(lambda: app.subscriptions.deliveries.count == 1)
        app.subscriptions.reload([SubscriptionSpec("pubsub", "orders", (RouteRule("", "/single"),))])
        (event,) = await app.server.wait_for(1)
        await idle(app)

        assert (event.path, event.json["data"]) == ("/single", 1)
        assert app.subscriptions.deliveries.count == 0

    with_node(tmp_path, scenario)


@pytest.mark.parametrize(("asked", "lent"), [(100, 200), (10**9, 2 * MAX_MESSAGES), (-1, 2)])
def test_what_a_broker_lends(asked: int, lent: int) -> None:
    """Two batches: one with the app, one being gathered. A number that an app made up is cut to what is bounded."""
    spec = SubscriptionSpec("p", "t", bulk=BulkSubscribe(True, asked, 1))

    assert messages_in_flight(spec) == lent
