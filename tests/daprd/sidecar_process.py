"""`noded daprd` as launchers run it: a process of its own, by its flags and environment alone."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, NamedTuple

SECONDS = 20.0
OURS = ("DAPR_API_TOKEN", "APP_API_TOKEN", "NAMESPACE")
STATE = """
apiVersion: dapr.io/v1alpha1
kind: Component
metadata: {name: statestore}
spec: {type: state.in-memory, version: v1}
"""


class Reply(NamedTuple):
    status: int
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Sidecar:
    """One that runs."""

    process: subprocess.Popen[str]
    http_port: int
    grpc_port: int
    root: Path

    def http(
        self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None, port: int = 0
    ) -> Reply:
        return http(port or self.http_port, method, path, body, headers)

    def log(self) -> str:
        return (self.root / "log").read_text()

    def code(self) -> int:
        """Wait for its end; its exit code."""
        return self.process.wait(SECONDS)

    def waits_for(self, text: str) -> None:
        """Wait until its log says so."""
        deadline = time.monotonic() + SECONDS
        while text not in self.log():
            assert time.monotonic() < deadline, self.log()
            assert self.process.poll() is None or text in self.log(), self.log()
            time.sleep(0.01)


def command(*flags: str) -> list[str]:
    return [sys.executable, "-m", "noded.commands.daprd", *flags]


def ended(*flags: str, environ: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run it to its own end."""
    return subprocess.run(
        command(*flags), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS, check=False,
        env=environment(environ),
    )  # fmt: skip


@contextmanager
def running(root: Path, *flags: str, environ: Mapping[str, str] | None = None, ready: bool = True) -> Iterator[Sidecar]:
    """Run it on free ports, its log in `root`, until the block ends. With `ready`, from when its HTTP port answers."""
    http_port, grpc_port = free_ports(2)
    ports = ("--dapr-http-port", str(http_port), "--dapr-grpc-port", str(grpc_port), "--enable-metrics=false")
    given = command("--app-id", "app", *ports, *flags)
    with (root / "log").open("w") as log:
        process = subprocess.Popen(
            given, stdin=subprocess.DEVNULL, stdout=log, stderr=log, text=True, env=environment(environ), cwd=root
        )
    sidecar = Sidecar(process, http_port, grpc_port, root)
    try:
        if ready:
            sidecar.waits_for("app default/app attached")
        yield sidecar
    finally:
        process.kill()
        process.wait()


def environment(more: Mapping[str, str] | None) -> dict[str, str]:
    """This process's, without what would configure a sidecar."""
    kept = {name: value for name, value in os.environ.items() if name not in OURS}
    path = os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])])
    return kept | {"PYTHONPATH": path} | dict(more or {})


def resources(root: Path, text: str = STATE) -> str:
    """Write one resource file; the directory it is in."""
    (root / "resources").mkdir()
    (root / "resources" / "resource.yaml").write_text(text)
    return str(root / "resources")


def http(
    at: int | tuple[str, int], method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None
) -> Reply:
    """One request, JSON in; `at`: a port of 127.0.0.1, or an address and a port."""
    host, port = ("127.0.0.1", at) if isinstance(at, int) else at
    with closing(HTTPConnection(host, port, timeout=SECONDS)) as connection:
        connection.request(method, path, None if body is None else json.dumps(body), dict(headers or {}))
        response = connection.getresponse()
        return Reply(response.status, response.read())


def answers(port: int) -> bool:
    with suppress(OSError, HTTPException):
        return http(port, "GET", "/v1.0/healthz/outbound").status == 204
    return False


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
