"""Apps that the Python and Go SDKs serve, over HTTP and gRPC: events, dead letters, rules, invocation, batches.

Neither SDK has an API to subscribe in bulk, so declared Subscriptions ask for the batches. The Python SDK's gRPC
extension hands the events of a batch to the topic's handler; its Flask extension has no bulk route, so the app has one
of Flask's. The Go SDK's gRPC service refuses batches, so the app overrides that callback and serves it by the generated
server; its HTTP service has no bulk route, so the app has one in the service's mux. (JavaScript's `subscribeBulk` is
in test_js_sdk.py.)
"""

import importlib.util
import re
import shutil
import sys
from pathlib import Path

import pytest

from tests.sdk.conftest import Node, check, outcomes
from tests.sdk.test_go_sdk import build

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
HERE = Path(__file__).parent
PYTHON_APP = HERE / "python_app.py"
PYTHON_CASES = re.findall(r"^    (\w+),$", PYTHON_APP.read_text().partition("CASES:")[2], re.MULTILINE)
GO_CASES = re.findall(r'\{"(\w+)", \w+\}', (HERE / "go" / "app" / "main.go").read_text())


@pytest.fixture(scope="module", params=["python-http", "python-grpc"])
def python_results(request: pytest.FixtureRequest, nodes: dict[str, Node]) -> dict[str, str]:
    """A caller of an HTTP app calls by HTTP, one of a gRPC app by gRPC."""
    if importlib.util.find_spec("dapr") is None or importlib.util.find_spec("dapr.ext.flask") is None:
        pytest.skip("the Dapr SDK is not installed with its extensions")
    node = nodes[request.param]
    environment = {**node.environment(), "DAPR_API_METHOD_INVOCATION_PROTOCOL": node.protocol}
    return outcomes([sys.executable, str(PYTHON_APP)], environment)


@pytest.fixture(scope="module", params=["go-http", "go-grpc"])
def go_results(
    request: pytest.FixtureRequest, nodes: dict[str, Node], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    if shutil.which("go") is None:
        pytest.skip("go is not installed")
    program = build(tmp_path_factory.mktemp("go") / "app", "./app")
    return outcomes([str(program)], nodes[request.param].environment())


@pytest.mark.parametrize("case", PYTHON_CASES)
def test_python_app(case: str, python_results: dict[str, str], request: pytest.FixtureRequest) -> None:
    """What an app written with the SDK's server extensions expects of a runtime happens."""
    if case not in python_results:
        pytest.skip("the Flask extension has no rules")
    check(case, python_results[case], request)


@pytest.mark.parametrize("case", GO_CASES)
def test_go_app(case: str, go_results: dict[str, str], request: pytest.FixtureRequest) -> None:
    """What an app written with the SDK's service packages expects of a runtime happens."""
    check(case, go_results[case], request)
