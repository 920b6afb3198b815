"""Subscriptions that come and go while a daemon runs, and apps and events that change while they wait."""

import base64
import json
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tenancy.limits import Limits
from tests.compat.echo_app import OPENED
from tests.compat.runtimes import APP_ID, APP_RESOURCE, Runtime, echo_app, programmatic
from tests.compat.wire import UnixConnection
from tests.daemon.pubsub_node import ORDERS, Answer, PubSubNode, idle, with_node
from tests.daemon_process import Daemon, running_daemon, write_resources

PUBSUB = """
apiVersion: dapr.io/v1alpha1
kind: Component
metadata: {name: pubsub}
spec: {type: pubsub.in-memory, version: v1}
"""
DECLARED = """
apiVersion: dapr.io/v2alpha1
kind: Subscription
metadata: {{name: late}}
spec:
  pubsubname: pubsub
  topic: late
  routes:
    rules:
    - match: {match}
      path: /events/matched
    default: {path}
"""
WAIT_SECONDS = 10.0


class Node:
    """A daemon with the echo app, and the resources it reads again."""

    def __init__(self, daemon: Daemon, app_port: int) -> None:
        self.daemon = daemon
        self.runtime = Runtime("noded", daemon.http_socket(APP_ID), daemon.grpc_socket(APP_ID), app_port)

    def reload(self, declared: str | None) -> None:
        if declared is None:
            (self.daemon.root / "resources" / "late.yaml").unlink()
        else:
            write_resources(self.daemon.root, {"late.yaml": declared})
        self.daemon.process.send_signal(signal.SIGHUP)

    def rules(self) -> list[object]:
        """The paths of the subscriptions to `late`."""
        connection = UnixConnection(self.runtime.http_socket)
        connection.request("GET", "/v1.0/metadata")
        listed = json.load(connection.getresponse()).get("subscriptions", [])
        connection.close()
        return [rule["path"] for each in listed if each["topic"] == "late" for rule in each["rules"]]

    def publish(self, body: bytes) -> None:
        connection = UnixConnection(self.runtime.http_socket)
        connection.request("POST", "/v1.0/publish/pubsub/late", body, {"content-type": "application/json"})
        assert connection.getresponse().status == 204
        connection.close()

    def delivers_to(self, path: str) -> bool:
        """Whether an event of `late` reaches that path: told by what is published after it and delivered."""
        self.runtime.forget_received()
        self.publish(b"1")
        connection = UnixConnection(self.runtime.http_socket)
        connection.request("POST", "/v1.0/publish/pubsub/plain", b"1", {"content-type": "application/json"})
        assert connection.getresponse().status == 204
        connection.close()
        assert self.runtime.received("/events/plain", 1)
        return bool(self.runtime.received(path, 0))

    def subscribed(self) -> bool:
        return programmatic(self.runtime) >= OPENED


@contextmanager
def running_node() -> Iterator[Node]:
    with echo_app() as port:
        resources = {"pubsub.yaml": PUBSUB, "app.yaml": APP_RESOURCE.format(port=port)}
        with running_daemon(resources, {APP_ID: "default"}) as daemon:
            node = Node(daemon, port)
            until(node.subscribed)
            yield node


def until(condition: Callable[[], bool]) -> None:
    """Wait for what only asking can tell."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_declared_subscriptions_come_change_and_go() -> None:
    """SIGHUP: a new Subscription is opened, a changed one routes anew, a removed one gets nothing; others go on."""
    with running_node() as node:
        node.reload(DECLARED.format(match="event.data > 10", path="/events/first"))
        until(lambda: node.delivers_to("/events/first"))
        assert node.rules() == ["/events/matched", "/events/first"]

        node.reload(DECLARED.format(match="event.data > 0", path="/events/second"))
        until(lambda: node.delivers_to("/events/matched"))
        assert node.rules() == ["/events/matched", "/events/second"]

        node.reload(None)
        until(lambda: node.rules() == [])
        until(lambda: not node.delivers_to("/events/matched"))
        assert node.subscribed()


def test_a_rule_that_cannot_be_used_changes_nothing() -> None:
    """SIGHUP over a Subscription whose expression is wrong: the file and line are logged, the old one goes on."""
    with running_node() as node:
        node.reload(DECLARED.format(match="event.data > 10", path="/events/first"))
        until(lambda: bool(node.rules()))
        node.reload(DECLARED.format(match="event.data >", path="/events/second"))
        until(lambda: "late.yaml:10" in node.daemon.log())

        assert node.rules() == ["/events/matched", "/events/first"]


def test_an_event_that_expires_while_it_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits behind an event that is with the app; when its turn comes it is a dead letter, as it was published."""

    async def scenario(node: PubSubNode) -> None:
        raw = {"pubsubname": "pubsub", "topic": "dead", "route": "/dead", "metadata": {"rawPayload": "true"}}
        other = await node.attach("other", raw)
        app = await node.attach(
            "app",
            {**ORDERS, "deadLetterTopic": "dead"},
            limits=Limits(deliveries_in_flight=1),
            answers={"/orders": [Answer(hangs=True), Answer()]},
        )
        await app.subscribed()
        await other.subscribed()
        await app.publish("orders", b"1")
        await app.publish("orders", b"2", metadata={"ttlInSeconds": "100"})
        await app.publish("orders", b"3")
        await app.server.wait_for(1)
        monkeypatch.setattr(time, "time", lambda: later)
        app.server.stop()
        await app.server.listen(node.host)
        await app.server.wait_for(2)
        await other.server.wait_for(2)
        await idle(app)

        assert [event.json["data"] for event in app.server.events] == [1, 3]
        dead = [json.loads(base64.b64decode(event.json["data_base64"])) for event in other.server.events]
        assert [(each["data"], each["topic"]) for each in dead] == [(1, "orders"), (2, "orders")]

    later = time.time() + 200.0
    with_node(tmp_path, scenario)


def test_an_event_expires_without_a_dead_letter_topic(tmp_path: Path) -> None:
    """It is acknowledged: no attempt is made and nothing holds room."""

    async def scenario(node: PubSubNode) -> None:
        app = await node.attach("app", ORDERS)
        await app.subscribed()
        old = b'{"id":"1","expiration":"2001-01-01T00:00:00Z"}'
        await app.publish("orders", old, metadata={"rawPayload": "true"})
        await idle(app)

        assert app.server.events == []

    with_node(tmp_path, scenario)


def test_a_slow_app_gets_everything_in_the_end(tmp_path: Path) -> None:
    """More events than may be with it at once wait at the broker; each is delivered, none twice."""

    async def scenario(node: PubSubNode) -> None:
        app = await node.attach("app", ORDERS)
        await app.subscribed()
        for number in range(300):
            await app.publish("orders", b"%d" % number)
        await app.server.wait_for(300)
        await idle(app)

        assert sorted(event.json["data"] for event in app.server.events) == list(range(300))

    with_node(tmp_path, scenario)
