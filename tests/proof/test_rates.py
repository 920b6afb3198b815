"""Rates of a real daemon under a flood: the whole of what was configured and no more, for each kind of bucket."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import pairwise

import grpc
import pytest

from noded.proto import state_pb2
from tests.daemon.server_clients import MEMORY, SQLITE, GrpcClient, HttpClient, app, eventually, quota, resources, used
from tests.daemon_process import Daemon, running_daemon
from tests.proof.isolation_names import Tenant
from tests.proof.isolation_tenant import DONE, GrpcTenant

RATE = 400
"""Requests a second."""
SIZE = 1000
"""Bytes of a body."""
SECONDS = 1.2
"""Of tokens to be seen coming back, after the burst is gone."""
TRIES = 8
"""A bucket is full after a second: while a busy machine lets nobody ask, tokens are lost by nobody's fault."""
CONNECTIONS = 3
"""Of each tenant."""
ALONE: Sequence[Tenant] = (("team", "one"),)
BOTH: Sequence[Tenant] = (("team", "one"), ("team", "two"))
BODY = b'[{"key":"k","value":"%b"}]' % (b"v" * (SIZE - len('[{"key":"k","value":""}]')))
Ask = Callable[[], int]
"""Ask once: the tokens that were taken; 0: refused."""


def over_http(daemon: Daemon, tenant: Tenant, what: str) -> tuple[Callable[[], None], Ask]:
    """(how to close, how to ask)."""
    client = HttpClient(daemon.http_socket(tenant[1], tenant[0]))
    words = {
        "requests": ("GET", "/v1.0/metadata", None),
        "bytes asked": ("POST", "/v1.0/state/memory", BODY),
        "bytes answered": ("GET", "/v1.0/state/memory/k", None),
    }[what]

    def ask() -> int:
        answer = client(*words)
        assert answer.status in {200, 204, 429}, answer
        cost = {"requests": 1, "bytes asked": SIZE, "bytes answered": len(answer.body)}[what]
        return 0 if answer.status == 429 else cost

    return client.close, ask


def over_grpc(daemon: Daemon, tenant: Tenant, what: str) -> tuple[Callable[[], None], Ask]:
    if what == "requests":
        noting = GrpcTenant(daemon, tenant)
        return noting.close, lambda: int(noting.note("k", "v") == DONE)
    client = GrpcClient(f"unix:{daemon.grpc_socket(tenant[1], tenant[0])}")
    save = state_pb2.SaveStateRequest(store_name="memory")
    save.states.add(key="k", value=BODY)
    get = state_pb2.GetStateRequest(store_name="memory", key="k")

    def ask() -> int:
        try:
            if what == "bytes asked":
                client("SaveState", save)
                return save.ByteSize()
            return client("GetState", get).ByteSize()
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
                raise
            return 0

    return client.close, ask


