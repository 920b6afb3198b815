"""A daemon with one app that has both its Unix sockets and loopback ports, and the echo app behind it."""

import json
import socket
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.compat.runtimes import APP_ID, components, echo_app
from tests.daemon_process import running_daemon

TOKEN = "sdk-test-token-0123456789abcdef"
PENDING: dict[str, str] = {}
"""{case: what is not built yet}; it must fail until it is."""
APP = """
apiVersion: noded.io/v1alpha1
kind: App
metadata: {{name: kitapp, namespace: default}}
spec:
  channel: {{protocol: http, address: "127.0.0.1:{app_port}"}}
  loopback: {{httpPort: {http_port}, grpcPort: {grpc_port}, token: {token}}}
"""


@dataclass(frozen=True)
class Node:
    """Where an SDK finds its app's runtime."""

    grpc_socket: Path
    http_port: int
    grpc_port: int
    token: str

    def environment(self, grpc_endpoint: str) -> dict[str, str]:
        """The SDK's own variables."""
        return {
            "DAPR_GRPC_ENDPOINT": grpc_endpoint,
            "DAPR_HTTP_ENDPOINT": f"http://127.0.0.1:{self.http_port}",
            "DAPR_HTTP_PORT": str(self.http_port),
            "DAPR_GRPC_PORT": str(self.grpc_port),
            "DAPR_API_TOKEN": self.token,
            "DAPR_API_METHOD_INVOCATION_PROTOCOL": "grpc",
            "DAPR_HEALTH_TIMEOUT": "10",
        }


@pytest.fixture(scope="session")
def node() -> Iterator[Node]:
    http_port, grpc_port = free_ports(2)
    with echo_app() as app_port:
        app = APP.format(app_port=app_port, http_port=http_port, grpc_port=grpc_port, token=TOKEN)
        with running_daemon({"components.yaml": components(), "app.yaml": app}, {APP_ID: "default"}) as daemon:
            yield Node(daemon.grpc_socket(APP_ID), http_port, grpc_port, TOKEN)


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def outcomes(command: list[str], environment: Mapping[str, str]) -> dict[str, str]:
    """Run an SDK program; {case: failure}, "" for those that passed."""
    done = subprocess.run(command, env=dict(environment), capture_output=True, text=True, timeout=50, check=False)
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"case"')]
    assert done.returncode == 0, done.stdout + done.stderr
    return {line["case"]: line["failure"] for line in lines}


def check(case: str, outcome: str, request: pytest.FixtureRequest) -> None:
    if case in PENDING:
        request.applymarker(pytest.mark.xfail(reason=f"not built yet: {PENDING[case]}", strict=True))
    assert outcome == "", outcome
