"""state.sqlite's journal: what it made durable is read at once, is in the file in time, and outlives every crash."""

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from components.contract import EtagMismatch, InvalidEtag, Unavailable
from components.state.sqlite.recovery import journal_of
from tests.conformance.state.rig import Rig, Store, commits, count, delete, write

BUSY = 3000
"""Writes at once that are more groups than a store commits one by one."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "x.db"


def opened(rig: Rig, path: Path, journal: str = "always", **metadata: str) -> Store:
    fields = {"connectionString": str(path), "journal": journal, **metadata}
    return Store(rig, rig.open("state.sqlite", fields))


def in_file(path: Path) -> dict[str, str]:
    """What the file itself holds, as another process sees it."""
    connection = sqlite3.connect(path)
    try:
        return dict(connection.execute("SELECT key, value FROM state"))
    finally:
        connection.close()


def crash(rig: Rig, path: Path, to: Path) -> Path:
    """What a disk would hold, had the process been killed now; and new books, as a new process has them."""
    for suffix in ("", "-wal", ".noded-journal"):
        if Path(f"{path}{suffix}").exists():
            shutil.copy(f"{path}{suffix}", f"{to}{suffix}")
    rig.forget_books()
    return to


def settle(rig: Rig) -> None:
    """Let an epoch come of age and be brought in."""
    rig.advance(1)


@contextmanager
def another_process(path: Path, statement: str) -> Iterator[subprocess.Popen[bytes]]:
    """Has the file open, says so, and runs a statement when it is told to."""
    program = (
        "import sqlite3, sys\n"
        "connection = sqlite3.connect(sys.argv[1], timeout=20, isolation_level=None)\n"
        "print(connection.execute('SELECT count(*) FROM state').fetchone(), flush=True)\n"
        "sys.stdin.readline()\n"
        "connection.execute(sys.argv[2])\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(path), statement], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline()
        yield process
    finally:
        process.kill()
        process.communicate()


def test_what_the_journal_has_is_read_at_once(rig: Rig, path: Path) -> None:
    """Acknowledged is durable and readable, with its etag, before SQLite has it; soon after SQLite has it too."""
    store = opened(rig, path, cacheSize="0")
    store.set("app||key", b"1")
    assert in_file(path) == {}
    assert store.value("app||key") == b"1"
    store.set("app||key", b"2", etag=store.etag("app||key"))
    with pytest.raises((EtagMismatch, InvalidEtag)):
        store.set("app||key", b"3", etag="00000000-0000-4000-8000-000000000000")
    settle(rig)
    rig.until(lambda: in_file(path) == {"app||key": "2"})
    assert store.value("app||key") == b"2"
    assert rig.listing() == count({"app||key": b"2"})


def test_many_groups_are_one_commit(rig: Rig, path: Path) -> None:
    """However often a key was written, the file gets its last version, once."""
    store = opened(rig, path)
    before = commits(path)
    for number in range(50):
        store.set("app||key", b"%d" % number)
    settle(rig)
    rig.until(lambda: in_file(path) == {"app||key": "49"})
    assert commits(path) == before + 1


@pytest.mark.parametrize("journal", ["busy", "never"])
def test_a_busy_store_takes_to_its_journal(rig: Rig, path: Path, journal: str) -> None:
    """Who has to wait again and again is written to the journal; a single write never is."""
    store = opened(rig, path, journal)
    store.set("app||one", b"1")
    assert in_file(path) == {"app||one": "1"}
    assert not journal_of(path).exists()
    rig.run_all([store.inner.set(write(f"app||{number}", b"1")) for number in range(BUSY)])
    assert journal_of(path).exists() is (journal == "busy")
    assert rig.listing()["app"][0] == BUSY + 1
    settle(rig)
    rig.until(lambda: len(in_file(path)) == BUSY + 1)


def test_a_clean_close_leaves_no_journal(rig: Rig, path: Path) -> None:
    """What was acknowledged is in the file when it is closed, and nothing else lies about."""
    store = opened(rig, path)
    store.set("app||key", b"1")
    rig.run(store.inner.aclose())
    assert in_file(path) == {"app||key": "1"}
    assert {each.name for each in path.parent.glob("x.db*")} == {"x.db", "x.db.noded-lock"}


def test_a_crash_loses_nothing(rig: Rig, path: Path, tmp_path: Path) -> None:
    """What only the journal has is in the store that is opened next, and counted: written, changed and deleted."""
    store = opened(rig, path)
    store.set_many(*(write(f"app{number % 3}||{number}", b"old") for number in range(30)))
    settle(rig)
    rig.until(lambda: len(in_file(path)) == 30)
    kept = {f"app{number % 3}||{number}": b"old" for number in range(30)}
    for number in range(10):
        key = f"app{number % 3}||{number}"
        store.set(key, b"\xff binary %d" % number)
        kept[key] = b"\xff binary %d" % number
        store.set(key + "-new", b"")
        kept[key + "-new"] = b""
    store.transact(delete("app0||12"), write("app0||15", b"last", ttl=1000))
    del kept["app0||12"]
    kept["app0||15"] = b"last"
    etag = store.etag("app0||15")
    after = opened(rig, crash(rig, path, tmp_path / "after.db"), "busy")
    assert {key: after.value(key) for key in (*kept, "app0||12")} == {**kept, "app0||12": None}
    assert after.etag("app0||15") == etag
    assert rig.listing() == count(kept)


def test_a_crash_while_it_is_brought_in(rig: Rig, path: Path, tmp_path: Path) -> None:
    """Killed before, in, or after SQLite's commit, and again while the next start brings it in: all is there once."""
    store = opened(rig, path)
    store.set("app||key", b"1")
    before = crash(rig, path, tmp_path / "before.db")
    settle(rig)
    rig.until(lambda: in_file(path) == {"app||key": "1"})
    after = crash(rig, path, tmp_path / "after.db")
    for left in (before, after, before):
        again = opened(rig, left)
        assert again.value("app||key") == b"1"
        assert rig.listing() == count({"app||key": b"1"})
        rig.run(again.inner.aclose())
        rig.forget_books()


