"""Events to HTTP apps: what an app is sent, what its answers mean, and whose trouble a slow or dead app is."""

import time
from pathlib import Path

import pytest
import trio
import trio.testing

from components.contract import Delivery, Message, Verdict
from noded.config.records import RouteRule, SubscriptionSpec
from noded.runtime.deliveries import Deliveries
from noded.runtime.events import NO_TRACE
from tenancy.limits import Limits
from tenancy.tenant import Tenants
from tests.daemon.pubsub_node import Answer, Member, PubSubNode, eventually, with_node

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
ORDERS: dict[str, object] = {"pubsubname": "pubsub", "topic": "orders", "route": "/orders"}
DEAD: dict[str, object] = {"pubsubname": "pubsub", "topic": "dead", "route": "/dead"}


async def idle(member: Member) -> None:
    """Wait until everything the app was sent is settled and nothing waits for it."""
    used = member.app.tenant.gate.app.used
    await eventually(lambda: not used["queued_messages"] and not member.subscriptions.deliveries.count)


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
    """A publisher's metadata reaches the subscriber, but not what frames the request or what the app trusts us for."""

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
        assert (headers["traceparent"], headers["tracestate"], headers["mykey"]) == (TRACE, "a=b", "v")
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


@pytest.mark.parametrize(
    "data", [b'{"id":"old","expiration":"2001-01-01T00:00:00Z"}', b"no event", b'["no","event"]'], ids=repr
)
@pytest.mark.parametrize("dead_letter_topic", ["", "dead"], ids=["", "dead letters"])
def test_what_can_never_be_delivered_never_reaches_the_app(tmp_path: Path, data: bytes, dead_letter_topic: str) -> None:
    """Expired events and bytes that are no event are dead-lettered where that is configured, else dropped."""

    async def scenario(node: PubSubNode) -> None:
        app = await node.attach("app", {**ORDERS, "deadLetterTopic": dead_letter_topic})
        letters = await node.attach("letters", {**DEAD, "metadata": {"rawPayload": "true"}})
        await app.subscribed()
        await letters.subscribed()
        await app.publish("orders", data, metadata={"rawPayload": "true"})
        await idle(app)
        await letters.publish("dead", b"end", metadata={"rawPayload": "true"})
        dead = await letters.server.wait_for(2 if dead_letter_topic else 1)

        assert app.server.events == []
        assert len(dead) == (2 if dead_letter_topic else 1)

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


class Recipient:
    """A subscription that notes what it is told to begin."""

    def __init__(self) -> None:
        self.closed = False
        self.begun: list[Delivery] = []

    def begin(self, delivery: Delivery) -> None:
        self.begun.append(delivery)


class TestDeliveriesInFlight:
    """The tenant's `deliveries_in_flight`, without an app."""

    def test_the_end_of_one_begins_the_next_at_once(self) -> None:
        """Room that the app itself frees is used without waiting, in order over all its subscriptions."""
        tenant = Tenants(operations=1, clock=time.time).attach("default", "app", Limits(deliveries_in_flight=1))
        deliveries = Deliveries(tenant, lambda later: later.close())
        first, second = Recipient(), Recipient()
        sent = [Held(), Held(), Held()]
        deliveries.start(first, sent[0])
        deliveries.start(second, sent[1])
        deliveries.start(first, sent[2])
        assert (first.begun, second.begun) == ([sent[0]], [])
        deliveries.done()
        assert (first.begun, second.begun) == ([sent[0]], [sent[1]])
        deliveries.done()

        assert first.begun == [sent[0], sent[2]]

    def test_what_waits_for_a_closed_subscription_is_forgotten(self) -> None:
        """The broker has it back; the next in line is somebody else's."""
        tenant = Tenants(operations=1, clock=time.time).attach("default", "app", Limits(deliveries_in_flight=1))
        deliveries = Deliveries(tenant, lambda later: later.close())
        first, closed, second = Recipient(), Recipient(), Recipient()
        for recipient in (first, closed, second):
            deliveries.start(recipient, Held())
        deliveries.forget(closed)
        deliveries.done()

        assert (len(closed.begun), len(second.begun)) == (0, 1)