@dataclass
class Flood:
    """Askers without a pause, and when they were told what."""

    daemon: Daemon
    what: str
    enough: int
    """Tokens after which each goes on to its next refusal and ends."""
    taken: list[tuple[float, float, int]] = field(default_factory=list)
    """(asked, answered, tokens)"""
    refused: list[tuple[float, float]] = field(default_factory=list)

    def run(self, tenants: Sequence[Tenant]) -> None:
        """On several connections of each tenant, of both protocols."""
        threads = [
            threading.Thread(target=self._ask, args=connect(self.daemon, tenant, self.what))
            for tenant in tenants
            for connect in (over_http, over_http, over_grpc)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _ask(self, close: Callable[[], None], ask: Ask) -> None:
        deadline = time.monotonic() + 40
        with closing(_Closing(close)):
            while time.monotonic() < deadline:
                began, tokens, ended = time.monotonic(), ask(), time.monotonic()
                if tokens:
                    self.taken.append((began, ended, tokens))
                    continue
                self.refused.append((began, ended))
                if self.total >= self.enough:
                    return

    @property
    def total(self) -> int:
        """Tokens taken so far."""
        return sum(tokens for _, _, tokens in self.taken)

    @property
    def spent(self) -> tuple[float, float]:
        """When the burst was gone: the first refusal, asked and answered."""
        return min(self.refused, key=lambda moments: moments[1])

    def came_back(self) -> tuple[int, float, int, float]:
        """Tokens since the burst was gone: at most, in at least so many seconds; at least, in at most so many."""
        asked, answered = self.spent
        most = sum(tokens for _, ended, tokens in self.taken if ended >= asked)
        least = sum(tokens for began, _, tokens in self.taken if began >= answered)
        last = max(ended for _, ended, _ in self.taken)
        return most, max(self.refused)[0] - answered, least, last - asked

    @property
    def seconds(self) -> float:
        """From the first that was taken to the last: at most."""
        return max(ended for _, ended, _ in self.taken) - min(self.taken)[0]

    @property
    def starved_seconds(self) -> float:
        """The longest that no answer came."""
        moments = sorted([ended for _, ended, _ in self.taken] + [ended for _, ended in self.refused])
        return max(later - sooner for sooner, later in pairwise(moments))


class _Closing:
    def __init__(self, close: Callable[[], None]) -> None:
        self.close = close


def described(scope: str, limits: Mapping[str, object]) -> dict[str, str]:
    """The resources: the one bucket that is looked at."""
    own = limits if scope == "app" else {}
    total = {"namespace": [quota("all", "team", total=limits)], "node": [quota("all", None, total=limits)]}
    apps = (app(app_id, namespace, limits=own) for namespace, app_id in BOTH)
    return resources(SQLITE, MEMORY, *apps, *total.get(scope, []))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "scope"),
    [
        *(("requests", scope) for scope in ("app", "namespace", "node")),
        *(("bytes asked", scope) for scope in ("app", "namespace", "node")),
        ("bytes answered", "app"),
    ],
)
def test_a_flood_gets_its_rate_within_one_percent(what: str, scope: str) -> None:
    """On any number of connections, HTTP and gRPC together, an app alone or all that share a ceiling.

    A bucket begins full with one second's worth; then, while it is asked all the time, rate * seconds come back.
    """
    limit, rate, grain = ("requestsPerSecond", RATE, 1) if what == "requests" else ("bytesPerSecond", RATE * SIZE, SIZE)
    if what == "bytes answered":
        grain *= 2 * CONNECTIONS  # known afterwards only: each may be answered once where little is left
    subject = {"app": "team/one", "namespace": "team", "node": "node"}[scope]
    for _ in range(TRIES):
        with running_daemon(described(scope, {limit: rate}), dict.fromkeys(("one", "two"), "team")) as daemon:
            if what == "bytes answered":
                _put_one(daemon, subject)
            flood = Flood(daemon, what, int(rate * (1 + SECONDS)))
            flood.run(ALONE if scope == "app" else BOTH)
            told = used(daemon, subject)[limit]
        most, at_least_seconds, least, at_most_seconds = flood.came_back()
        assert least <= 1.01 * rate * at_most_seconds + grain
        assert flood.total <= rate + rate * flood.seconds + grain
        assert told["allowed"] == rate
        assert told["refused"] >= len(flood.refused)
        if most >= 0.99 * rate * at_least_seconds - grain:
            return
    raise AssertionError(f"{most} in {at_least_seconds} s; for {flood.starved_seconds} s nobody was answered")


def _put_one(daemon: Daemon, subject: str) -> None:
    """Save what is to be read, and let what that took come back."""
    close, ask = over_http(daemon, ALONE[0], "bytes asked")
    assert ask()
    close()
    eventually(lambda: used(daemon, subject)["bytesPerSecond"]["used"] == 0)


def test_a_rate_that_is_not_used_comes_back() -> None:
    """What the operator is told of a bucket is how it is now, not how it was when its app last asked."""
    with running_daemon(described("app", {"requestsPerSecond": RATE}), {"one": "team"}) as daemon:
        close, ask = over_http(daemon, ("team", "one"), "requests")
        with closing(_Closing(close)):
            while ask():
                pass
        time.sleep(0.2)
        assert used(daemon, "team/one")["requestsPerSecond"]["used"] <= 0.95 * RATE
