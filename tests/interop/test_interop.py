"""Real gRPC implementations against the daemon: grpcio, grpc-go, @grpc/grpc-js and grpc-java, all kinds of call.

Each driver makes the calls of table.py to an app behind the daemon (by `dapr-app-id`) and to the daemon itself.
"""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.daemon.server_clients import app, resources
from tests.daemon_process import running_daemon
from tests.interop.echo_service import EchoService
from tests.interop.table import CALLS, DAPR, LEAVING, Call, told
from tests.sdk.conftest import UNREACHABLE, free_ports
from tests.sdk.test_java_sdk import java_command
from tests.sdk.test_js_sdk import js_packages

__all__ = ["java_command", "js_packages"]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
HERE = Path(__file__).parent
TOKEN = "interop-token-0123456789abcdef"
DRIVERS = ("python socket", "python port", "go socket", "go port", "js socket", "js port", "java port")
KINDS = {"statestore": "state.in-memory", "pubsub": "pubsub.in-memory"}
COMPONENTS = [
    {"apiVersion": "dapr.io/v1alpha1", "kind": "Component", "metadata": {"name": name}, "spec": {"type": kind}}
    for name, kind in KINDS.items()
]
Outcome = dict[str, object]


@dataclass(frozen=True)
class Caller:
    """Where an app that calls finds its runtime."""

    socket: Path
    port: int
    echo: EchoService


@pytest.fixture(scope="module")
def caller() -> Iterator[Caller]:
    echo = EchoService()
    http_port, grpc_port = free_ports(2)
    described = resources(
        *COMPONENTS,
        app("caller", loopback={"httpPort": http_port, "grpcPort": grpc_port, "token": TOKEN}),
        app("echo", channel={"protocol": "grpc", "address": f"127.0.0.1:{echo.port}"}),
    )
    with running_daemon(described, {"caller": "default", "echo": "default"}) as daemon:
        yield Caller(daemon.grpc_socket("caller"), grpc_port, echo)
    echo.stop()


@pytest.fixture(scope="session")
def go_driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("go") / "driver"
    command = ["go", "build", "-o", str(path), "."]
    built = subprocess.run(command, cwd=HERE / "go", capture_output=True, text=True, check=False)
    if UNREACHABLE.search(built.stderr):
        pytest.skip(f"grpc-go cannot be fetched: {built.stderr}")
    assert built.returncode == 0, built.stderr
    return path


def command(language: str, request: pytest.FixtureRequest) -> list[str]:
    """Start a language's driver; the test is skipped where its tools are absent."""
    tool = {"python": sys.executable, "js": "node"}.get(language, language)
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")
    if language == "python":
        return [tool, str(HERE / "python_driver.py")]
    if language == "go":
        return [str(request.getfixturevalue("go_driver"))]
    if language == "js":
        request.getfixturevalue("js_packages")
        return [tool, str(HERE / "js" / "driver.js")]
    return [*request.getfixturevalue("java_command")[:-1], str(HERE / "java" / "Driver.java")]


@pytest.fixture(scope="module", params=DRIVERS)
def outcomes(request: pytest.FixtureRequest, caller: Caller) -> dict[str, Outcome]:
    """{case: what came of it}, of one driver over one transport; and what the app saw, under ""."""
    language, transport = request.param.split()
    target = f"unix:{caller.socket}" if transport == "socket" else f"127.0.0.1:{caller.port}"
    always = {"dapr-app-id": "echo", **({} if transport == "socket" else {"dapr-api-token": TOKEN})}
    lines = [json.dumps(call.request(addressed(call, always))) + "\n" for call in CALLS]
    left, hung = caller.echo.left, len(caller.echo.seconds_left)
    driver = [*command(language, request), target]
    done = subprocess.run(driver, input="".join(lines), capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    seen = {outcome["case"]: outcome for outcome in map(json.loads, done.stdout.splitlines())}
    return seen | {"": {"left": departures(caller, left), "seconds left": caller.echo.seconds_left[hung:]}}


def addressed(call: Call, always: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in always.items() if name != "dapr-app-id" or not call.path.startswith(DAPR)}


def departures(caller: Caller, before: int) -> int:
    """How many callers left the app; waits until it has noticed them all."""
    deadline = time.monotonic() + 10
    while caller.echo.left - before < len(LEAVING) and time.monotonic() < deadline:
        time.sleep(0.02)
    return caller.echo.left - before


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.case)
def test_call(call: Call, outcomes: dict[str, Outcome]) -> None:
    """Every implementation finds the status, the messages and the metadata that the other side gave."""
    outcome = outcomes[call.case]
    initial, trailing = outcome["initial"], outcome["trailing"]
    assert isinstance(initial, dict)
    assert isinstance(trailing, dict)

    assert call.code == outcome["code"], outcome
    assert call.message in str(outcome["message"]), outcome
    assert call.initial.items() <= initial.items()
    assert call.trailing.items() <= trailing.items()
    if call.received is not None:
        assert [told(each) for each in call.received] == outcome["received"]


def test_the_app_notices_who_leaves(outcomes: dict[str, Outcome]) -> None:
    """A deadline and a cancellation of the caller reach the app's own call."""
    assert len(LEAVING) <= int(str(outcomes[""]["left"]))


def test_the_app_is_told_the_deadline(outcomes: dict[str, Outcome]) -> None:
    """The app's call has the time that its caller has left."""
    limited = outcomes[""]["seconds left"]
    assert isinstance(limited, list)
    assert limited[0] is not None
    assert 0 < limited[0] < 5  # its half second, rounded up by grpcio; another call has thirty
