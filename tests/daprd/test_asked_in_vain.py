"""An app that does not say what it subscribes to: what is declared for it stays closed, until it turns healthy again.

Each case is what daprd 1.18.0 does with the same app.
"""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.empty_pb2 import Empty

from noded.proto import appcallback_pb2, events_pb2, pubsub_pb2
from tests.daprd.sidecar_process import SECONDS, Sidecar, resources, running

RESOURCES = """
apiVersion: dapr.io/v1alpha1
kind: Component
metadata: {name: pubsub}
spec: {type: pubsub.in-memory, version: v1}
---
apiVersion: dapr.io/v2alpha1
kind: Subscription
metadata: {name: declared}
spec: {pubsubname: pubsub, topic: declared, routes: {default: /declared}}
"""
FAILED = "failed to subscribe to topics"
PROBED = ("--enable-app-health-check", "--app-health-probe-interval", "1", "--app-health-threshold", "1")
STREAM = "/dapr.proto.runtime.v1.Dapr/SubscribeTopicEventsAlpha1"
Answer = tuple[int, bytes] | None
"""Status and body of /dapr/subscribe; None: the connection is closed instead."""


class AskedApp:
    """An HTTP or gRPC app: how often it was asked, and the events it got."""

    def __init__(self) -> None:
        self.port = 0
        self.healthy = True
        self.asked = 0
        self.events: list[bytes] = []
        self._more = threading.Condition()

    def note(self, event: bytes | None) -> None:
        """None: it was asked."""
        with self._more:
            if event is None:
                self.asked += 1
            else:
                self.events.append(event)
            self._more.notify_all()

    def got(self, event: bytes, seconds: float = SECONDS) -> bool:
        """Wait until an event with that in it has come."""
        with self._more:
            return self._more.wait_for(lambda: any(event in each for each in self.events), seconds)


@contextmanager
def http_app(answer: Answer) -> Iterator[AskedApp]:
    app = AskedApp()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/dapr/subscribe":
                app.note(None)
                if answer is not None:
                    self._answer(*answer)
            else:
                self._answer((200 if app.healthy else 500) if self.path == "/healthz" else 404)

        def do_POST(self) -> None:
            app.note(self.rfile.read(int(self.headers["content-length"])))
            self._answer(200)

        def _answer(self, status: int, body: bytes = b"") -> None:
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Nobody reads it."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        app.port = server.server_address[1]
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield app
        finally:
            server.shutdown()


