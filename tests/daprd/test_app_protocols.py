"""Every protocol of --app-protocol, against apps on real servers: all that goes to an app goes by it."""

import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

import grpc
import pytest

from noded.proto import appcallback_pb2
from tests.daemon.grpc_app import WAIT_SECONDS, GrpcApp, Status
from tests.daprd.app_server import ServedApp, served, server_credentials
from tests.daprd.sidecar_process import SECONDS, Sidecar, resources, running
from tests.daprd.slow_app import SlowApp

PUBSUB = """
apiVersion: dapr.io/v1alpha1
kind: Component
metadata: {name: pubsub}
spec: {type: pubsub.in-memory, version: v1}
"""
INVOKE = "/v1.0/invoke/app/method"
VERSIONS = {"http": "1.1", "h2c": "2", "https": "1.1"}


@pytest.fixture(scope="module", params=list(VERSIONS))
def pair(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, ServedApp, Sidecar]]:
    """A protocol, an app that speaks it, and the sidecar that calls it, two calls at a time."""
    tmp_path = tmp_path_factory.mktemp("app")
    protocol = str(request.param)
    flags = ("--app-protocol", protocol, "--app-max-concurrency", "2")
    with (
        served(protocol, tmp_path) as app,
        running(tmp_path, *flags, "--app-port", str(app.port), "--resources-path", resources(tmp_path, PUBSUB)) as it,
    ):
        it.waits_for("dapr initialized")
        yield protocol, app, it


def test_invocation_and_delivery_go_by_the_protocol(pair: tuple[str, ServedApp, Sidecar]) -> None:
    """An app invokes itself; its subscriptions are asked for and events delivered: by its own HTTP version alone."""
    protocol, app, sidecar = pair
    echoed = sidecar.http("POST", f"{INVOKE}/echo?a=b", {"x": 1}, {"x-mine": "1"})
    published = sidecar.http("POST", "/v1.0/publish/pubsub/orders", {"order": 1}, {"content-type": "application/json"})

    assert echoed.status == 418
    told = echoed.json()
    assert (told["method"], told["query"], told["body"]) == ("POST", "a=b", '{"x": 1}')
    assert told["headers"]["x-mine"] == "1"
    assert told["scheme"] == ("https" if protocol == "https" else "http")
    assert published.status == 204
    assert app.event_came.wait(SECONDS)
    assert app.events[0]["data"] == {"order": 1}
    assert app.versions == {VERSIONS[protocol]}


def test_calls_over_the_limit_wait(pair: tuple[str, ServedApp, Sidecar]) -> None:
    """--app-max-concurrency: calls and deliveries beyond it wait for their turn, and none fails."""
    _, app, sidecar = pair
    answers: list[int] = []

    def ask() -> None:
        answers.append(sidecar.http("GET", f"{INVOKE}/slow").status)

    asking = [threading.Thread(target=ask) for _ in range(8)]
    for each in asking:
        each.start()
    for each in asking:
        each.join(SECONDS)

    assert answers == [200] * 8
    assert app.most_running == 2


def test_an_endless_answer_passes_as_it_comes_until_the_caller_leaves(pair: tuple[str, ServedApp, Sidecar]) -> None:
    """Server-sent events: each is there before the next is sent; the caller's end reaches the app."""
    _, app, sidecar = pair
    with closing(HTTPConnection("127.0.0.1", sidecar.http_port, timeout=SECONDS)) as connection:
        connection.request("GET", f"{INVOKE}/endless", headers={"accept": "text/event-stream"})
        answer = connection.getresponse()

        assert answer.status == 200
        assert answer.getheader("content-type") == "text/event-stream"
        assert answer.read(20) == b"data: 0\n\ndata: 1\n\nda"
        assert not app.caller_left.is_set()
        assert connection.sock is not None
        connection.sock.shutdown(socket.SHUT_RDWR)
        answer.close()

    assert app.caller_left.wait(SECONDS)


@pytest.mark.parametrize("protocol", ["h2c", "https", "grpcs"])
def test_an_app_that_speaks_another_protocol_is_not_called_by_that(protocol: str, tmp_path: Path) -> None:
    """An HTTP/1.1 app in the clear, said to speak something else: its caller is told, and the app gets no request."""
    with SlowApp() as app, running(tmp_path, "--app-protocol", protocol, "--app-port", str(app.port)) as sidecar:
        sidecar.waits_for("dapr initialized")
        refused = sidecar.http("GET", f"{INVOKE}/slow")

    assert refused.status == (503 if protocol == "grpcs" else 500)
    assert not app.was_called


def test_grpcs_is_grpc_inside_tls(tmp_path: Path) -> None:
    """Subscriptions, events, OnInvoke and proxied calls go to a gRPC app by TLS, whatever its certificate says."""
    credentials = grpc.ssl_server_credentials([server_credentials(tmp_path)])
    app = GrpcApp(Path(), [appcallback_pb2.TopicSubscription(pubsub_name="pubsub", topic="orders")], credentials)
    app.start()
    event_came = threading.Event()

    def on_event(*_: object) -> int:
        event_came.set()
        return Status.SUCCESS

    app.on_event = on_event
    try:
        flags = ("--app-protocol", "grpcs", "--app-port", str(app.port))
        with running(tmp_path, *flags, "--resources-path", resources(tmp_path, PUBSUB)) as sidecar:
            sidecar.waits_for("dapr initialized")
            invoked = sidecar.http("POST", f"{INVOKE}/anything", {"x": 1})
            sidecar.http("POST", "/v1.0/publish/pubsub/orders", {"order": 1}, {"content-type": "application/json"})
            with grpc.insecure_channel(f"127.0.0.1:{sidecar.grpc_port}") as channel:
                proxied = channel.unary_unary("/test.Echo/Unary", bytes, bytes)(
                    b"hello", metadata=(("dapr-app-id", "app"),), timeout=WAIT_SECONDS
                )

            assert (invoked.status, invoked.body) == (200, b'{"x": 1}')
            assert event_came.wait(WAIT_SECONDS)
            assert proxied == b"hello"
    finally:
        app.stop()
