"""Whether an app is well, and what rests while it is not: decided alone, probed in time, delivered by a real broker."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import trio
import trio.testing

from noded.config.records import HealthSpec
from noded.runtime.health import Change, Health
from noded.runtime.health_probe import watch
from tests.daemon.pubsub_node import ORDERS, Answer, Event, PubSubNode, eventually, idle, with_node
from tests.daemon.pubsub_stream import Client

HEALTHY, UNHEALTHY = Change.HEALTHY, Change.UNHEALTHY
BULK = {**ORDERS, "bulkSubscribe": {"enabled": True, "maxMessagesCount": 2, "maxAwaitDurationMs": 20}}


@pytest.mark.parametrize(
    ("threshold", "probes", "changes"),
    [
        (3, "", []),
        (3, "xxx", [None, None, None]),
        (3, "xo", [None, HEALTHY]),
        (3, "oo", [HEALTHY, None]),
        (3, "oxx", [HEALTHY, None, None]),
        (3, "oxxx", [HEALTHY, None, None, UNHEALTHY]),
        (3, "oxxxx", [HEALTHY, None, None, UNHEALTHY, None]),
        (3, "oxxxo", [HEALTHY, None, None, UNHEALTHY, HEALTHY]),
        (3, "oxoxox", [HEALTHY, None, None, None, None, UNHEALTHY]),
        (3, "oxxxoxxx", [HEALTHY, None, None, UNHEALTHY, HEALTHY, None, None, UNHEALTHY]),
        (1, "oxo", [HEALTHY, UNHEALTHY, HEALTHY]),
    ],
)
def test_failures_make_unhealthy_at_the_threshold_and_one_success_healthy(
    threshold: int, probes: str, changes: list[Change | None]
) -> None:
    """An app begins unhealthy. Failures count since it last became healthy; a success between takes none back."""
    health = Health(threshold)
    assert not health.healthy
    given = [health.succeeded() if probe == "o" else health.failed() for probe in probes]
    told = [change for change in given if change is not None]

    assert given == changes
    assert health.healthy == (told[-1:] == [HEALTHY])


class TestWatch:
    """When an app is probed, and what is told of it. The clock jumps."""

    def test_the_first_probe_is_at_once_and_the_others_every_interval(self) -> None:
        """A quick answer does not bring the next probe nearer."""
        assert probed(HealthSpec(interval_seconds=5.0), [0.1, 0.1, 0.1]) == ([0.0, 5.0, 10.0], [(0.1, HEALTHY, "")])

    def test_a_probe_without_an_answer_in_time_has_failed(self) -> None:
        """The deadline cuts it off; the reason says so."""
        spec = HealthSpec(interval_seconds=1.0, timeout_seconds=0.5, threshold=1)

        times, changes = probed(spec, [0.1, 9.0])
        assert times == [0.0, 1.0]
        assert changes == [(0.1, HEALTHY, ""), (1.5, UNHEALTHY, "no answer within 0.5 s")]

    def test_a_late_probe_is_made_at_once_and_none_is_made_up_for(self) -> None:
        """A daemon that stood still for five seconds asks one question for those, not ten."""
        spec = HealthSpec(interval_seconds=0.5, timeout_seconds=0.5, threshold=9)

        assert probed(spec, [0.1, 0.1, 0.1], standstill_seconds=5.0)[0] == [0.0, 5.1, 5.6]


def probed(
    spec: HealthSpec, answers: Sequence[float], standstill_seconds: float = 0.0
) -> tuple[list[float], list[tuple[float, Change, str]]]:
    """Watch an app whose answers take so many seconds: when it was asked, what changed and when.

    The daemon stands still for `standstill_seconds` at each change.
    """
    clock = trio.testing.MockClock(autojump_threshold=0)
    times: list[float] = []
    changes: list[tuple[float, Change, str]] = []

    async def main() -> None:
        began = trio.current_time()
        left = list(answers)

        async def probe() -> None:
            if not left:
                scope.cancel()
            else:
                times.append(round(trio.current_time() - began, 3))
                await trio.sleep(left.pop(0))
            await trio.lowlevel.checkpoint()

        def changed(change: Change, problem: str) -> None:
            changes.append((round(trio.current_time() - began, 3), change, problem))
            clock.jump(standstill_seconds)

        with trio.CancelScope() as scope:
            await watch(probe, spec, changed)

    trio.run(main, clock=clock)
    return times, changes


class TestRest:
    """Subscriptions of an unhealthy app rest, and lose nothing."""

    @pytest.mark.parametrize("topic", [ORDERS, BULK], ids=["single", "bulk"])
    def test_what_is_published_meanwhile_comes_when_the_app_is_well(
        self, tmp_path: Path, topic: dict[str, object]
    ) -> None:
        """Nothing reaches the app from the moment it rests; then all of it."""

        async def scenario(node: PubSubNode) -> None:
            app = await node.attach("app", topic, answers=taken(topic))
            await app.subscribed()
            app.subscriptions.pause()
            for number in range(200):
                await app.publish("orders", b"%d" % number)
            await trio.sleep(0.1)  # longer than a batch gathers
            assert app.server.events == []
            app.subscriptions.resume()
            await idle(app)

            assert sorted(data(app.server.events)) == list(range(200))

        with_node(tmp_path, scenario)

    def test_a_batch_that_was_gathered_rests_too(self, tmp_path: Path) -> None:
        """It had begun, but has not left: it leaves when the app is well."""

        async def scenario(node: PubSubNode) -> None:
            slow = {"enabled": True, "maxMessagesCount": 50, "maxAwaitDurationMs": 100}
            app = await node.attach("app", {**ORDERS, "bulkSubscribe": slow}, answers=taken({"bulkSubscribe": slow}))
            await app.subscribed()
            for number in range(3):
                await app.publish("orders", b"%d" % number)
            assert app.subscriptions.deliveries.count == 3
            app.subscriptions.pause()
            await eventually(lambda: not app.subscriptions.deliveries.count)
            assert app.server.events == []
            app.subscriptions.resume()
            await idle(app)

            assert data(app.server.events) == [0, 1, 2]

        with_node(tmp_path, scenario)

    def test_a_failed_event_waits_for_its_next_attempt_until_the_app_is_well(self, tmp_path: Path) -> None:
        """The attempt under way when the app rests may fail; the broker's retry finds it resting."""

        async def scenario(node: PubSubNode) -> None:
            app = await node.attach("app", ORDERS, answers={"/orders": [Answer(dies=True), Answer()]})
            await app.subscribed()
            await app.publish("orders", b"1")
            app.subscriptions.pause()
            await app.server.wait_for(1)
            await trio.sleep(0.1)  # a retry comes after 4 ms here
            assert len(app.server.events) == 1
            app.subscriptions.resume()
            await idle(app)

            assert data(app.server.events) == [1, 1]

        with_node(tmp_path, scenario)

    def test_a_stream_does_not_rest(self, tmp_path: Path) -> None:
        """Whoever reads it is there, whatever the app's server says of itself."""

        async def scenario(node: PubSubNode) -> None:
            app = await node.attach("app")
            client = Client(app).ask()
            app.subscriptions.pause()
            await app.publish("orders", b"1")
            (event,) = client.events

            assert event.data == b"1"
            client.put(None)

        with_node(tmp_path, scenario)

    def test_detached_while_it_rests_an_app_holds_nothing(self, tmp_path: Path) -> None:
        """What rested is freed at the broker and counted nowhere."""

        async def scenario(node: PubSubNode) -> None:
            app = await node.attach("app", ORDERS)
            await app.subscribed()
            app.subscriptions.pause()
            await app.publish("orders")
            assert app.app.tenant.gate.app.used["queued_messages"] == 1
            app.subscriptions.close()
            app.subscriptions.resume()

            assert app.app.tenant.gate.app.used["queued_messages"] == 0
            assert (app.server.events, app.subscriptions.deliveries.count) == ([], 0)

        with_node(tmp_path, scenario)


def taken(topic: Mapping[str, object]) -> dict[str, list[Answer]]:
    """Answers that take every event of a topic."""
    return {"/orders": [Answer(statuses={} if "bulkSubscribe" in topic else None)]}


def data(events: Sequence[Event]) -> list[int]:
    """What the events carried, a batch's one after another."""
    found: list[int] = []
    for event in events:
        body = event.json
        found += [entry["event"]["data"] for entry in body["entries"]] if "entries" in body else [body["data"]]
    return found
