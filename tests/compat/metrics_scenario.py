"""Every block used once on a runtime, so that all its metrics appear; and the record of what daprd's are.

Three apps: `kitapp` speaks HTTP (the echo app), `grpcapp` gRPC, `caller` only calls.

    python -m tests.compat.metrics_scenario --daprd PATH      writes metrics.json
"""

import argparse
import json
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.empty_pb2 import Empty

from noded.proto import appcallback_pb2, common_pb2, events_pb2, invoke_pb2, pubsub_pb2, state_pb2
from tests.compat.runtimes import echo_app
from tests.compat.wire import UnixConnection
from tests.daemon_process import end, wait_for_socket
from tests.daprd.sidecar_process import free_ports

RECORD = Path(__file__).with_name("metrics.json")
CALLBACK = "dapr.proto.runtime.v1.AppCallback"
RUNTIME = "/dapr.proto.runtime.v1.Dapr/"
WAIT_SECONDS = 30.0

COMPONENTS = """
apiVersion: dapr.io/v1alpha1
kind: Component
metadata: {name: statemem}
spec: {type: state.in-memory, version: v1}
---
apiVersion: dapr.io/v1alpha1
kind: Component
metadata: {name: pubsub}
spec: {type: pubsub.in-memory, version: v1}
---
apiVersion: dapr.io/v1alpha1
kind: Component
metadata: {name: broken}
spec:
  type: state.sqlite
  version: v1
  ignoreErrors: true
  metadata: [{name: connectionString, value: "/nonexistent/directory/x.db"}]
"""
CONFIGURATION = """
apiVersion: dapr.io/v1alpha1
kind: Configuration
metadata: {name: metrics}
spec: {metric: {http: {increasedCardinality: true}}}
"""

HEALTH_FLAGS = ("--enable-app-health-check", "--app-health-probe-interval", "1")

Families = dict[str, tuple[str, frozenset[str]]]
"""{metric: (type, labels)}"""


@dataclass(frozen=True)
class Reached:
    """Where an app reaches its runtime."""

    http: Path
    grpc: Path


def families(text: str) -> Families:
    """The metrics of a scrape. Raises AssertionError where series of one have different labels."""
    types = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    found: Families = {}
    for line in text.splitlines():
        match = re.match(r"([A-Za-z_0-9]+)(?:\{(.*)\})? ", line)
        if line.startswith(("#", "go_")) or match is None:
            continue
        name = match[1]
        bare = re.sub(r"_(bucket|sum|count)$", "", name)
        name = bare if types.get(bare) in {"histogram", "summary"} else name
        labels = frozenset(re.findall(r'(\w+)="', match[2] or "")) - {"le", "quantile"}
        assert found.setdefault(name, (types[name], labels)) == (types[name], labels), line
    return found


def exercise(apps: Mapping[str, Reached]) -> None:
    """Use state, pub/sub and invocation over both protocols, with success and failure."""
    http = _Http(apps["kitapp"].http)
    state = "/v1.0/state/statemem"
    http("POST", state, [{"key": "a", "value": 1}, {"key": "b", "value": 2}])
    http("POST", state, [{"key": f"k{at}", "value": "v" * 100} for at in range(5000)])  # daprd tells times from 1 ms
    http("GET", f"{state}/a")
    http("GET", "/v1.0/state/nostore/a")
    http("DELETE", f"{state}/a")
    http("POST", f"{state}/bulk", {"keys": ["a"]})
    http("POST", f"{state}/transaction", {"operations": [{"operation": "upsert", "request": {"key": "t"}}]})
    for topic in ("plain", "failing", "dropped", "bulk", "bulk", "bulk-two", "bulk-e500", "greeted"):
        http("POST", f"/v1.0/publish/pubsub/{topic}", {"a": 1})
    events = [{"entryId": str(at), "event": "x", "contentType": "text/plain"} for at in range(20)]
    http("POST", "/v1.0/publish/bulk/pubsub/plain", events)
    caller = _Http(apps["caller"].http)
    for path in ("kitapp/method/echo/x", "kitapp/method/status/404", "grpcapp/method/greet"):
        caller("POST", f"/v1.0/invoke/{path}", {"a": 1})
    with grpc.insecure_channel(f"unix:{apps['caller'].grpc}") as channel:
        _ask_grpc(channel)


def _ask_grpc(channel: grpc.Channel) -> None:
    item = common_pb2.StateItem(key="g", value=b"1")
    extension = common_pb2.HTTPExtension(verb=common_pb2.HTTPExtension.HEAD)
    message = common_pb2.InvokeRequest(method="echo/x", http_extension=extension)
    asked: Sequence[tuple[str, Any]] = (
        ("SaveState", state_pb2.SaveStateRequest(store_name="statemem", states=[item])),
        ("GetState", state_pb2.GetStateRequest(store_name="nostore", key="g")),
        ("DeleteBulkState", state_pb2.DeleteBulkStateRequest(store_name="statemem", states=[item])),
        ("PublishEvent", pubsub_pb2.PublishEventRequest(pubsub_name="pubsub", topic="plain", data=b"{}")),
        ("InvokeService", invoke_pb2.InvokeServiceRequest(id="kitapp", message=message)),
    )
    for name, request in asked:
        with suppress(grpc.RpcError):
            channel.unary_unary(RUNTIME + name, None, None)(request.SerializeToString(), timeout=WAIT_SECONDS)
    with suppress(grpc.RpcError):
        call = channel.unary_unary("/test.Echo/Say", None, None)
        call(b"", metadata=(("dapr-app-id", "grpcapp"),), timeout=WAIT_SECONDS)


