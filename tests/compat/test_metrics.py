"""What daprd tells Prometheus, noded tells: the same names, types and labels. metrics.json is recorded from daprd 1.18.

And docs/metrics.md holds neither more nor less than what a daemon tells once every block was used.
"""

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.compat.metrics_scenario import (
    COMPONENTS,
    CONFIGURATION,
    RECORD,
    Families,
    Reached,
    exercise,
    families,
    greeting_app,
    running_sidecars,
    scrape,
    scraped,
    wait_until_subscribed,
)
from tests.compat.runtimes import echo_app
from tests.compat.wire import UnixConnection
from tests.daemon_process import end, wait_for_socket
from tests.daprd.sidecar_process import free_ports

DOCS = Path(__file__).parents[2] / "docs" / "metrics.md"
NOT_SERVED = frozenset({"dapr_runtime_acl_global_policy_action_allowed_total"})
"""daprd's, of a block that noded has not."""
BETWEEN_APPS = "dapr_runtime_service_invocation_"

APPS = """
apiVersion: noded.io/v1alpha1
kind: App
metadata: {{name: kitapp}}
spec:
  channel: {{protocol: http, address: "127.0.0.1:{http}"}}
  enableAppHealthCheck: true
---
apiVersion: noded.io/v1alpha1
kind: App
metadata: {{name: grpcapp}}
spec:
  channel: {{protocol: grpc, address: "127.0.0.1:{grpc}"}}
  enableAppHealthCheck: true
---
apiVersion: noded.io/v1alpha1
kind: App
metadata: {{name: caller}}
---
apiVersion: noded.io/v1alpha1
kind: App
metadata: {{name: caller, namespace: other}}
spec: {{limits: {{requestsPerSecond: 1}}}}
"""


def recorded() -> Families:
    """What daprd tells, as far as noded has the block."""
    told = json.loads(RECORD.read_text())
    return {name: (each["type"], frozenset(each["labels"])) for name, each in told.items() if name not in NOT_SERVED}


def documented() -> dict[str, tuple[str, frozenset[str]]]:
    """Name, type and labels of every metric of the page."""
    rows = [line.split(" | ") for line in DOCS.read_text().splitlines() if re.match(r"\| `\w+` \| \w+ \|", line)]
    return {row[0].strip("| `"): (row[1], frozenset(re.findall(r"`(\w+)`", row[2]))) for row in rows}


@pytest.fixture(scope="module")
def node() -> Iterator[str]:
    """What `noded serve` tells after every block was used."""
    with ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="noded-")))
        ports = {"http": stack.enter_context(echo_app()), "grpc": stack.enter_context(greeting_app())}
        (metrics_port,) = free_ports(1)
        for name in ("resources", "run", "state"):
            (root / name).mkdir()
        (root / "resources" / "all.yaml").write_text(f"{COMPONENTS}---{APPS.format(**ports)}")
        (root / "config.yaml").write_text(CONFIGURATION)
        command = [sys.executable, "-m", "noded.cli", "serve", "--resources-path", str(root / "resources")]
        command += ["--run-dir", str(root / "run"), "--state-dir", str(root / "state")]
        command += ["--config", str(root / "config.yaml"), "--metrics-port", str(metrics_port)]
        command += ["--metrics-listen-address", "127.0.0.1"]
        with (root / "log").open("wb") as log:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        stack.callback(end, process)
        apps = {}
        for app_id in ("kitapp", "grpcapp", "caller"):
            directory = root / "run" / "apps" / "default" / app_id
            apps[app_id] = Reached(*(directory / f"dapr-{app_id}-{kind}.socket" for kind in ("http", "grpc")))
            wait_for_socket(process, apps[app_id].grpc, (root / "log").read_text)
        for app in apps.values():
            wait_until_subscribed(app)
        exercise(apps)
        for _ in range(5):  # more than a second may hold
            ask(root / "run" / "apps" / "other" / "caller" / "dapr-caller-http.socket")
        wanted = frozenset(documented())
        yield scraped(wanted, lambda: scrape(metrics_port))


