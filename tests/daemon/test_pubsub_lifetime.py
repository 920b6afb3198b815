"""When subscriptions open, change and close."""

from pathlib import Path

import pytest
import trio
import trio.testing

from noded.config.records import RouteRule, SubscriptionSpec
from noded.runtime import subscriptions
from tenancy.limits import Limits
from tests.daemon.pubsub_node import ORDERS, Answer, PubSubNode, eventually, idle, with_node


def declared(topic: str, path: str = "/declared", **more: object) -> SubscriptionSpec:
    return SubscriptionSpec("pubsub", topic, (RouteRule("", path),), **more)  # type: ignore[arg-type]


class TestLifetime:
    """When subscriptions open, change and close."""

    def test_an_app_that_comes_up_late_is_asked_when_it_is_there(self, tmp_path: Path) -> None:
        """What is declared is listed; nothing is subscribed to until the app answers, then all it asks for as well."""

        async def scenario(node: PubSubNode) -> None:
            app = await node.attach("app", ORDERS, declared=[declared("extra")], listening=False)
            await trio.testing.wait_all_tasks_blocked()
            assert [each["topic"] for each in app.subscriptions.listing()] == ["extra"]
            assert app.app.tenant.gate.app.used["subscriptions"] == 0
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

    @pytest.mark.parametrize("status", [404, 500])
    def test_any_answer_counts(self, tmp_path: Path, status: int) -> None:
        """An app that answers without a list wants nothing; what is declared for it is opened, and it is asked once."""

        async def scenario(node: PubSubNode) -> None:
            app = await node.attach("app", declared=[declared("orders")], refusal=status)
            await app.subscribed()
            app.subscriptions.reload([declared("other")])
            app.subscriptions.resume()
            await app.subscribed()

            assert app.server.asked == 1

        with_node(tmp_path, scenario)

    def test_an_app_that_does_not_answer(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """It is asked three times more, and nothing is opened, until it is healthy and is asked again."""
        monkeypatch.setattr(subscriptions, "ASK_AGAIN_SECONDS", (0.0, 0.0, 0.0))

        async def scenario(node: PubSubNode) -> None:
            app = await node.attach("app", ORDERS, declared=[declared("other")], mute=True)
            times = 1 + len(subscriptions.ASK_AGAIN_SECONDS)
            await eventually(lambda: app.server.asked == times)
            await trio.testing.wait_all_tasks_blocked()
            opened = app.app.tenant.gate.app.used["subscriptions"]
            app.server.mute = False
            app.subscriptions.resume()
            await app.subscribed(2)

            assert (opened, app.server.asked) == (0, times + 1)

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
            app.subscriptions.reload([declared("three")])
            await trio.testing.wait_all_tasks_blocked()
            await app.publish("three")
            await app.server.wait_for(1)
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
            await trio.testing.wait_all_tasks_blocked()
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
