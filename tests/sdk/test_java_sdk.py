"""The official Java SDK's client, unmodified: on the daemon's loopback ports and on `noded daprd`."""

import re
import shutil
from pathlib import Path

import pytest

from tests.compat.runtimes import APP_ID, echo_app
from tests.sdk.conftest import Node, check, fetched, outcomes, sidecar

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(shutil.which("java") is None, reason="java is not installed"),
]
MODULE = Path(__file__).with_name("java")
JARS = MODULE / "target" / "dependency"
CASES = re.findall(r'new Named\("(\w+)"', (MODULE / "Main.java").read_text())


@pytest.fixture(scope="session")
def java_command() -> list[str]:
    """Runs the program from its source, on the jars that the POM names."""
    if not JARS.exists():
        if shutil.which("mvn") is None:
            pytest.skip("mvn is not installed")
        fetched(["mvn", "-q", "-B", "dependency:copy-dependencies"], MODULE)
    return ["java", "-XX:TieredStopAtLevel=1", "-cp", f"{JARS}/*", str(MODULE / "Main.java")]


@pytest.fixture(scope="module")
def on_daemon(node: Node, java_command: list[str]) -> dict[str, str]:
    return outcomes(java_command, node.environment())


@pytest.fixture(scope="module")
def on_sidecar(tmp_path_factory: pytest.TempPathFactory, java_command: list[str]) -> dict[str, str]:
    with echo_app() as app_port, sidecar(tmp_path_factory.mktemp("java"), APP_ID, "http", app_port) as node:
        return outcomes([*java_command, "shutdown"], node.environment())


@pytest.mark.parametrize("case", CASES)
def test_java_sdk(case: str, on_daemon: dict[str, str], request: pytest.FixtureRequest) -> None:
    """What the SDK's documentation shows for this building block works on the daemon's loopback ports."""
    check(case, on_daemon[case], request)


@pytest.mark.parametrize("case", [*CASES, "shutdown"])
def test_java_sdk_on_daprd(case: str, on_sidecar: dict[str, str], request: pytest.FixtureRequest) -> None:
    """The same works on the ports of `noded daprd`, which ends when the SDK shuts it down."""
    check(case, on_sidecar[case], request)
