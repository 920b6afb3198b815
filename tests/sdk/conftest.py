"""One daemon for all SDKs: apps with their Unix sockets and loopback ports, and an echo app behind one of them."""

import json
import os
import re
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.compat.runtimes import APP_ID, components, echo_app
from tests.daemon_process import Daemon, running_daemon
from tests.daprd.sidecar_process import running

TOKEN = "sdk-test-token-0123456789abcdef"
PENDING: dict[str, str] = {}
"""{case: what is not built yet}; it must fail until it is."""
SERVERS = {
    "python-http": "http",
    "python-grpc": "grpc",
    "go-http": "http",
    "go-grpc": "grpc",
    "js-http": "http",
    "js-grpc": "grpc",
}
"""{app id: protocol} of the apps that SDKs serve; their programs listen at ports that are theirs."""
APP = """
---
apiVersion: noded.io/v1alpha1
kind: App
metadata: {{name: {app_id}, namespace: default}}
spec:
  channel: {{protocol: {protocol}, address: "127.0.0.1:{app_port}"}}
  loopback: {{httpPort: {http_port}, grpcPort: {grpc_port}, token: {token}}}
"""
BULK = """
---
apiVersion: dapr.io/v2alpha1
kind: Subscription
metadata: {{name: {app_id}-bulk}}
spec:
  pubsubname: pubsub
  topic: {app_id}-bulk
  routes: {{default: /bulk}}
  deadLetterTopic: {app_id}-bulk-dead
  bulkSubscribe: {{enabled: true, maxMessagesCount: 3, maxAwaitDurationMs: 500}}
scopes: [{app_id}]
---
apiVersion: dapr.io/v2alpha1
kind: Subscription
metadata: {{name: {app_id}-again}}
spec:
  pubsubname: pubsub
  topic: {app_id}-again
  routes: {{default: /again}}
  bulkSubscribe: {{enabled: true, maxMessagesCount: 3, maxAwaitDurationMs: 500}}
scopes: [{app_id}]
"""
"""Declared, because neither the Python nor the Go SDK can ask for events in bulk."""
BULK_APPS = ("python-http", "python-grpc", "go-http", "go-grpc")
UNREACHABLE = re.compile(r"dial tcp|no such host|proxyconnect|EAI_AGAIN|ENOTFOUND|ETIMEDOUT|ECONNREFUSED|Unknown host")
"""What the package clients say where there is no registry."""


@dataclass(frozen=True)
class Node:
    """Where an SDK finds its app's runtime, and where the runtime finds the app."""

    app_id: str
    protocol: str
    app_port: int
    http_port: int
    grpc_port: int
    token: str = ""
    grpc_socket: Path = Path()

    def environment(self, grpc_endpoint: str = "") -> dict[str, str]:
        """The SDK's own variables, and those of the test programs; `grpc_endpoint` "" means the port."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": os.environ.get("HOME", "/"),
            "DAPR_GRPC_ENDPOINT": grpc_endpoint or f"127.0.0.1:{self.grpc_port}",
            "DAPR_HTTP_ENDPOINT": f"http://127.0.0.1:{self.http_port}",
            "DAPR_HTTP_PORT": str(self.http_port),
            "DAPR_GRPC_PORT": str(self.grpc_port),
            "DAPR_API_TOKEN": self.token,
            "DAPR_API_METHOD_INVOCATION_PROTOCOL": "grpc",
            "DAPR_HEALTH_TIMEOUT": "10",
            "APP_ID": self.app_id,
            "APP_PORT": str(self.app_port),
            "APP_PROTOCOL": self.protocol,
        }

    def resource(self) -> str:
        return APP.format(
            app_id=self.app_id, protocol=self.protocol, app_port=self.app_port, http_port=self.http_port,
            grpc_port=self.grpc_port, token=TOKEN,
        )  # fmt: skip


@pytest.fixture(scope="session")
def nodes() -> Iterator[dict[str, Node]]:
    """{app id: its place} on one daemon; only the echo app, `kitapp`, runs already."""
    ports = iter(free_ports(3 * len(SERVERS) + 2))
    with echo_app() as echo_port:
        described = [(APP_ID, "http", echo_port)]
        described += [(app_id, protocol, next(ports)) for app_id, protocol in SERVERS.items()]
        apps = [Node(*each, next(ports), next(ports), TOKEN) for each in described]
        resources = {"components.yaml": components(), "apps.yaml": "".join(each.resource() for each in apps)}
        resources["bulk.yaml"] = "".join(BULK.format(app_id=app_id) for app_id in BULK_APPS)
        with running_daemon(resources, {each.app_id: "default" for each in apps}) as daemon:
            yield {each.app_id: at(daemon, each) for each in apps}


def at(daemon: Daemon, node: Node) -> Node:
    grpc_socket = daemon.grpc_socket(node.app_id)
    return Node(node.app_id, node.protocol, node.app_port, node.http_port, node.grpc_port, node.token, grpc_socket)


@pytest.fixture(scope="session")
def node(nodes: dict[str, Node]) -> Node:
    """The place of the echo app."""
    return nodes[APP_ID]


@contextmanager
def sidecar(root: Path, app_id: str, protocol: str, app_port: int) -> Iterator[Node]:
    """`noded daprd` of an app that may not be there yet; a program at its ports must end it."""
    (root / "resources").mkdir()
    (root / "resources" / "components.yaml").write_text(components().replace("@STATE_DIR@", str(root)))
    flags = ("--app-id", app_id, "--resources-path", str(root / "resources"), "--app-port", str(app_port))
    with running(root, *flags, "--app-protocol", protocol, ready=False) as started:
        yield Node(app_id, protocol, app_port, started.http_port, started.grpc_port)
        assert started.code() == 0, started.log()


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def outcomes(command: list[str], environment: Mapping[str, str]) -> dict[str, str]:
    """Run an SDK program; {case: failure}, "" for those that passed."""
    done = subprocess.run(command, env=dict(environment), capture_output=True, text=True, timeout=100, check=False)
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"case"')]
    assert done.returncode == 0, done.stdout + done.stderr
    return {line["case"]: line["failure"] for line in lines}


def fetched(command: list[str], directory: Path) -> None:
    """Run a package client, three times at most; the test is skipped where there is no registry to be reached."""
    for _ in range(3):
        done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=240, check=False)
        if done.returncode == 0:
            return
    said = done.stdout + done.stderr
    if UNREACHABLE.search(said):
        pytest.skip(f"the SDK cannot be fetched: {said[-2000:]}")
    raise AssertionError(said)


def check(case: str, outcome: str, request: pytest.FixtureRequest) -> None:
    if case in PENDING:
        request.applymarker(pytest.mark.xfail(reason=f"not built yet: {PENDING[case]}", strict=True))
    assert outcome == "", outcome