class Held:
    """A delivery nobody settles."""

    message = Message(b"")
    attempt = 1

    def settle(self, verdict: Verdict) -> None:
        raise NotImplementedError


class TestIsolation:
    """One app's trouble is its own."""

    def test_equal_names_in_two_namespaces_do_not_meet(self, tmp_path: Path) -> None:
        """Two tenants with equal app id, pubsub and topic in different namespaces each see their own events."""

        async def scenario(node: PubSubNode) -> None:
            mine = await node.attach("app", ORDERS)
            theirs = await node.attach("app", ORDERS, namespace="team-a")
            await mine.subscribed()
            await theirs.subscribed()
            await mine.publish("orders", b'"mine"')
            await theirs.publish("orders", b'"theirs"')
            await mine.server.wait_for(1)
            await theirs.server.wait_for(1)
            await idle(mine)
            await idle(theirs)

            assert [event.json["data"] for event in mine.server.events] == ["mine"]
            assert [event.json["data"] for event in theirs.server.events] == ["theirs"]

        with_node(tmp_path, scenario)

    def test_a_wildcard_stays_in_its_namespace(self, tmp_path: Path) -> None:
        """Subscribing to `*` gives an app every topic of its own namespace and of no other."""

        async def scenario(node: PubSubNode) -> None:
            everything: dict[str, object] = {"pubsubname": "pubsub", "topic": "*", "route": "/all"}
            mine = await node.attach("app", everything)
            theirs = await node.attach("app", everything, namespace="team-a")
            await mine.subscribed()
            await theirs.subscribed()
            await theirs.publish("orders")
            await theirs.server.wait_for(1)
            await mine.publish("orders")
            await mine.server.wait_for(1)
            await idle(mine)
            await idle(theirs)

            assert (len(mine.server.events), len(theirs.server.events)) == (1, 1)

        with_node(tmp_path, scenario)

    def test_a_hanging_app_delays_neither_publisher_nor_neighbour(self, tmp_path: Path) -> None:
        """While an app answers nothing, its neighbour gets every event; what finds no room is dropped and counted."""

        async def scenario(node: PubSubNode) -> None:
            limits = Limits(queued_messages=100)
            hanging = await node.attach("hanging", ORDERS, limits=limits, answers={"/orders": [Answer(hangs=True)]})
            quick = await node.attach("quick", ORDERS)
            await hanging.subscribed()
            await quick.subscribed()
            for number in range(300):
                await quick.publish("orders", b"%d" % number)
            events = await quick.server.wait_for(300)
            await idle(quick)

            assert sorted(event.json["data"] for event in events) == list(range(300))
            assert hanging.app.tenant.gate.app.used["queued_messages"] == 100
            assert hanging.app.tenant.usage.dropped_events == 200
            assert hanging.app.tenant.usage.refusals == {"queued_messages": 200}

        with_node(tmp_path, scenario)

    def test_a_dead_app_holds_its_events_until_it_is_back(self, tmp_path: Path) -> None:
        """An app that dies mid-delivery is sent the event again when it is up."""

        async def scenario(node: PubSubNode) -> None:
            app = await node.attach("app", ORDERS, answers={"/orders": [Answer(hangs=True), Answer()]})
            await app.subscribed()
            await app.publish("orders", b"7")
            await app.server.wait_for(1)
            app.server.stop()
            await app.publish("orders", b"8")
            await app.server.listen(node.host)
            events = await app.server.wait_for(3)
            await idle(app)

            assert sorted(event.json["data"] for event in events) == [7, 7, 8]

        with_node(tmp_path, scenario)

    def test_no_more_deliveries_in_flight_than_the_limit(self, tmp_path: Path) -> None:
        """With deliveries_in_flight 2 the app has two events at once, over all its topics, and gets them all."""

        async def scenario(node: PubSubNode) -> None:
            others: dict[str, object] = {"pubsubname": "pubsub", "topic": "others", "route": "/others"}
            limits = Limits(deliveries_in_flight=2)
            hangs = Answer(hangs=True)
            app = await node.attach(
                "app",
                ORDERS,
                others,
                limits=limits,
                answers={"/orders": [hangs, Answer()], "/others": [hangs, Answer()]},
            )
            await app.subscribed(2)
            for number in range(10):
                await app.publish("orders", b"%d" % number)
                await app.publish("others", b"%d" % number)
            await app.server.wait_for(2)
            assert app.subscriptions.deliveries.count == 2
            assert app.app.tenant.gate.app.used["deliveries_in_flight"] == 2
            app.server.stop()
            await app.server.listen(node.host)
            await idle(app)

            assert {(event.path, event.json["data"]) for event in app.server.events} == {
                (path, number) for path in ("/orders", "/others") for number in range(10)
            }

        with_node(tmp_path, scenario)

    def test_room_freed_by_another_app_is_noticed(self, tmp_path: Path) -> None:
        """Where a namespace's ceiling is used up by one app, the other's deliveries go on once that app is gone."""

        async def scenario(node: PubSubNode) -> None:
            first = await node.attach("first", ORDERS, answers={"/orders": [Answer(hangs=True)]})
            second = await node.attach("second", {**ORDERS, "topic": "own"})
            quota = Limits(deliveries_in_flight=1)
            node.tenants.node.set_limits(quota, time.time())
            await first.subscribed()
            await second.subscribed()
            await first.publish("orders")
            await first.server.wait_for(1)
            await second.publish("own")
            assert second.subscriptions.deliveries.count == 0
            first.subscriptions.close()
            first.server.stop()
            await second.server.wait_for(1)

        with_node(tmp_path, scenario)


