"""A disk that is full, read-only or damaged: who is told what, and who does not notice."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.daemon.server_clients import MEMORY, SQLITE, HttpClient, app, eventually, http, operator, resources
from tests.proof.disks import read_only, small_disk
from tests.proof.node import Place, counts_of_file, place, used_stored

VALUE = "x" * 20_000
REMEDIES = {"a small disk": "make room on its disk", "a file's largest size": "ulimit -f"}
DAMAGED = b"this was a database once" * 4000


def sqlite(name: str, path: str) -> dict[str, object]:
    """Another store, in a file of its own."""
    metadata = [{"name": "connectionString", "value": path}, {"name": "keyPrefix", "value": "namespace"}]
    spec = {"type": "state.sqlite", "version": "v1", "initTimeout": "2s", "metadata": metadata}
    return {**SQLITE, "metadata": {"name": name}, "spec": spec}


def save(client: HttpClient, store: str, key: str, value: str = VALUE) -> tuple[int, str]:
    answer = client("POST", f"/v1.0/state/{store}", [{"key": key, "value": value}])
    return answer.status, answer.body.decode()


def get(client: HttpClient, store: str, key: str) -> str | None:
    answer = client("GET", f"/v1.0/state/{store}/{key}")
    assert answer.status in {200, 204}, answer
    return str(answer.json) if answer.body else None


def status_of(daemon: object, name: str) -> str:
    listing = operator(daemon, "/v1/components")  # type: ignore[arg-type]
    assert isinstance(listing, list)
    return next(str(each["status"]) for each in listing if each["name"] == name)


@contextmanager
def with_little_room(how: str) -> Iterator[tuple[Place, Path | None]]:
    """A place whose state directory can hold some megabytes; the file whose end makes room, if any."""
    with ExitStack() as stack:
        here = stack.enter_context(place(resources(SQLITE, MEMORY, app("a"), app("b")), dict.fromkeys("ab", "default")))
        ballast = None
        if how == "a small disk":
            stack.enter_context(small_disk(here.root / "state", "9m"))
            ballast = here.root / "state" / "ballast"
            ballast.write_bytes(bytes(1 << 20))
        else:
            here.runner = ("prlimit", f"--fsize={6 << 20}")
        yield here, ballast


@pytest.mark.parametrize("how", ["a small disk", "a file's largest size"])
def test_a_full_disk_refuses_what_it_cannot_keep(how: str) -> None:
    """A save that finds no room fails and says so; all that was acknowledged is there, other stores are not touched.

    With room made, saves are kept again; the counts are those of the file throughout, also after kill -9.
    """
    with with_little_room(how) as (here, ballast):
        with here.running() as daemon, http(daemon, "a") as client, http(daemon, "b") as neighbour:
            kept = 0
            while (answer := save(client, "statestore", f"k{kept}"))[0] == 204:
                kept += 1
                assert kept < 1000, "the disk never filled"
            assert kept > 10
            assert answer[0] == 500
            assert "ERR_STATE_SAVE" in answer[1]
            assert "nothing was written" in answer[1]
            assert REMEDIES[how] in answer[1]
            assert save(neighbour, "statestore", "n")[0] == 500, "the file is everyone's"
            assert save(neighbour, "memory", "n") == (204, "")
            assert [get(client, "statestore", f"k{number}") for number in range(kept)] == [VALUE] * kept
            expected = (kept, sum(len(f"default.a||k{number}") + len(VALUE) + 2 for number in range(kept)))
            assert used_stored(daemon, "default/a") == expected
            if ballast is not None:
                ballast.unlink()
                eventually(lambda: save(client, "statestore", "after")[0], lambda status: status == 204)
                expected = (kept + 1, expected[1] + len("default.a||after") + len(VALUE) + 2)
            assert used_stored(daemon, "default/a") == expected
            daemon.process.kill()
            daemon.process.wait()
        assert counts_of_file(here.root / "state" / "state.db")["default.a"] == expected
        here.runner = ()
        with here.running() as daemon, http(daemon, "a") as client:
            assert used_stored(daemon, "default/a") == expected
            assert get(client, "statestore", f"k{kept - 1}") == VALUE
            assert save(client, "statestore", "k0", "short") == (204, "")


def test_a_read_only_directory_is_one_stores_affair() -> None:
    """The store there is failed and says what to do; the daemon, its other stores and its apps are ready."""
    described = resources(SQLITE, sqlite("fixed", "@STATE_DIR@/fixed/x.db"), app("a"))
    with place(described, {"a": "default"}) as here:
        (here.root / "state").mkdir()
        with read_only(here.root / "state" / "fixed"), here.running() as daemon, http(daemon, "a") as client:
            assert save(client, "statestore", "k") == (204, "")
            status, body = save(client, "fixed", "k")
            assert (status, "ERR_STATE_STORE_NOT_FOUND" in body) == (400, True)
            told = status_of(daemon, "fixed")
            assert told.startswith("failed: ")
            assert str(here.root / "state" / "fixed") in told
            assert "make it a directory that this user may write" in told


@pytest.mark.parametrize("damage", ["no database", "a torn header", "a directory"])
def test_a_damaged_file_is_named_and_harms_no_other(damage: str) -> None:
    """The store says which file is damaged and what to do; others serve; moved away, it opens anew by itself."""
    described = resources(SQLITE, MEMORY, sqlite("hurt", "@STATE_DIR@/hurt.db"), app("a"), app("b"))
    with place(described, dict.fromkeys("ab", "default")) as here:
        hurt = here.root / "state" / "hurt.db"
        with here.running() as daemon, http(daemon, "a") as client:
            assert save(client, "hurt", "k") == (204, "")
        if damage == "a directory":
            hurt.unlink()
            hurt.mkdir()
        else:
            hurt.write_bytes(DAMAGED if damage == "no database" else b"\xff" * 100 + hurt.read_bytes()[100:])
        with here.running() as daemon, http(daemon, "a") as client, http(daemon, "b") as neighbour:
            told = status_of(daemon, "hurt")
            assert told.startswith("failed: ")
            assert str(hurt) in told
            assert str(hurt) in daemon.log()
            for each in (client, neighbour):
                assert save(each, "statestore", "k") == (204, "")
                assert save(each, "memory", "k") == (204, "")
            assert save(client, "hurt", "k")[0] == 400
            hurt.rename(hurt.with_name("away"))
            eventually(lambda: save(client, "hurt", "k")[0], lambda status: status == 204)


def test_a_damaged_page_fails_what_stands_on_it() -> None:
    """Found while it runs: what cannot be read is an error that names the file; the rest of the node goes on."""
    described = resources(SQLITE, sqlite("hurt", "@STATE_DIR@/hurt.db"), app("a"))
    with place(described, {"a": "default"}) as here:
        hurt = here.root / "state" / "hurt.db"
        with here.running() as daemon, http(daemon, "a") as client:
            for number in range(200):
                assert save(client, "hurt", f"k{number}", VALUE[:2000]) == (204, "")
        whole = hurt.read_bytes()
        middle = len(whole) // 2 // 4096 * 4096
        hurt.write_bytes(whole[:middle] + b"\x5a" * 40_960 + whole[middle + 40_960 :])
        with here.running() as daemon, http(daemon, "a") as client:
            answers = [client("GET", f"/v1.0/state/hurt/k{number}") for number in range(200)]
            statuses = {answer.status for answer in answers}
            assert statuses <= {200, 500}
            assert statuses == {200, 500}, "some of it can be read, some cannot"
            assert all(str(hurt) in answer.body.decode() for answer in answers if answer.status == 500)
            assert save(client, "statestore", "k") == (204, "")
            assert get(client, "statestore", "k") == VALUE
            assert daemon.process.poll() is None


def test_starting_leaves_a_nearly_full_disk_its_room() -> None:
    """A store fills its log in advance only where there is plenty: else the start itself would fill the disk."""
    with (
        place(resources(SQLITE, app("a")), {"a": "default"}) as here,
        small_disk(here.root / "state", "8m"),
        here.running() as daemon,
        http(daemon, "a") as client,
    ):
        assert save(client, "statestore", "k") == (204, "")
        left = os.statvfs(here.root / "state")
        assert left.f_bavail > left.f_blocks * 3 / 4
