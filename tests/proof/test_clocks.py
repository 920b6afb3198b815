"""A clock that jumps: what expires, what stays, and what is counted, also for stores that are open meanwhile."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from components.contract import Surroundings
from tests.conformance.state.rig import Rig, Store, count, write
from tests.daemon.server_clients import MEMORY, SQLITE, HttpClient, app, eventually, http, resources
from tests.proof.node import counts_of_file, place, used_stored

YEAR = 365 * 86_400.0
BACKENDS = ("state.in-memory", "state.sqlite")


class JumpingRig(Rig):
    """A node whose wall clock jumps; what is to happen later goes by one that does not."""

    jumped = 0.0
    """Seconds that the wall clock is ahead."""

    @property
    def surroundings(self) -> Surroundings:
        return replace(super().surroundings, now=lambda: self.time + self.jumped)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[JumpingRig]:
    made = JumpingRig(tmp_path)
    yield made
    made.close()


@pytest.fixture(params=BACKENDS)
def store(rig: JumpingRig, request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    metadata = {"connectionString": str(tmp_path / "x.db"), "cleanupInterval": "1s"}
    return Store(rig, rig.open(request.param, {} if request.param == "state.in-memory" else metadata))


def test_a_jump_ahead_expires_what_had_time_and_nothing_else(rig: JumpingRig, store: Store) -> None:
    """A year at once: hidden at once, purged and given back soon; what has no time to live stays, counted exactly."""
    store.transact(*(write(f"app||t{number}", b"v", ttl=3600) for number in range(1200)))
    store.set("app||stays", b"here")
    rig.jumped += YEAR
    assert store.get("app||t0") is None
    assert store.value("app||stays") == b"here"
    purged = {"app||stays": b"here"}
    rig.advance(10)
    rig.until(lambda: rig.listing() == count(purged))
    store.set("app||t0", b"again")
    assert store.value("app||t0") == b"again"


def test_a_jump_back_expires_nothing_early(rig: JumpingRig, store: Store) -> None:
    """A year back: all is there, what expires has longer; new items live as long as they were given."""
    store.transact(write("app||old", b"v", ttl=60))
    store.set("app||stays", b"here")
    rig.jumped -= YEAR
    rig.advance(5)
    assert store.value("app||old") == b"v"
    store.transact(write("app||new", b"v", ttl=3))
    assert store.value("app||new") == b"v"
    rig.advance(2)
    assert store.value("app||new") == b"v"
    rig.advance(2)
    assert store.get("app||new") is None
    assert store.value("app||old") == b"v"
    assert store.value("app||stays") == b"here"
    rig.jumped += YEAR
    rig.advance(120)
    rig.until(lambda: rig.listing() == count({"app||stays": b"here"}))


def test_a_clock_that_jumps_both_ways_loses_no_item(rig: JumpingRig, store: Store) -> None:
    """To and fro, as a board without a battery does before it finds a time server: counts end exact."""
    for jump in (YEAR, -2 * YEAR, 10.0, -10.0, YEAR, -YEAR / 2):
        rig.jumped += jump
        store.transact(write("app||t", b"v", ttl=30), write("app||stays", str(jump).encode()))
        assert store.value("app||t") == b"v"
        rig.advance(3)
        assert store.value("app||t") == b"v"
    rig.advance(60)
    rig.until(lambda: rig.listing() == count({"app||stays": str(-YEAR / 2).encode()}))
    assert store.value("app||stays") == str(-YEAR / 2).encode()


@pytest.mark.skipif(shutil.which("faketime") is None, reason="faketime is not installed: no clock of a daemon to move")
def test_a_daemons_clock_may_jump_under_it(tmp_path: Path) -> None:
    """Requests, rates and deadlines go by a clock that does not jump; items expire by the one that does."""
    moved = tmp_path / "clock"
    environment = {
        "FAKETIME_TIMESTAMP_FILE": str(moved),
        "FAKETIME_NO_CACHE": "1",
        "DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    limited = app("a", limits={"requestsPerSecond": 1000})
    moved.write_text("+0")
    with place(resources(SQLITE, MEMORY, limited), {"a": "default"}) as here:
        here.environment = environment | {"LD_PRELOAD": preloaded()}
        with here.running() as daemon, http(daemon, "a") as client:
            for store in ("statestore", "memory"):
                assert save(client, store, "t", "3600") == 204
                assert save(client, store, "stays") == 204
            for jump in (400, -400, 0, 400):
                moved.write_text(f"{jump:+d}d")
                for store in ("statestore", "memory"):
                    path = f"/v1.0/state/{store}/t"
                    if jump > 0:
                        eventually(lambda path=path: client("GET", path).status, lambda status: status == 204)  # type: ignore[misc]
                    assert client("GET", f"/v1.0/state/{store}/stays").body == b'"v"'
                    assert save(client, store, "t", "3600") == 204
                    assert client("GET", path).body == b'"v"'
            moved.write_text("+800d")
            eventually(lambda: used_stored(daemon, "default/a")[0], lambda keys: keys == 2)
            assert counts_of_file(daemon.state_dir / "state.db")["default.a"][0] == 1


def preloaded() -> str:
    """The library that moves the clock; `faketime` itself would stand between the daemon and its signals."""
    told = subprocess.run(["faketime", "-m", "-f", "+0", "printenv", "LD_PRELOAD"], capture_output=True, check=True)
    return told.stdout.decode().strip()


def save(client: HttpClient, store: str, key: str, ttl: str = "-1") -> int:
    item = {"key": key, "value": "v", "metadata": {"ttlInSeconds": ttl}}
    return client("POST", f"/v1.0/state/{store}", [item]).status