def test_replicas_do_not_share_what_another_app_needs(tmp_path: Path) -> None:
    """Different apps each get every event of a topic."""

    async def scenario(node: PubSubNode) -> None:
        apps = [await node.attach(f"app{number}", ORDERS) for number in range(3)]
        for app in apps:
            await app.subscribed()
        await apps[0].publish("orders", b"1")
        for app in apps:
            (event,) = await app.server.wait_for(1)
            assert event.json["source"] == "app0"

    with_node(tmp_path, scenario)


def declared(topic: str, path: str = "/declared", **more: object) -> SubscriptionSpec:
    return SubscriptionSpec("pubsub", topic, (RouteRule("", path),), **more)  # type: ignore[arg-type]


class TestLifetime:
    """When subscriptions open, change and close."""

    def test_an_app_that_comes_up_late_is_asked_when_it_is_there(self, tmp_path: Path) -> None:
        """Nothing is subscribed to until the app answers; then what it asks for and what is declared both are."""

        async def scenario(node: PubSubNode) -> None:
            app = await node.attach("app", ORDERS, declared=[declared("extra")], listening=False)
            await trio.testing.wait_all_tasks_blocked()
            assert app.subscriptions.listing() == []
            await app.server.listen(node.host)
            await app.subscribed(2)
            await app.publish("extra")
            (event,) = await app.server.wait_for(1)

            assert event.path == "/declared"

        with_node(tmp_path, scenario)

    def test_what_the_app_answers_replaces_what_is_declared(self, tmp_path: Path) -> None:
        """For the same pubsub and topic the app's own word counts."""

        async def scenario(node: PubSubNode) -> None:
            app = await node.attach("app", ORDERS, declared=[declared("orders")])
            await app.subscribed()

            assert app.subscriptions.listing() == [
                {
                    "pubsubname": "pubsub",
                    "topic": "orders",
                    "rules": [{"path": "/orders"}],
                    "deadLetterTopic": "",
                    "type": "PROGRAMMATIC",
                }
            ]

        with_node(tmp_path, scenario)

    def test_a_declared_subscription_is_for_its_scopes_and_namespace(self, tmp_path: Path) -> None:
        """Scopes name app ids; a namespace, where there is one, must be the app's."""

        async def scenario(node: PubSubNode) -> None:
            specs = [
                declared("all"),
                declared("mine", scopes=("app",)),
                declared("theirs", scopes=("other",)),
                declared("here", namespace="default"),
                declared("there", namespace="team-a"),
            ]
            app = await node.attach("app", declared=specs)
            await app.subscribed(3)

            assert [entry["topic"] for entry in app.subscriptions.listing()] == ["all", "mine", "here"]
            assert {entry["type"] for entry in app.subscriptions.listing()} == {"DECLARATIVE"}

        with_node(tmp_path, scenario)

    def test_a_route_that_appears_late_is_found(self, tmp_path: Path) -> None:
        """An app that first answers 404 is asked again a few times."""

        async def scenario(node: PubSubNode) -> None:
            app = await node.attach("app")
            await app.server.wait_until(lambda: app.server.asked >= 1)
            app.server.topics = [ORDERS]
            await app.subscribed()

        with_node(tmp_path, scenario)

    def test_topics_out_of_scope_are_skipped(self, tmp_path: Path) -> None:
        """What the component's subscriptionScopes do not allow is left out; the rest is subscribed to."""

        async def scenario(node: PubSubNode) -> None:
            app = await node.attach(
                "app", {**ORDERS, "topic": "secret"}, ORDERS, scopes={"subscriptionScopes": "app=orders"}
            )
            await app.subscribed()

            assert [entry["topic"] for entry in app.subscriptions.listing()] == ["orders"]

        with_node(tmp_path, scenario)

    def test_subscriptions_are_counted_against_the_limit(self, tmp_path: Path) -> None:
        """At the limit one more is refused, counted, and opened when another is closed."""

        async def scenario(node: PubSubNode) -> None:
            app = await node.attach("app", declared=[declared("one"), declared("two")], limits=Limits(subscriptions=1))
            await app.subscribed()
            await eventually(lambda: "subscriptions" in app.app.tenant.usage.refusals)
            assert len(app.subscriptions.listing()) == 1
            (entry,) = app.subscriptions.listing()
            app.subscriptions.reload([declared("two" if entry["topic"] == "one" else "one")])
            await app.subscribed()
            app.subscriptions.close()

            assert app.app.tenant.gate.app.used["subscriptions"] == 0

        with_node(tmp_path, scenario)

    def test_reload_changes_what_changed_and_loses_nothing(self, tmp_path: Path) -> None:
        """A changed route takes over the waiting events of its topic; an unchanged subscription is not touched."""

        async def scenario(node: PubSubNode) -> None:
            hanging = {"/old": [Answer(hangs=True)], "/kept": [Answer(hangs=True)]}
            app = await node.attach(
                "app", declared=[declared("orders", "/old"), declared("kept", "/kept")], answers=hanging
            )
            await app.subscribed(2)
            for topic in ("orders", "kept"):
                await app.publish(topic)
            await app.server.wait_for(2)
            app.subscriptions.reload([declared("orders", "/new"), declared("kept", "/kept")])
            events = await app.server.wait_for(3)

            assert sorted(event.path for event in events) == ["/kept", "/new", "/old"]

        with_node(tmp_path, scenario)

    def test_a_change_needs_no_room_of_its_own(self, tmp_path: Path) -> None:
        """At the limit a reload still replaces a subscription: the new one takes the old one's place in the count."""

        async def scenario(node: PubSubNode) -> None:
            app = await node.attach("app", declared=[declared("orders", "/old")], limits=Limits(subscriptions=1))
            await app.subscribed()
            app.subscriptions.reload([declared("orders", "/new")])
            await app.subscribed()
            await app.publish("orders")
            (event,) = await app.server.wait_for(1)

            assert event.path == "/new"
            assert app.app.tenant.usage.refusals == {}
            assert app.app.tenant.gate.app.used["subscriptions"] == 1

        with_node(tmp_path, scenario)

    def test_closing_frees_everything(self, tmp_path: Path) -> None:
        """After close nothing is listed, counted or delivered, whatever was under way."""

        async def scenario(node: PubSubNode) -> None:
            app = await node.attach("app", ORDERS, answers={"/orders": [Answer(hangs=True)]})
            await app.subscribed()
            await app.publish("orders")
            await app.server.wait_for(1)
            app.subscriptions.close()
            app.subscriptions.close()
            app.server.stop()
            await idle(app)
            used = app.app.tenant.gate.app.used

            assert app.subscriptions.listing() == []
            assert {name: used[name] for name in ("subscriptions", "queued_messages", "deliveries_in_flight")} == {
                "subscriptions": 0,
                "queued_messages": 0,
                "deliveries_in_flight": 0,
            }

        with_node(tmp_path, scenario)
