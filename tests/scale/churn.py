"""Apps that come, subscribe, work and go, again and again: what they leave behind is nothing."""

import json
import queue
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

from noded.proto import pubsub_pb2, state_pb2
from tests.daemon.server_clients import GrpcClient, HttpClient
from tests.daemon_process import Daemon, running_daemon
from tests.scale.node import Footprint, attach, detach, footprint, many_apps, operator_of

SAVES = 20
EVENTS = 5


def one_life(daemon: Daemon, operator: HttpClient, name: str) -> None:
    """Attach an app; it subscribes, saves, reads, publishes, gets its own events, and is detached."""
    attach(operator, name)
    with (
        closing(HttpClient(daemon.http_socket(name))) as http,
        closing(GrpcClient(f"unix:{daemon.grpc_socket(name)}")) as grpc,
    ):
        for number in range(SAVES):
            item = [{"key": f"k{number}", "value": name}]
            assert http("POST", "/v1.0/state/statestore", item).status == 204
        with subscription(grpc, "churn") as events:
            for number in range(EVENTS):
                assert http("POST", "/v1.0/publish/pubsub/churn", {"n": number}).status == 204
            assert [next(events) for _ in range(EVENTS)] == list(range(EVENTS))
        value = grpc("GetState", state_pb2.GetStateRequest(store_name="statestore", key="k0"))
        assert isinstance(value, state_pb2.GetStateResponse)
        assert json.loads(value.data) == name
        for number in range(SAVES):
            assert http("DELETE", f"/v1.0/state/statestore/k{number}").status == 204
    detach(operator, name)


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


def churn(
    rounds: int, seconds: float, told: Callable[[int, Footprint], None] = _say_nothing
) -> tuple[Footprint, Footprint]:
    """Let apps live one after the other beside ten that stay: at least so many rounds, for at least so long.

    Gives what the daemon held half-way, when what it keeps for reuse has grown, and at the end; `told` hears meanwhile.
    """
    with running_daemon(many_apps(10), {"app-9": "default"}) as daemon, operator_of(daemon) as operator:
        warm: Footprint | None = None
        began, done = time.monotonic(), 0
        while done < rounds or time.monotonic() - began < seconds:
            one_life(daemon, operator, f"guest-{done % 7}")
            done += 1
            if warm is None and done * 2 >= rounds and (time.monotonic() - began) * 2 >= seconds:
                warm = footprint(daemon, operator)
                told(done, warm)
            elif done % 50 == 0:
                told(done, footprint(daemon, operator))
        assert warm is not None
        last = footprint(daemon, operator)
        told(done, last)
        return warm, last
