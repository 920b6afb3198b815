"""Apps that come, subscribe, work and go, again and again: what they leave behind is nothing."""

import json
import queue
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

from noded.proto import pubsub_pb2, state_pb2
from tests.daemon.lifecycle_app import LifecycleApp
from tests.daemon.server_clients import GrpcClient, HttpClient, eventually
from tests.daemon_process import Daemon, running_daemon
from tests.scale.node import Footprint, attach, detach, footprint, many_apps, operator_of

GUESTS = tuple(f"guest-{number}" for number in range(7))
"""Names of those who come and go; an odd number of them, so that each lives now with a channel, now without."""
SAVES = 20
EVENTS = 5
BREATH_KB = 4096
"""What memory may grow by between the half of a long churn and its end: allocators breathe."""
SETTLE_SECONDS = 10.0
"""For what the last life's end still does: a leak stays longer."""
DECLARED = {
    "apiVersion": "dapr.io/v2alpha1",
    "kind": "Subscription",
    "metadata": {"name": "declared"},
    "spec": {"pubsubname": "pubsub", "topic": "declared", "routes": {"default": "/declared"}},
    "scopes": list(GUESTS),
}
ASKED_FOR = {"pubsubname": "pubsub", "topic": "asked", "route": "/asked"}
"""What the app that listens answers at /dapr/subscribe."""


@dataclass(frozen=True)
class Churned:
    """What came of it."""

    lives: int
    """From `warm` to `last`."""
    warm: Footprint
    last: Footprint


@dataclass(frozen=True)
class Life:
    """One attached guest, at work."""

    name: str
    http: HttpClient
    grpc: GrpcClient

    def save(self) -> None:
        """Save and delete; read over gRPC in between."""
        for number in range(SAVES):
            item = [{"key": f"k{number}", "value": self.name}]
            assert self.http("POST", "/v1.0/state/statestore", item).status == 204
        value = self.grpc("GetState", state_pb2.GetStateRequest(store_name="statestore", key="k0"))
        assert isinstance(value, state_pb2.GetStateResponse)
        assert json.loads(value.data) == self.name
        for number in range(SAVES):
            assert self.http("DELETE", f"/v1.0/state/statestore/k{number}").status == 204

    def stream(self) -> None:
        """Subscribe by a stream; publish and get it."""
        with subscription(self.grpc, "churn") as events:
            self.publish("churn")
            assert [next(events) for _ in range(EVENTS)] == list(range(EVENTS))

    def be_called(self, listens: LifecycleApp) -> None:
        """Get what is declared and what the app asks for on the channel; be invoked there."""
        eventually(lambda: self.http("GET", "/v1.0/healthz").status, lambda status: status == 204)
        for topic in ("declared", "asked"):
            self.publish(topic)
            listens.wait_until(lambda path=f"/{topic}": len(listens.events(path)) >= EVENTS)  # type: ignore[misc]
            assert sorted(json.loads(each)["n"] for each in listens.events(f"/{topic}")) == list(range(EVENTS))
        for _ in range(EVENTS):
            answer = self.http("GET", f"/v1.0/invoke/{self.name}/method/x")
            assert (answer.status, answer.body) == (200, b"called")

    def publish(self, topic: str) -> None:
        for number in range(EVENTS):
            assert self.http("POST", f"/v1.0/publish/pubsub/{topic}", {"n": number}).status == 204


def one_life(daemon: Daemon, operator: HttpClient, name: str, listens: LifecycleApp | None) -> None:
    """Attach an app; it subscribes, saves, reads, publishes, gets its own events, and is detached.

    listens: the app that is called, of one that has a channel; the others get their events by a stream.
    """
    attach(operator, name, "" if listens is None else f"127.0.0.1:{listens.port}")
    with (
        closing(HttpClient(daemon.http_socket(name))) as http,
        closing(GrpcClient(f"unix:{daemon.grpc_socket(name)}")) as grpc,
    ):
        life = Life(name, http, grpc)
        life.save()
        if listens is None:
            life.stream()
        else:
            life.be_called(listens)
    detach(operator, name)
    if listens is not None:
        listens.requests.clear()


@contextmanager
def subscription(client: GrpcClient, topic: str) -> Iterator[Iterator[int]]:
    """Give the numbers of the events of a topic, each acknowledged, as long as the block lasts."""
    outbox: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    initial = pubsub_pb2.SubscribeTopicEventsRequestInitialAlpha1(pubsub_name="pubsub", topic=topic)
    outbox.put(pubsub_pb2.SubscribeTopicEventsRequestAlpha1(initial_request=initial).SerializeToString())
    call = client.stream(iter(outbox.get, None))

    def numbers() -> Iterator[int]:
        for message in call:
            event = pubsub_pb2.SubscribeTopicEventsResponseAlpha1.FromString(message).event_message
            done = pubsub_pb2.SubscribeTopicEventsRequestProcessedAlpha1(id=event.id)
            outbox.put(pubsub_pb2.SubscribeTopicEventsRequestAlpha1(event_processed=done).SerializeToString())
            yield int(json.loads(event.data)["n"])

    next(call)  # the acceptance
    try:
        yield numbers()
    finally:
        outbox.put(None)
        call.cancel()


def _say_nothing(done: int, now: Footprint) -> None:
    """For those who only want the end."""


def churn(rounds: int, seconds: float, told: Callable[[int, Footprint], None] = _say_nothing) -> Churned:
    """Let apps live one after the other beside ten that stay: at least so many rounds, for at least so long.

    Every second one has a channel, to an app that stays up. Looks at the daemon half-way, when what it keeps for reuse
    has grown, and at the end; `told` hears meanwhile.
    """
    described = many_apps(10) | {"declared.yaml": json.dumps(DECLARED)}
    with (
        LifecycleApp(topics=[ASKED_FOR]) as listens,
        running_daemon(described, {"app-9": "default"}) as daemon,
        operator_of(daemon) as operator,
    ):
        warm: Footprint | None = None
        began, done, warm_lives = time.monotonic(), 0, 0
        while done < rounds or time.monotonic() - began < seconds:
            one_life(daemon, operator, GUESTS[done % len(GUESTS)], listens if done % 2 else None)
            done += 1
            if warm is None and done * 2 >= rounds and (time.monotonic() - began) * 2 >= seconds:
                warm, warm_lives = footprint(daemon, operator), done
                told(done, warm)
            elif done % 50 == 0:
                told(done, footprint(daemon, operator))
        assert warm is not None
        last = _settled(daemon, operator, warm)
        told(done, last)
        return Churned(done - warm_lives, warm, last)


def _settled(daemon: Daemon, operator: HttpClient, warm: Footprint) -> Footprint:
    """The footprint once it holds no more descriptors and tasks than `warm`, or else at the deadline."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        now = footprint(daemon, operator)
        if (now.descriptors <= warm.descriptors and now.tasks <= warm.tasks) or time.monotonic() > deadline:
            return now
        time.sleep(0.05)
