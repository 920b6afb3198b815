"""The official Python SDK, unmodified, against the daemon: over the app's Unix socket and over its loopback port."""

import importlib.util
import os
import re
import sys
from pathlib import Path

import pytest

from tests.sdk.conftest import Node, check, outcomes

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("dapr") is None, reason="the Dapr SDK is not installed"),
]
PROGRAM = Path(__file__).with_name("python_program.py")
CASES = re.findall(r"^def (\w+)\(client: DaprClient\)", PROGRAM.read_text(), re.MULTILINE)


@pytest.fixture(scope="module", params=["unix socket", "loopback port"])
def results(request: pytest.FixtureRequest, node: Node) -> dict[str, str]:
    endpoint = f"unix:{node.grpc_socket}" if request.param == "unix socket" else f"127.0.0.1:{node.grpc_port}"
    environment = {"PATH": os.environ["PATH"], **node.environment(endpoint)}
    return outcomes([sys.executable, str(PROGRAM)], environment)


@pytest.mark.parametrize("case", CASES)
def test_python_sdk(case: str, results: dict[str, str], request: pytest.FixtureRequest) -> None:
    """What the SDK's documentation shows for this building block works."""
    check(case, results[case], request)