def ask(socket: Path) -> None:
    connection = UnixConnection(socket)
    connection.request("GET", "/v1.0/state/statemem/x")
    connection.getresponse().read()
    connection.close()


def test_a_node_tells_what_daprd_does(node: str) -> None:
    """Each of daprd's metrics of the blocks noded has, with daprd's type and labels, and the app's namespace."""
    told = {name: each for name, each in families(node).items() if name.startswith("dapr_")}

    assert told == {name: (kind, labels | {"namespace"}) for name, (kind, labels) in recorded().items()}


def test_a_sidecar_tells_what_daprd_does(tmp_path: Path) -> None:
    """To the label; a sidecar of one app calls no other, so it has nothing to tell of that."""
    told: Families = {}
    command = [sys.executable, "-m", "noded.commands.daprd"]
    wanted = {name: each for name, each in recorded().items() if not name.startswith(BETWEEN_APPS)}
    with running_sidecars(command, short(tmp_path)) as (apps, ports):
        exercise({**apps, "caller": apps["grpcapp"]})
        for name in ("dapr_component_pubsub_ingress_bulk_count", "dapr_grpc_io_client_completed_rpcs"):
            port = ports["kitapp" if "bulk" in name else "grpcapp"]
            scraped(frozenset({name}), lambda port=port: scrape(port))  # type: ignore[misc]
        for port in ports.values():
            told |= {name: each for name, each in families(scrape(port)).items() if name.startswith("dapr_")}

    assert told == wanted


def test_every_metric_is_documented_and_every_documented_one_appears(node: str) -> None:
    """With its type and labels; `namespace` and `app_id` are told of once for all."""
    common = {"app_id", "namespace"}
    told = {name: (kind, labels - common) for name, (kind, labels) in families(node).items()}

    assert told == {name: (kind, labels - common) for name, (kind, labels) in documented().items()}


def test_no_series_comes_twice(node: str) -> None:
    """Two apps of one id in two namespaces are two series."""
    series = [line.rpartition(" ")[0] for line in node.splitlines() if not line.startswith("#")]

    assert len(series) == len(set(series))
    assert 'noded_requests_total{app_id="caller",namespace="other",operation="GetState"} 1' in node


def test_buckets_rise_to_the_count(node: str) -> None:
    """A histogram's last bucket holds everything, and is its count."""
    buckets: dict[str, list[float]] = {}
    counts: dict[str, float] = {}
    for line in node.splitlines():
        series, _, value = line.rpartition(" ")
        if (match := re.fullmatch(r"(\w+)_bucket\{(.*?),?le=\"[^\"]+\"\}", series)) is not None:
            buckets.setdefault(f"{match[1]}_count{{{match[2]}}}", []).append(float(value))
        elif re.fullmatch(r"\w+_count\{.*\}", series):
            counts[series] = float(value)

    assert buckets
    for series, rising in buckets.items():
        assert rising == sorted(rising)
        assert rising[-1] == counts[series]


def test_what_waits_for_an_app_is_timed(node: str) -> None:
    """A delivery, a call between apps and the request that asked for it take time; a read from memory takes none."""
    sums = {
        re.sub(r"\{.*", "", series): float(value)
        for series, _, value in (line.rpartition(" ") for line in node.splitlines())
        if "_sum{" in series and float(value) > 0
    }

    for name in ("http_client_roundtrip_latency", "grpc_io_client_roundtrip_latency", "http_server_latency"):
        assert f"dapr_{name}_sum" in sums
    assert "dapr_component_pubsub_ingress_latencies_sum" in sums
    assert "dapr_runtime_service_invocation_res_recv_latency_ms_sum" in sums


def short(path: Path) -> Path:
    """A directory whose sockets' paths fit in 107 bytes."""
    made = Path(tempfile.mkdtemp(prefix="m-"))
    (path / "made").symlink_to(made)
    return made
