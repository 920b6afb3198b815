"""One app's trouble is its own: equal names, hanging and dead apps, how much is with an app at one moment."""

import time
from pathlib import Path
from typing import ClassVar

from components.contract import Delivery, Message, Verdict
from noded.runtime.deliveries import Deliveries
from tenancy.limits import Limits
from tenancy.tenant import Tenants
from tests.daemon.pubsub_node import ORDERS, Answer, PubSubNode, idle, with_node


class Recipient:
    """A subscription that notes what it is told to begin."""

    pausable: ClassVar[bool] = True

    def __init__(self) -> None:
        self.closed = False
        self.begun: list[Delivery] = []

    def begin(self, delivery: Delivery) -> None:
        self.begun.append(delivery)


class TestDeliveriesInFlight:
    """The tenant's `deliveries_in_flight`, without an app."""

    def test_the_end_of_one_begins_the_next_at_once(self) -> None:
        """Room that the app itself frees is used without waiting, in order over all its subscriptions."""
        tenant = Tenants(clock=time.time).attach("default", "app", Limits(deliveries_in_flight=1))
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
        tenant = Tenants(clock=time.time).attach("default", "app", Limits(deliveries_in_flight=1))
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
