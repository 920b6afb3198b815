"""What rows are replayed against: noded, or a daprd given by path; each with the echo app attached as `kitapp`."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import NamedTuple

from tests.compat.echo_app import OPENED
from tests.compat.wire import UnixConnection
from tests.daemon_process import end, running_daemon, wait_for_socket

HERE = Path(__file__).parent
APP_ID = "kitapp"
START_SECONDS = 30.0

APP_RESOURCE = """
apiVersion: noded.io/v1alpha1
kind: App
metadata: {{name: kitapp, namespace: default}}
spec:
  channel: {{protocol: http, address: "127.0.0.1:{port}"}}
"""


@dataclass(frozen=True)
class Runtime:
    """A runtime at work, ready to be asked."""

    name: str
    """`noded` or `daprd`."""
    http_socket: Path
    grpc_socket: Path
    app_port: int
    """0: there is no app."""
    process: "subprocess.Popen[bytes] | None" = None
    """Set where rows may end it."""

    def received(self, path: str, count: int) -> list[dict[str, object]]:
        """What the app was sent at `path`: waits until it is `count` requests; fewer come back at the deadline."""
        deadline = time.monotonic() + 5
        while True:
            found = [each for each in self._app("GET") if each["path"] == path]
            if len(found) >= count or time.monotonic() > deadline:
                return found
            time.sleep(0.02)

    def exit_code(self) -> int:
        """Wait for its end."""
        assert self.process is not None
        return self.process.wait(START_SECONDS)

    def forget_received(self) -> None:
        if self.app_port:
            self._app("DELETE")

    def _app(self, method: str) -> list[dict[str, object]]:
        connection = HTTPConnection("127.0.0.1", self.app_port, timeout=10)
        connection.request(method, "/_received")
        received: list[dict[str, object]] = json.load(connection.getresponse())
        connection.close()
        return received


class Setting(NamedTuple):
    """What a runtime is started with, other than by default."""

    flags: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    configuration: str = ""
    """The text of a kind Configuration."""
    components: str | None = None
    """In the place of resources/components.yaml."""


PLAIN = Setting()
NODED_DAPRD = (sys.executable, "-m", "noded.cli", "daprd")


@contextmanager
def running_with(command: Sequence[str], setting: Setting) -> Iterator[Runtime]:
    """Run daprd, or what stands in for it, with that setting and without an app."""
    with tempfile.TemporaryDirectory(prefix="daprd-") as text:
        root = Path(text)
        (root / "resources").mkdir()
        described = components() if setting.components is None else setting.components
        (root / "resources" / "components.yaml").write_text(described.replace("@STATE_DIR@", text))
        (root / "configuration.yaml").write_text(setting.configuration)
        words = [*command, "--app-id", APP_ID, "--unix-domain-socket", text, "--enable-metrics=false"]
        words += ["--resources-path", str(root / "resources"), *setting.flags]
        words += ["--config", str(root / "configuration.yaml")] if setting.configuration else []
        with (root / "log").open("wb") as log:
            environ = {**os.environ, **dict(setting.environment)}
            process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environ)
        sockets = [root / f"dapr-{APP_ID}-{protocol}.socket" for protocol in ("http", "grpc")]
        try:
            for path in sockets:
                wait_for_socket(process, path, (root / "log").read_text)
            name = "noded" if command == NODED_DAPRD else name_of(Path(command[0]))
            yield Runtime(name, sockets[0], sockets[1], 0, process)
        finally:
            end(process)


@contextmanager
def running_noded() -> Iterator[Runtime]:
    with echo_app() as port:
        resources = {"components.yaml": components(), "app.yaml": APP_RESOURCE.format(port=port)}
        with running_daemon(resources, {APP_ID: "default"}) as daemon:
            runtime = Runtime("noded", daemon.http_socket(APP_ID), daemon.grpc_socket(APP_ID), port)
            wait_until_ready(runtime)
            yield runtime


@contextmanager
def running_daprd(binary: Path) -> Iterator[Runtime]:
    with tempfile.TemporaryDirectory(prefix="daprd-") as text, echo_app() as port:
        root = Path(text)
        (root / "resources").mkdir()
        (root / "resources" / "components.yaml").write_text(components().replace("@STATE_DIR@", text))
        command = [str(binary), "--app-id", APP_ID, "--app-port", str(port), "--unix-domain-socket", text]
        command += ["--resources-path", str(root / "resources"), "--enable-metrics=false"]
        with (root / "log").open("wb") as log:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        sockets = [root / f"dapr-{APP_ID}-{protocol}.socket" for protocol in ("http", "grpc")]
        try:
            for path in sockets:
                wait_for_socket(process, path, (root / "log").read_text)
            runtime = Runtime(name_of(binary), sockets[0], sockets[1], port)
            wait_until_ready(runtime)
            yield runtime
        finally:
            end(process)


def name_of(binary: Path) -> str:
    """Whether it is daprd or `noded daprd`, whose deliberate differences the rows name."""
    version = subprocess.run([str(binary), "--version"], capture_output=True, text=True, timeout=10, check=True).stdout
    return "noded" if "noded" in version else "daprd"


def components() -> str:
    return (HERE / "resources" / "components.yaml").read_text()


@contextmanager
def echo_app() -> Iterator[int]:
    """Run the echo app; its port."""
    with subprocess.Popen(
        [sys.executable, str(HERE / "echo_app.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        yield int(process.stdout.readline())
        process.communicate()


def wait_until_ready(runtime: Runtime) -> None:
    """Return once every subscription that the app asks for is in the runtime's metadata."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if programmatic(runtime) >= OPENED:
            return
        time.sleep(0.05)
    raise RuntimeError(f"{runtime.name} subscribed only to {programmatic(runtime)}")


def programmatic(runtime: Runtime) -> set[str]:
    """The topics that the app's own subscriptions are open for."""
    connection = UnixConnection(runtime.http_socket)
    connection.request("GET", "/v1.0/metadata")
    listed = json.load(connection.getresponse()).get("subscriptions", [])
    connection.close()
    return {each["topic"] for each in listed if each["type"] == "PROGRAMMATIC"}
