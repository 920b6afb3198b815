"""APP_API_TOKEN: what a gRPC app is shown of it, in the metadata of everything that it is asked.

Each case is what daprd 1.18.0 does with the same app; a binding or a job would show it too, but those are not served.
"""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import pytest
from google.protobuf.empty_pb2 import Empty

from noded.proto import appcallback_pb2, common_pb2, events_pb2, invoke_pb2
from tests.daprd.sidecar_process import SECONDS, Sidecar, resources, running
from tests.daprd.test_app_token import PUBSUB

CALLBACK = "/dapr.proto.runtime.v1.AppCallback/"
HEALTH = "/dapr.proto.runtime.v1.AppCallbackHealthCheck/HealthCheck"
INVOKE = "/dapr.proto.runtime.v1.Dapr/InvokeService"
FLAGS = ("--app-protocol", "grpc", "--enable-app-health-check", "--app-health-probe-interval", "1")
Act = Callable[[Sidecar], None]
TO_APP = (("dapr-app-id", "app"),)


class Asked(NamedTuple):
    """One call that the app got."""

    method: str
    tokens: tuple[str, ...]
    """Of its metadata `dapr-api-token`, in order."""


class TokenApp(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # its arguments are mypy's alone
    """Answers every method, any kind of call, and notes what it is shown."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self._more = threading.Condition()
        bulk = appcallback_pb2.BulkSubscribeConfig(enabled=True, max_messages_count=1)
        topics = [
            appcallback_pb2.TopicSubscription(pubsub_name="pubsub", topic="one"),
            appcallback_pb2.TopicSubscription(pubsub_name="pubsub", topic="bulk", bulk_subscribe=bulk),
        ]
        self._answers = {
            "ListTopicSubscriptions": appcallback_pb2.ListTopicSubscriptionsResponse(subscriptions=topics),
            "OnBulkTopicEvent": events_pb2.TopicEventBulkResponse(),
            "OnInvoke": common_pb2.InvokeResponse(),
        }

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        """Take a call."""
        tokens = tuple(str(value) for name, value in details.invocation_metadata or () if name == "dapr-api-token")
        with self._more:
            self.asked.append(Asked(details.method, tokens))
            self._more.notify_all()
        answer = self._answers.get(details.method.rpartition("/")[2], Empty()).SerializeToString()
        return grpc.stream_stream_rpc_method_handler(lambda messages, _: (answer for _ in messages))

    def wait_asked(self, method: str) -> tuple[str, ...]:
        """The tokens of its first call of that method, once it has come."""
        found: list[Asked] = []

        def came() -> bool:
            found[:] = [each for each in self.asked if each.method == method]
            return bool(found)

        with self._more:
            assert self._more.wait_for(came, SECONDS), self.asked
        return found[0].tokens


@contextmanager
def token_app() -> Iterator[tuple[TokenApp, int]]:
    app = TokenApp()
    server = grpc.server(ThreadPoolExecutor(8), handlers=[app])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield app, port
    finally:
        server.stop(None).wait()


def call(sidecar: Sidecar, path: str, message: bytes, metadata: tuple[tuple[str, str], ...] = ()) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{sidecar.grpc_port}") as channel:
        list(channel.stream_stream(path, bytes, bytes)(iter([message]), metadata=metadata, timeout=SECONDS))


def publish(topic: str) -> Act:
    def ask(sidecar: Sidecar) -> None:
        assert sidecar.http("POST", f"/v1.0/publish/pubsub/{topic}", {"n": 1}).status == 204

    return ask


def invoke_by_http(sidecar: Sidecar) -> None:
    assert sidecar.http("POST", "/v1.0/invoke/app/method/hello").status == 200


def invoke_by_grpc(sidecar: Sidecar) -> None:
    asked = invoke_pb2.InvokeServiceRequest(id="app", message=common_pb2.InvokeRequest(method="hello"))
    call(sidecar, INVOKE, asked.SerializeToString())


def proxied(*metadata: tuple[str, str]) -> Act:
    return lambda sidecar: call(sidecar, "/test.Own/Chat", b"", (*TO_APP, *metadata))


CASES: dict[str, tuple[Act | None, str, tuple[str, ...]]] = {
    "what it is asked at the start": (None, CALLBACK + "ListTopicSubscriptions", ()),
    "a probe of its health": (None, HEALTH, ()),
    "an event": (publish("one"), CALLBACK + "OnTopicEvent", ("shown",)),
    "a batch of events": (publish("bulk"), CALLBACK + "OnBulkTopicEvent", ("shown",)),
    "an invocation by HTTP": (invoke_by_http, CALLBACK + "OnInvoke", ("shown",)),
    "an invocation by gRPC": (invoke_by_grpc, CALLBACK + "OnInvoke", ("shown",)),
    "a call of its own service": (proxied(), "/test.Own/Chat", ("shown",)),
    "a proxied call with the caller's token": (proxied(("dapr-api-token", "x")), "/test.Own/Chat", ("shown",)),
}


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, ...]]:
    """{case: the tokens that the app was shown}."""
    root: Path = tmp_path_factory.mktemp("token")
    with token_app() as (app, port):
        flags = ("--app-port", str(port), "--resources-path", resources(root, PUBSUB), *FLAGS)
        with running(root, *flags, environ={"APP_API_TOKEN": "shown"}) as sidecar:
            return {case: tokens_of(act, method, app, sidecar) for case, (act, method, _) in CASES.items()}


def tokens_of(act: Act | None, method: str, app: TokenApp, sidecar: Sidecar) -> tuple[str, ...]:
    if act is not None:
        wait_subscribed(sidecar)
        app.asked.clear()
        act(sidecar)
    return app.wait_asked(method)


def wait_subscribed(sidecar: Sidecar) -> None:
    deadline = time.monotonic() + SECONDS
    while len(sidecar.http("GET", "/v1.0/metadata").json().get("subscriptions", [])) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("case", CASES)
def test_a_grpc_app_is_shown_its_token(case: str, shown: dict[str, tuple[str, ...]]) -> None:
    """Once, in every call but probes and the question for its topics; a caller's own token does not reach it."""
    assert shown[case] == CASES[case][2]