class _Http:
    def __init__(self, socket: Path) -> None:
        self._socket = socket

    def __call__(self, method: str, path: str, body: object = None) -> int:
        connection = UnixConnection(self._socket)
        content = b"" if body is None else json.dumps(body).encode()
        connection.request(method, path, content, {"content-type": "application/json"})
        response = connection.getresponse()
        response.read()
        connection.close()
        return response.status


@contextmanager
def greeting_app() -> Iterator[int]:
    """Run a gRPC app that takes events and calls of any kind; its port."""
    topics = appcallback_pb2.ListTopicSubscriptionsResponse()
    topics.subscriptions.add(pubsub_name="pubsub", topic="greeted")
    handlers = {
        "ListTopicSubscriptions": _answering(topics),
        "OnTopicEvent": _answering(events_pb2.TopicEventResponse()),
        "OnInvoke": _answering(common_pb2.InvokeResponse(content_type="text/plain")),
    }
    server = grpc.server(ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers(
        [
            grpc.method_handlers_generic_handler(CALLBACK, handlers),
            grpc.method_handlers_generic_handler(f"{CALLBACK}HealthCheck", {"HealthCheck": _answering(Empty())}),
            grpc.method_handlers_generic_handler("test.Echo", {"Say": _answering(Empty())}),
        ]
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield port
    finally:
        server.stop(0).wait()


def _answering(answer: Any) -> "grpc.RpcMethodHandler[Any, Any]":
    payload = answer.SerializeToString()
    return grpc.unary_unary_rpc_method_handler(lambda _request, _context: payload)


def scrape(port: int) -> str:
    """What a runtime tells Prometheus."""
    connection = HTTPConnection("127.0.0.1", port, timeout=WAIT_SECONDS)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    return text


def scraped(wanted: frozenset[str], read: Callable[[], str]) -> str:
    """Scrape until every wanted metric is there: deliveries end after their publications. As it is at the deadline."""
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        text = read()
        if wanted <= families(text).keys() or time.monotonic() > deadline:
            return text
        time.sleep(0.1)


@contextmanager
def running_sidecars(command: Sequence[str], root: Path) -> Iterator[tuple[dict[str, Reached], dict[str, int]]]:
    """Run a sidecar for each of the three apps. Their sockets, and the ports of their metrics."""
    (root / "resources").mkdir()
    (root / "resources" / "components.yaml").write_text(COMPONENTS)
    (root / "config.yaml").write_text(CONFIGURATION)
    with ExitStack() as stack:
        http_port = stack.enter_context(echo_app())
        grpc_port = stack.enter_context(greeting_app())
        channels = {
            "kitapp": ["--app-port", str(http_port), *HEALTH_FLAGS],
            "grpcapp": ["--app-port", str(grpc_port), "--app-protocol", "grpc", *HEALTH_FLAGS],
            "caller": [],
        }
        metrics = dict(zip(channels, free_ports(len(channels)), strict=True))
        apps = {}
        for app_id, channel in channels.items():
            (root / app_id).mkdir()
            flags = ["--app-id", app_id, "--unix-domain-socket", str(root / app_id), "--metrics-port"]
            flags += [str(metrics[app_id]), "--resources-path", str(root / "resources")]
            flags += ["--config", str(root / "config.yaml"), "--metrics-listen-address", "127.0.0.1", *channel]
            with (root / f"{app_id}.log").open("wb") as log:
                process = subprocess.Popen([*command, *flags], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            stack.callback(end, process)
            reached = Reached(*(root / app_id / f"dapr-{app_id}-{kind}.socket" for kind in ("http", "grpc")))
            for path in (reached.http, reached.grpc):
                wait_for_socket(process, path, (root / f"{app_id}.log").read_text)
            apps[app_id] = reached
        for reached in apps.values():
            wait_until_subscribed(reached)
        yield apps, metrics


def wait_until_subscribed(app: Reached) -> None:
    """Return once the app's runtime says that it is ready: the app's subscriptions are open then."""
    deadline = time.monotonic() + WAIT_SECONDS
    while _Http(app.http)("GET", "/v1.0/healthz") != 204 and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(0.5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--daprd", required=True)
    binary: str = parser.parse_args().daprd
    with tempfile.TemporaryDirectory(prefix="daprd-") as text, running_sidecars([binary], Path(text)) as (apps, ports):
        for _ in range(5):  # daprd tells of some times only where they reached a millisecond
            exercise(apps)
        time.sleep(5)
        found: Families = {}
        for port in ports.values():
            found |= families(scrape(port))
    told = {name: {"type": kind, "labels": sorted(labels)} for name, (kind, labels) in sorted(found.items())}
    told = {name: each for name, each in told.items() if name.startswith("dapr_")}
    RECORD.write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