def test_a_journal_is_brought_in_once(rig: Rig, path: Path, tmp_path: Path) -> None:
    """What was deleted after an epoch stays deleted, although the journal of that epoch still lies there."""
    store = opened(rig, path, "busy")
    rig.run_all([store.inner.set(write(f"app||{number}", b"1")) for number in range(BUSY)])
    settle(rig)
    rig.until(lambda: len(in_file(path)) == BUSY)
    store.delete("app||7")
    left = crash(rig, path, tmp_path / "left.db")
    assert journal_of(left).exists()
    after = opened(rig, left)
    assert after.get("app||7") is None
    assert rig.listing()["app"][0] == BUSY - 1


def test_what_others_wrote_since_a_crash_stays(rig: Rig, path: Path, tmp_path: Path) -> None:
    """A daprd that had the file in between has the last word about what it changed, and about nothing else."""
    store = opened(rig, path)
    store.set_many(write("app||mine", b"1"), write("app||theirs", b"1"))
    left = crash(rig, path, tmp_path / "left.db")
    connection = sqlite3.connect(left)
    with connection:
        connection.execute("INSERT INTO state (key, value, is_binary, etag) VALUES ('app||theirs', 'new', 0, 'x')")
    connection.close()
    after = opened(rig, left)
    assert after.value("app||mine") == b"1"
    assert after.value("app||theirs") == b"new"
    rig.until(lambda: rig.listing() == count({"app||mine": b"1", "app||theirs": b"new"}))


def test_a_torn_record_is_not_brought_in(rig: Rig, path: Path, tmp_path: Path) -> None:
    """A record of which the disk has a part was told to nobody: those before it are there, it is not."""
    store = opened(rig, path)
    store.set("app||first", b"1")
    store.transact(write("app||second", b"x" * 9000), write("app||third", b"3"))
    left = crash(rig, path, tmp_path / "left.db")
    with journal_of(left).open("r+b") as journal:
        journal.seek(4096 + 8192)
        journal.write(bytes(4096))
    after = opened(rig, left)
    assert [after.value(f"app||{name}") for name in ("first", "second", "third")] == [b"1", None, None]
    assert rig.listing() == count({"app||first": b"1"})


def test_a_journal_nobody_can_read_is_named(rig: Rig, path: Path, tmp_path: Path) -> None:
    """Its writes are not dropped in silence: the store says which file it is, and what to do."""
    store = opened(rig, path)
    store.set("app||key", b"1")
    left = crash(rig, path, tmp_path / "left.db")
    journal_of(left).unlink()
    journal_of(left).mkdir()
    with pytest.raises(Unavailable, match=r"left\.db\.noded-journal.*the last writes before a crash"):
        opened(rig, left)
    journal_of(left).rmdir()
    opened(rig, left)


def test_who_else_has_the_file_sees_every_write(rig: Rig, path: Path) -> None:
    """While another process has the file open each group is committed at once, for it to see and to write between."""
    store = opened(rig, path)
    store.set("app||key", b"0")
    settle(rig)
    rig.until(lambda: in_file(path) == {"app||key": "0"})
    with another_process(path, "UPDATE state SET value = 'theirs', etag = 'x' WHERE key = 'app||key'") as other:
        store.set("app||key", b"1")
        assert in_file(path) == {"app||key": "1"}
        other.communicate(b"\n", timeout=20)
        assert other.returncode == 0
    settle(rig)
    rig.until(lambda: store.value("app||key") == b"theirs")