@contextmanager
def grpc_app(code: grpc.StatusCode | None) -> Iterator[AskedApp]:
    """`code`: of ListTopicSubscriptions; None: it answers an empty list."""
    app = AskedApp()

    def answer(method: str, messages: Iterator[bytes], context: Any) -> Iterator[bytes]:
        if method == "ListTopicSubscriptions":
            app.note(None)
            if code is not None:
                context.abort(code, "not now")
            yield appcallback_pb2.ListTopicSubscriptionsResponse().SerializeToString()
        elif method == "OnTopicEvent":
            app.note(b"".join(messages))
            yield events_pb2.TopicEventResponse().SerializeToString()
        elif method == "HealthCheck" and not app.healthy:
            context.abort(grpc.StatusCode.INTERNAL, "unwell")
        else:
            yield Empty().SerializeToString()

    class Handler(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # its arguments are mypy's alone
        def service(self, details: grpc.HandlerCallDetails) -> Any:
            method = details.method.rpartition("/")[2]
            return grpc.stream_stream_rpc_method_handler(lambda messages, context: answer(method, messages, context))

    server = grpc.server(ThreadPoolExecutor(8), handlers=[Handler()])
    app.port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield app
    finally:
        server.stop(None).wait()


@contextmanager
def beside(app: AskedApp, root: Path, *flags: str) -> Iterator[Sidecar]:
    given = ("--app-port", str(app.port), "--resources-path", resources(root, RESOURCES), *PROBED, *flags)
    with running(root, *given) as sidecar:
        yield sidecar


def publish(sidecar: Sidecar, topic: str, event: str) -> None:
    assert sidecar.http("POST", f"/v1.0/publish/pubsub/{topic}", event).status == 204


def opens(sidecar: Sidecar, app: AskedApp, event: str) -> bool:
    """Publish until one comes: a subscription is opened at any time from now."""
    tries = 0
    while not app.got(f"{event}-{tries}".encode(), 0.2):
        if (tries := tries + 1) > 5 * SECONDS:
            return False
        publish(sidecar, "declared", f"{event}-{tries}")
    return True


def falls_ill_and_recovers(sidecar: Sidecar, app: AskedApp) -> None:
    app.healthy = False
    sidecar.waits_for("App entered un-healthy status")
    app.healthy = True


def is_closed_until_healthy_again(sidecar: Sidecar, app: AskedApp) -> None:
    publish(sidecar, "declared", "before")
    falls_ill_and_recovers(sidecar, app)
    assert opens(sidecar, app, "after")
    assert not any(b"before" in each for each in app.events)


@pytest.mark.parametrize("answer", [(404, b""), (500, b"no"), (200, b""), (200, b"[]"), (200, b"null")], ids=str)
def test_any_answer_over_http_opens_what_is_declared(answer: Answer, tmp_path: Path) -> None:
    """An error says no more than an empty list, and is not asked about again."""
    with http_app(answer) as app, beside(app, tmp_path) as sidecar:
        assert opens(sidecar, app, "event")
        assert app.asked == 1


BAD_RULE = b"""[
    {"pubsubname": "pubsub", "topic": "good", "route": "good"},
    {"pubsubname": "pubsub", "topic": "bad", "routes": {"rules": [{"match": "event.type ==", "path": "/bad"}]}}
]"""


@pytest.mark.parametrize(
    ("answer", "times"),
    [(None, 4), ((200, b"no list"), 1), ((200, b'{"a": 1}'), 1), ((200, BAD_RULE), 1)],
    ids=["none", "text", "object", "rule"],
)
def test_without_a_list_over_http_nothing_is_open(answer: Answer, times: int, tmp_path: Path) -> None:
    """An app that answers nothing is asked four times; one whose list cannot be read, once."""
    with http_app(answer) as app, beside(app, tmp_path) as sidecar:
        sidecar.waits_for(FAILED)

        assert app.asked == times
        is_closed_until_healthy_again(sidecar, app)


@pytest.mark.parametrize("code", [None, grpc.StatusCode.UNIMPLEMENTED], ids=str)
def test_a_grpc_app_without_topics_of_its_own_has_what_is_declared(
    code: grpc.StatusCode | None, tmp_path: Path
) -> None:
    """UNIMPLEMENTED says that there are none."""
    with grpc_app(code) as app, beside(app, tmp_path, "--app-protocol", "grpc") as sidecar:
        assert opens(sidecar, app, "event")
        assert app.asked == 1


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL], ids=str)
def test_any_other_status_of_a_grpc_app_leaves_all_closed(code: grpc.StatusCode, tmp_path: Path) -> None:
    """It is asked four times."""
    with grpc_app(code) as app, beside(app, tmp_path, "--app-protocol", "grpc") as sidecar:
        sidecar.waits_for(FAILED)

        assert app.asked == 4
        is_closed_until_healthy_again(sidecar, app)


def test_streams_need_no_answer(tmp_path: Path) -> None:
    """A streaming subscription opens although the app was asked in vain."""
    opening = pubsub_pb2.SubscribeTopicEventsRequestInitialAlpha1(pubsub_name="pubsub", topic="streamed")
    asked = pubsub_pb2.SubscribeTopicEventsRequestAlpha1(initial_request=opening).SerializeToString()
    done = threading.Event()

    def requests() -> Iterator[bytes]:
        yield asked
        done.wait(SECONDS)

    with http_app((200, b"no list")) as app, beside(app, tmp_path) as sidecar:
        sidecar.waits_for(FAILED)
        with grpc.insecure_channel(f"127.0.0.1:{sidecar.grpc_port}") as channel:
            call: Callable[..., Any] = channel.stream_stream(STREAM, bytes, bytes)
            answers = call(requests(), timeout=SECONDS)
            next(answers)
            publish(sidecar, "streamed", "event")
            assert b"event" in next(answers)
            done.set()
            answers.cancel()
