"""Rates of a real daemon under a flood: never more than rate and burst allow, and the whole of it for who asks."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from tests.daemon.server_clients import SQLITE, HttpClient, app, quota, resources, used
from tests.daemon_process import Daemon, running_daemon
from tests.proof.isolation_names import Tenant
from tests.proof.isolation_tenant import DONE, GrpcTenant

RATE = 150
SECONDS = 1.2
"""Of tokens to be seen coming back, after the burst is gone."""
APPS = {"alone": "default", "one": "team", "two": "team"}


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    described = resources(
        SQLITE,
        app("alone", limits={"requestsPerSecond": RATE}),
        app("one", "team"),
        app("two", "team"),
        quota("team", "team", total={"requestsPerSecond": RATE}),
    )
    with running_daemon(described, APPS) as running:
        yield running


def over_http(daemon: Daemon, tenant: Tenant) -> tuple[Callable[[], None], Callable[[], bool]]:
    """(how to close, how to ask once: whether it was admitted)."""
    client = HttpClient(daemon.http_socket(tenant[1], tenant[0]))

    def ask() -> bool:
        status = client("GET", "/v1.0/metadata").status
        assert status in {200, 429}
        return status == 200

    return client.close, ask


def over_grpc(daemon: Daemon, tenant: Tenant) -> tuple[Callable[[], None], Callable[[], bool]]:
    client = GrpcTenant(daemon, tenant)
    return client.close, lambda: client.note("k", "v") == DONE


def flood(daemon: Daemon, tenants: list[Tenant], admitted_wanted: int) -> tuple[int, float]:
    """Ask without pause on several connections of both protocols until so many were admitted.

    Returns how many were, and the seconds from before the first to after the last.
    """
    admitted: list[float] = []
    enough = threading.Event()
    deadline = time.monotonic() + 40

    def work(tenant: Tenant, connect: Callable[..., tuple[Callable[[], None], Callable[[], bool]]]) -> None:
        close, ask = connect(daemon, tenant)
        with closing(_Closing(close)):
            while not enough.is_set() and time.monotonic() < deadline:
                if ask():
                    admitted.append(time.monotonic())
                    if len(admitted) >= admitted_wanted:
                        enough.set()

    began = time.monotonic()
    threads = [
        threading.Thread(target=work, args=(tenant, connect))
        for tenant in tenants
        for connect in (over_http, over_http, over_grpc)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(admitted) >= admitted_wanted, "the rate was never given"
    return len(admitted), max(admitted) - began


class _Closing:
    def __init__(self, close: Callable[[], None]) -> None:
        self.close = close


@pytest.mark.parametrize(
    "tenants", [[("default", "alone")], [("team", "one"), ("team", "two")]], ids=["app", "namespace"]
)
def test_a_flood_gets_its_rate_and_no_more(daemon: Daemon, tenants: list[Tenant]) -> None:
    """On any number of connections, HTTP and gRPC together, an app alone or several that share a ceiling.

    A bucket holds one second's worth, so in any window no more than rate * seconds + rate is admitted.
    """
    admitted, seconds = flood(daemon, tenants, int(RATE * (1 + SECONDS)))
    assert admitted <= RATE * seconds + RATE
    subject = "/".join(tenants[0]) if len(tenants) == 1 else "team"
    told = used(daemon, subject)["requestsPerSecond"]
    assert told["allowed"] == RATE
    assert told["refused"] > 0


def test_a_rate_that_is_not_used_comes_back(daemon: Daemon) -> None:
    """What the operator is told of a bucket is how it is now, not how it was when its app last asked."""
    close, ask = over_http(daemon, ("default", "alone"))
    with closing(_Closing(close)):
        while ask():
            pass
    time.sleep(0.2)
    assert used(daemon, "default/alone")["requestsPerSecond"]["used"] <= 0.95 * RATE