def test_another_s_write_waits_for_the_epoch(rig: Rig, path: Path) -> None:
    """Who opens the file within an epoch reads what it held before, and writes after it: nobody's write is undone."""
    store = opened(rig, path)
    store.set("app||key", b"mine")
    with another_process(
        path, "INSERT INTO state (key, value, is_binary, etag) VALUES ('app||new', 't', 0, 'x')"
    ) as other:
        assert other.stdin is not None
        other.stdin.write(b"\n")
        other.stdin.flush()
        settle(rig)
        rig.until(lambda: other.poll() is not None)
        assert other.returncode == 0
    assert in_file(path) == {"app||key": "mine", "app||new": "t"}
    settle(rig)
    assert store.value("app||new") == b"t"


def test_what_is_too_large_for_the_journal_goes_to_the_file(rig: Rig, path: Path) -> None:
    """A value larger than a record is committed by SQLite, after what came before it and before what comes after."""
    store = opened(rig, path)
    store.set("app||key", b"small")
    store.set("app||key", b"x" * (2 << 20))
    assert len(in_file(path)["app||key"]) == 2 << 20
    store.set("app||key", b"small again")
    assert store.value("app||key") == b"small again"
    assert rig.listing() == count({"app||key": b"small again"})


def test_a_full_journal_is_brought_in(rig: Rig, path: Path) -> None:
    """More than a journal holds passes through it: as often as it is full it is brought in, nothing is lost."""
    store = opened(rig, path)
    value = b"v" * 100_000
    kept = {f"app||{number}": value for number in range(120)}
    rig.run_all([store.inner.set(write(key, value)) for key in kept])
    assert {key: store.value(key) for key in kept} == kept
    assert rig.listing() == count(kept)
    rig.run(store.inner.aclose())
    assert set(in_file(path)) == set(kept)


def test_a_file_that_cannot_take_it(rig: Rig, path: Path) -> None:
    """Where SQLite refuses what was acknowledged it is kept and read; nothing more is taken; the next start has it."""
    store = opened(rig, path, connectionString=f"file:{path}?_pragma=max_page_count(64)")
    kept = {f"app||{number}": b"x" * 10_000 for number in range(40)}
    rig.run_all([store.inner.set(write(key, value)) for key, value in kept.items()])
    settle(rig)
    rig.until(lambda: _is_refused(rig, store))
    settle(rig)
    assert _is_refused(rig, store)
    assert {key: store.value(key) for key in kept} == kept
    assert rig.listing() == count(kept)
    rig.run(store.inner.aclose())
    rig.forget_books()
    again = opened(rig, path)
    assert {key: again.value(key) for key in kept} == kept
    assert rig.listing() == count(kept)
    again.set("app||more", b"1")


def test_a_journal_that_cannot_be_made(rig: Rig, path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The store does without and says so once, with the file and what to do; every write is in the file at once."""
    store = opened(rig, path)
    journal_of(path).mkdir()
    for number in range(3):
        store.set(f"app||{number}", b"1")
        assert in_file(path)[f"app||{number}"] == "1"
    (told,) = [each for each in caplog.messages if "goes on without a journal until the next start" in each]
    assert str(journal_of(path)) in told
    assert "make its directory one that this user may write" in told


def test_a_journal_whose_disk_fails(rig: Rig, path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Who wrote is told that nothing was written, where and what to do; the next write goes to the file."""
    store = opened(rig, path)
    store.set("app||kept", b"1")
    (written_by,) = [link for link in Path("/proc/self/fd").iterdir() if _leads_to(link, journal_of(path))]
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, int(written_by.name))
    os.close(full)
    (outcome,) = rig.outcomes([store.inner.set(write("app||lost", b"1"))])
    assert isinstance(outcome, Unavailable)
    told = f"{journal_of(path)}: No space left on device: make room on the disk of {path.parent}"
    assert f"nothing was written: {told}" in str(outcome)
    assert any(told in each for each in caplog.messages)
    store.set("app||next", b"1")
    assert in_file(path) == {"app||kept": "1", "app||next": "1"}


def _leads_to(link: Path, path: Path) -> bool:
    return link.exists() and link.readlink() == path


def _is_refused(rig: Rig, store: Store) -> bool:
    (outcome,) = rig.outcomes([store.inner.set(write("app||refused", b"1"))])
    return isinstance(outcome, Unavailable) and "nothing was written: database or disk is full: make room on" in str(
        outcome
    )


def test_expired_items_are_purged_between_epochs(rig: Rig, path: Path) -> None:
    """A store that is always busy still loses what has expired, from the file and from the books."""
    store = opened(rig, path, cleanupInterval="1s")
    store.set("app||short", b"1", ttl=2)
    for _ in range(5):
        store.set("app||long", b"1")
        settle(rig)
    rig.until(lambda: in_file(path) == {"app||long": "1"})
    rig.until(lambda: rig.listing() == count({"app||long": b"1"}))
