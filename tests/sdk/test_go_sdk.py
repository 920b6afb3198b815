"""The official Go SDK, unmodified, against the daemon: over the app's Unix socket and over its loopback port."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.sdk.conftest import UNREACHABLE, Node, check, outcomes

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(shutil.which("go") is None, reason="go is not installed"),
]
MODULE = Path(__file__).with_name("go")
CASES = re.findall(r'\{"(\w+)", \w+\}', (MODULE / "main.go").read_text())


def build(path: Path, package: str = ".") -> Path:
    """Build a program. The first build fetches the SDK, so its test is skipped where there is no network."""
    built = subprocess.run(
        ["go", "build", "-o", str(path), package], cwd=MODULE, capture_output=True, text=True, check=False
    )
    if UNREACHABLE.search(built.stderr):
        pytest.skip(f"the Go SDK cannot be fetched: {built.stderr}")
    assert built.returncode == 0, built.stderr
    return path


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("go") / "sdk")


@pytest.fixture(scope="module", params=["unix socket", "loopback port"])
def results(request: pytest.FixtureRequest, node: Node, program: Path) -> dict[str, str]:
    where = ["socket", str(node.grpc_socket)]
    if request.param == "loopback port":
        where = ["address", f"127.0.0.1:{node.grpc_port}"]
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "DAPR_API_TOKEN": node.token}
    return outcomes([str(program), *where], environment)


@pytest.mark.parametrize("case", CASES)
def test_go_sdk(case: str, results: dict[str, str], request: pytest.FixtureRequest) -> None:
    """What the SDK's documentation shows for this building block works."""
    check(case, results[case], request)
