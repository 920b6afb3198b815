"""The official Python SDK, unmodified, against the TCP ports of `noded daprd`, with no token at all."""

import importlib.util
import os
import sys
from collections.abc import Iterator

import pytest

from tests.compat.runtimes import components, echo_app
from tests.daprd.sidecar_process import running
from tests.sdk.conftest import check, outcomes
from tests.sdk.test_python_sdk import CASES, PROGRAM

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("dapr") is None, reason="the Dapr SDK is not installed"),
]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    root = tmp_path_factory.mktemp("sdk")
    (root / "resources").mkdir()
    (root / "resources" / "components.yaml").write_text(components().replace("@STATE_DIR@", str(root)))
    flags = ("--app-id", "kitapp", "--resources-path", str(root / "resources"))
    with echo_app() as app_port, running(root, *flags, "--app-port", str(app_port), ready=False) as sidecar:
        sidecar.waits_for("dapr initialized. Status: Running.")
        environment = {
            "PATH": os.environ["PATH"],
            "DAPR_HTTP_PORT": str(sidecar.http_port),
            "DAPR_GRPC_PORT": str(sidecar.grpc_port),
            "DAPR_API_METHOD_INVOCATION_PROTOCOL": "grpc",
            "DAPR_HEALTH_TIMEOUT": "10",
        }
        yield outcomes([sys.executable, str(PROGRAM)], environment)


@pytest.mark.parametrize("case", CASES)
def test_python_sdk(case: str, results: dict[str, str], request: pytest.FixtureRequest) -> None:
    """What works through daprd's ports works through these."""
    check(case, results[case], request)
