"""state.sqlite keeps what it acknowledged, through kill -9 and a full disk."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from components.contract import Unavailable
from tests.conformance.state.rig import Rig, Store, count, delete, write
from tests.conformance.state.writing_process import KEYS, WRITERS

ROOT = Path(__file__).parents[3]


@contextmanager
def writing(path: Path) -> Iterator[subprocess.Popen[bytes]]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.conformance.state.writing_process", str(path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, cwd=ROOT)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def acknowledged(process: subprocess.Popen[bytes], at_least: int) -> dict[str, int]:
    """Read acknowledgements, kill the process in the middle of its work, and read what it had told by then."""
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(at_least)]
    process.send_signal(signal.SIGKILL)
    lines += process.stdout.readlines()
    pairs = [line.split() for line in lines if line.endswith(b"\n")]
    return {key.decode(): int(number) for key, number in pairs}


@pytest.mark.slow
def test_kill_9_loses_nothing_acknowledged(rig: Rig, tmp_path: Path) -> None:
    """After each of several kills under load every acknowledged write is there, and the counts equal a recount."""
    path = tmp_path / "x.db"
    for at_least in (1, 500, 3000):
        with writing(path) as process:
            last = acknowledged(process, at_least)
        rig.forget_books()
        store = Store(rig, rig.open("state.sqlite", {"connectionString": str(path)}))
        stored = everything(store)
        assert rig.listing() == count(stored)
        lost = {key: number for key, number in last.items() if key not in stored or _number(stored[key]) < number}
        assert lost == {}
        rig.run(store.inner.aclose())


@pytest.mark.slow
def test_a_running_process_has_the_file_to_itself(rig: Rig, tmp_path: Path) -> None:
    """A second daemon is refused while the first one lives, and only then."""
    path = tmp_path / "x.db"
    with writing(path) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(Unavailable, match=f"{path} belongs to another running noded"):
            rig.open("state.sqlite", {"connectionString": str(path)})
    rig.open("state.sqlite", {"connectionString": str(path)})


def test_a_full_disk_refuses_writes_and_nothing_else(rig: Rig, tmp_path: Path) -> None:
    """A write without room fails, says so, and is not counted; reads and deletes work, and room made is room used."""
    full = f"file:{tmp_path / 'x.db'}?_pragma=max_page_count(64)"
    store = Store(rig, rig.open("state.sqlite", {"connectionString": full}))
    kept: dict[str, bytes] = {}

    def fill() -> None:
        for number in range(100):
            store.set(f"app||{number}", b"x" * 10_000)
            kept[f"app||{number}"] = b"x" * 10_000

    with pytest.raises(Unavailable, match="nothing was written: database or disk is full"):
        fill()
    assert len(kept) > 5
    assert rig.listing() == count(kept)
    assert store.value("app||0") == b"x" * 10_000
    assert store.get(f"app||{len(kept)}") is None
    store.delete("app||0")
    store.set("app||new", b"x" * 9_000)
    del kept["app||0"]
    kept["app||new"] = b"x" * 9_000
    assert rig.listing() == count(kept)
    assert everything(store) == kept


def test_a_group_without_room_fails_as_one(rig: Rig, tmp_path: Path) -> None:
    """When a commit fails all in it are told, also a delete, and each keeps what it had, its counts too."""
    full = f"file:{tmp_path / 'x.db'}?_pragma=max_page_count(64)"
    store = Store(rig, rig.open("state.sqlite", {"connectionString": full}))
    store.set("app||old", b"1")
    before = rig.listing()
    with pytest.raises(Unavailable, match="full"):
        store.transact(delete("app||old"), *(write(f"app||{number}", b"x" * 10_000) for number in range(100)))
    assert rig.listing() == before
    assert everything(store) == {"app||old": b"1"}


def everything(store: Store) -> dict[str, bytes]:
    """All items of the file, read by the store."""
    keys = [
        f"app{writer % 3}||{writer}-{number}{end}"
        for writer in range(WRITERS)
        for number in range(KEYS)
        for end in ("", "-gone")
    ]
    keys += [f"app||{name}" for name in ("old", "new", *range(100))]
    return {key: item.value for key, item in zip(keys, store.get_many(*keys), strict=True) if item}


def _number(value: bytes) -> int:
    return int(value.split(b" ")[0])
