"""The official JavaScript SDK, unmodified, as app and client, over HTTP and gRPC: on the daemon and on `noded daprd`.

The SDK speaks to TCP ports only: the app's loopback ports with their token, or `noded daprd`'s own.
"""

import re
import shutil
from pathlib import Path

import pytest

from tests.sdk.conftest import Node, check, fetched, free_ports, outcomes, sidecar

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed"),
]
MODULE = Path(__file__).with_name("js")
LIST = re.search(r"^const CASES = \[(.*?)\];", (MODULE / "main.js").read_text(), re.MULTILINE | re.DOTALL)
CASES = re.findall(r"\w+", LIST[1] if LIST else "")


@pytest.fixture(scope="session")
def js_packages() -> Path:
    """The folder whose `node_modules` has the SDK, as the lock file says."""
    if not (MODULE / "node_modules" / "@dapr" / "dapr").exists():
        if shutil.which("npm") is None:
            pytest.skip("npm is not installed")
        fetched(["npm", "ci"], MODULE)
    return MODULE


@pytest.fixture(scope="module", params=["http", "grpc"])
def on_daemon(request: pytest.FixtureRequest, nodes: dict[str, Node], js_packages: Path) -> dict[str, str]:
    return outcomes(["node", str(js_packages / "main.js")], nodes[f"js-{request.param}"].environment())


@pytest.fixture(scope="module", params=["http", "grpc"])
def on_sidecar(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, js_packages: Path
) -> dict[str, str]:
    with sidecar(tmp_path_factory.mktemp("js"), f"js-{request.param}", request.param, free_ports(1)[0]) as node:
        return outcomes(["node", str(js_packages / "main.js"), "shutdown"], node.environment())


@pytest.mark.parametrize("case", CASES)
def test_js_sdk(case: str, on_daemon: dict[str, str], request: pytest.FixtureRequest) -> None:
    """What the SDK's documentation shows for this building block works on the daemon's loopback ports."""
    check(case, on_daemon[case], request)


@pytest.mark.parametrize("case", [*CASES, "shutdown"])
def test_js_sdk_on_daprd(case: str, on_sidecar: dict[str, str], request: pytest.FixtureRequest) -> None:
    """The same works on the ports of `noded daprd`, which ends when the SDK shuts it down."""
    check(case, on_sidecar[case], request)
