"""A daemon with many apps, and what it costs: memory, descriptors, threads, tasks, time to an app's first answer."""

import json
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.daemon.server_clients import HttpClient, app, eventually, resources
from tests.daemon_process import Daemon, accepts

COMPONENTS: tuple[Mapping[str, object], ...] = tuple(
    {
        "apiVersion": "dapr.io/v1alpha1",
        "kind": "Component",
        "metadata": {"name": name},
        "spec": {"type": kind, "version": "v1", "metadata": []},
    }
    for name, kind in (("statestore", "state.in-memory"), ("pubsub", "pubsub.in-memory"))
)


def app_id(number: int) -> str:
    """The id of one of many."""
    return f"app-{number}"


def many_apps(count: int) -> dict[str, str]:
    """Resources of so many apps, in memory only."""
    return resources(*COMPONENTS, *(app(app_id(number)) for number in range(count)))


@dataclass(frozen=True)
class Footprint:
    """What a daemon holds at a moment."""

    rss_kb: float
    descriptors: int
    threads: int
    tasks: int


def footprint(daemon: Daemon, operator: HttpClient) -> Footprint:
    """Look at the process."""
    tasks = tasks_of(operator)
    process = Path("/proc", str(daemon.process.pid))
    rss = re.search(r"^Rss:\s+(\d+) kB$", (process / "smaps_rollup").read_text(), re.MULTILINE)
    assert rss is not None
    return Footprint(float(rss[1]), len([*(process / "fd").iterdir()]), len([*(process / "task").iterdir()]), tasks)


@contextmanager
def operator_of(daemon: Daemon) -> Iterator[HttpClient]:
    """One connection to the operator's side, once that is loaded."""
    eventually(lambda: accepts(daemon.admin_socket))
    with closing(HttpClient(daemon.admin_socket)) as client:
        assert client("GET", "/metrics").status == 200
        yield client


def tasks_of(operator: HttpClient) -> int:
    """The daemon's trio tasks, by its own metric."""
    page = operator("GET", "/metrics").body.decode()
    found = re.search(r"^noded_tasks (\S+)$", page, re.MULTILINE)
    assert found is not None
    return int(float(found[1]))


def attach(operator: HttpClient, name: str, channel: str = "") -> None:
    """Attach an app at run time, until it is detached. Raises AssertionError with what the daemon said.

    channel: where it listens, `host:port`; "": it only calls.
    """
    answer = operator("POST", "/v1/apps", {"appId": name, "hold": False, "loopback": False, "channel": channel})
    assert answer.status == 200, answer.body


def detach(operator: HttpClient, name: str) -> None:
    """Detach it again."""
    answer = operator("DELETE", f"/v1/apps/default/{name}")
    assert answer.status == 204, answer.body


def first_answer_seconds(daemon: Daemon, operator: HttpClient, name: str) -> float:
    """From asking for the attachment to the app's first answer."""
    began = time.perf_counter()
    attach(operator, name)
    with closing(HttpClient(daemon.http_socket(name))) as client:
        assert client("GET", "/v1.0/healthz/outbound").status == 204
    return time.perf_counter() - began


def usage_seconds(operator: HttpClient) -> tuple[float, int]:
    """How long the table of everyone's usage takes, and of how many it tells."""
    began = time.perf_counter()
    listing = json.loads(operator("GET", "/v1/usage").body)
    return time.perf_counter() - began, len(listing)
