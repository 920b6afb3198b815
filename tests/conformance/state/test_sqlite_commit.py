"""state.sqlite's group commit, its cache, and its bounds."""

import sqlite3
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from components.contract import NOT_AT_HAND, InvalidRequest, Item, StateStore, StoreAtHand, StoreKey, Unavailable
from components.state.changes import Version
from components.state.sqlite.cache import Cache
from components.state.sqlite.file import count as count_all
from components.state.sqlite.file import open_database
from components.state.sqlite.recount import Recount
from components.state.sqlite.settings import read_settings
from components.state.sqlite.statements import Statements
from noded.lanes import NotInline, step
from tests.conformance.state.rig import Rig, Store, TrioLaneStore, commits, count, write


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "x.db"


def opened(rig: Rig, path: Path, **metadata: str) -> Store:
    return Store(rig, rig.open("state.sqlite", {"connectionString": str(path), **metadata}))


class Pending:
    """A write under way."""

    def __init__(self, store: StateStore, key: str, value: bytes) -> None:
        self.outcomes: list[BaseException | None] = []
        step(store.set(write(key, value)), lambda _, error: self.outcomes.append(error))


def closed_store(rig: Rig, path: Path, items: dict[str, bytes]) -> None:
    """Leave a file with these items, which no cache knows."""
    store = opened(rig, path)
    store.set_many(*(write(key, value) for key, value in items.items()))
    rig.run(store.inner.aclose())


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Another process's write transaction, which the writer has to wait for."""
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")
    finally:
        connection.close()


def test_writes_that_come_together_are_one_commit(rig: Rig, path: Path) -> None:
    """All that arrived while the last commit was syncing goes into the next one, across owners."""
    store = opened(rig, path)
    before = commits(path)
    with locked(path):
        pending = [Pending(store.inner, f"app{number}||key", b"1") for number in range(200)]
    rig.until(lambda: all(each.outcomes == [None] for each in pending))
    assert commits(path) - before <= 3
    assert rig.listing() == count({f"app{number}||key": b"1" for number in range(200)})


@pytest.mark.parametrize("cache", ["0", "16Mi"])
def test_a_read_after_an_acknowledged_write_sees_it(rig: Rig, path: Path, cache: str) -> None:
    """However reads and commits race: who was acknowledged, and reads, gets that write or a later one."""
    store = opened(rig, path, cacheSize=cache)

    async def write_then_read(number: int) -> bool:
        key = StoreKey(f"app||{number % 3}")
        await store.inner.get(key)
        await store.inner.set(write(key, b"%d" % number))
        item = await store.inner.get(key)
        return item is not None and int(item.value) >= number

    for start in range(0, 600, 100):
        assert all(rig.run_all([write_then_read(number) for number in range(start, start + 100)]))


def test_what_was_read_or_written_lately_is_at_hand(rig: Rig, path: Path) -> None:
    """Keys that hold nothing, and items, are had without waiting once they are known, and not before."""
    closed_store(rig, path, {"app||old": b"1"})
    store = opened(rig, path)
    assert isinstance(store.inner, StoreAtHand)
    for key in (StoreKey("app||old"), StoreKey("app||none")):
        assert store.inner.get_now(key) is NOT_AT_HAND
        read = store.get(key)
        assert store.inner.get_now(key) == read
    store.set("app||new", b"2")
    assert store.inner.get_now(StoreKey("app||new")) == store.get("app||new")


def test_nothing_uncommitted_is_read(rig: Rig, path: Path) -> None:
    """While a write waits for its commit everybody reads what was there before it."""
    store = opened(rig, path)
    store.set("app||key", b"1")
    with locked(path):
        pending = Pending(store.inner, "app||key", b"2")
        rig.loop.call_later(0.05, rig.loop.stop)
        rig.loop.run_forever()
        assert store.value("app||key") == b"1"
        assert pending.outcomes == []
    rig.until(lambda: pending.outcomes == [None])
    assert store.value("app||key") == b"2"


class PendingRead:
    """A read under way."""

    def __init__(self, store: Store, key: str) -> None:
        self.values: list[bytes | BaseException | None] = []
        step(
            store.inner.get(StoreKey(key)),
            lambda item, error: self.values.append(error or (None if item is None else item.value)),
        )


def test_a_read_overtaken_by_a_commit(rig: Rig, path: Path) -> None:
    """A read that began before a commit of its key gets the commit's item; what it had read itself reaches nobody."""
    closed_store(rig, path, {"app||key": b"old"})
    store = opened(rig, path, cacheSize="0")
    with rig.holding("sqlite-read") as has_read:
        early = PendingRead(store, "app||key")
        rig.until(has_read)
        store.set("app||key", b"new")
        assert early.values == [b"new"]
        late = PendingRead(store, "app||key")
    rig.until(lambda: late.values != [])
    assert late.values == [b"new"]


def test_a_read_overtaken_by_another_process(rig: Rig, path: Path) -> None:
    """What was read before another process's change was noticed is not kept in the cache after it."""
    closed_store(rig, path, {"app||key": b"old", "app||other": b"1"})
    store = opened(rig, path)
    assert store.value("app||other") == b"1"
    with rig.holding("sqlite-read") as has_read:
        early = PendingRead(store, "app||key")
        rig.until(has_read)
        connection = sqlite3.connect(path)
        connection.execute("UPDATE state SET value = 'new', etag = 'x' WHERE key = 'app||key'")
        connection.commit()
        connection.close()
        rig.advance(1)
        store.set("app||other", b"2")
    rig.until(lambda: early.values == [b"old"])
    assert store.value("app||key") == b"new"


def test_one_failed_read_is_told_and_not_kept(rig: Rig, path: Path) -> None:
    """A value damaged in the file fails its own read, every time, and no other."""
    closed_store(rig, path, {"app||bad": b"1", "app||good": b"2"})
    connection = sqlite3.connect(path)
    connection.execute("UPDATE state SET value = 'no base64!', is_binary = 1 WHERE key = 'app||bad'")
    connection.commit()
    connection.close()
    store = opened(rig, path)
    reads = [store.inner.get(StoreKey(key)) for key in ("app||bad", "app||good")]
    bad, good = rig.outcomes(reads)
    assert isinstance(bad, Unavailable)
    assert "the value of app||bad is damaged" in str(bad)
    assert isinstance(good, Item)
    store.set("app||bad", b"3")
    assert store.value("app||bad") == b"3"


def test_a_read_waits_no_longer_than_the_timeout(rig: Rig, path: Path) -> None:
    """A disk that hangs on a read is told to the app in time, and the next read asks anew."""
    closed_store(rig, path, {"app||key": b"1"})
    store = opened(rig, path, timeout="2s")
    with rig.holding("sqlite-read"):
        read = PendingRead(store, "app||key")
        rig.advance(4)
        assert "no answer within the timeout" in str(read.values[0])
    assert store.value("app||key") == b"1"


def test_commits_during_a_recount_are_counted_once() -> None:
    """Between two slices items before and after the place counted to are made, changed and removed."""
    statements = Statements("state", "metadata")
    settings = read_settings("x", {"connectionString": ":memory:"}, Path())
    connection, *_ = open_database("x", settings, statements)
    insert = "INSERT OR REPLACE INTO state (key, value, is_binary, etag) VALUES (?, ?, 0, 'e')"
    connection.executemany(insert, [(f"app||{number:03}", "1") for number in range(0, 500, 2)])
    recount = Recount(statements)
    assert not recount.slice(connection)
    before: dict[StoreKey, Version | None] = {}
    after: dict[StoreKey, Version | None] = {}
    for number in (2, 3, 498, 499):
        key = StoreKey(f"app||{number:03}")
        before[key] = None if number % 2 else Version("e", None, 1)
        after[key] = Version("e", None, 3)
        connection.execute(insert, (key, "333"))
    for number in (4, 496):
        key = StoreKey(f"app||{number:03}")
        before[key], after[key] = Version("e", None, 1), None
        connection.execute("DELETE FROM state WHERE key = ?", (key,))
    recount.note(after, before)
    while not recount.slice(connection):
        pass
    assert recount.totals == count_all(connection, statements)
    connection.close()


def test_a_lock_held_too_long_fails_the_write(rig: Rig, path: Path) -> None:
    """After busyTimeout the writer gives up, says why, and charges nothing; the store lives on."""
    store = opened(rig, path, busyTimeout="50ms")
    with locked(path), pytest.raises(Unavailable, match="nothing was written: database is locked"):
        store.set("app||key", b"1")
    assert rig.listing() == {}
    store.set("app||key", b"1")


def test_the_queue_of_writes_is_bounded(rig: Rig, path: Path) -> None:
    """When the disk does not keep up, who has half of the queue is refused, naming it; what was accepted is done."""
    store = opened(rig, path, busyTimeout="20s")
    value = b"x" * (1 << 20)
    with locked(path):
        accepted = [Pending(store.inner, f"app||{number}", value) for number in range(70)]
        refused = [each for each in accepted if each.outcomes]
        assert 35 < len(refused) < 45
        assert all("queue of writes is full" in str(each.outcomes[0]) for each in refused)
        another = [Pending(store.inner, f"other||{number}", value) for number in range(10)]
        assert not any(each.outcomes for each in another), "one owner never fills it for the others"
    accepted = [each for each in accepted if each not in refused] + another
    rig.until(lambda: all(each.outcomes for each in accepted))
    assert all(each.outcomes == [None] for each in accepted)


def test_a_write_does_not_wait_for_all_that_another_owner_queued(rig: Rig, path: Path) -> None:
    """Owners take turns: one write goes with the next group, however many another's were there before it."""
    store = opened(rig, path, busyTimeout="20s")
    with locked(path):
        flood = [Pending(store.inner, f"flood||{number}", b"1") for number in range(3000)]
        quiet = Pending(store.inner, "quiet||key", b"1")
    rig.until(lambda: bool(quiet.outcomes))
    assert sum(bool(each.outcomes) for each in flood) < 600
    rig.until(lambda: all(each.outcomes == [None] for each in flood))


def test_a_value_that_is_written_is_not_kept_for_those_before_it(rig: Rig, path: Path) -> None:
    """Behind another's flood of small writes large ones come and go: what is done takes no memory till that ends."""
    store = opened(rig, path, busyTimeout="20s", cacheSize="0")
    value = bytes(1 << 20)
    unused = sys.getrefcount(value)
    done: list[BaseException | None] = []
    with ExitStack() as held:

        def settled(_: object, error: BaseException | None) -> None:
            done.append(error)
            held.enter_context(rig.holding("sqlite-write-store"))  # what is written next is not told

        with locked(path):
            flood = [Pending(store.inner, f"flood||{number}", b"1") for number in range(300)]
            step(store.inner.set(write("quiet||key", value)), settled)
        rig.until(lambda: bool(done))
        assert done == [None]
        assert not flood[-1].outcomes
        rig.until(lambda: sys.getrefcount(value) == unused)


def test_a_write_waits_no_longer_than_the_timeout(rig: Rig, path: Path) -> None:
    """A disk that hangs is told to the app in time; the write may still be done."""
    store = opened(rig, path, busyTimeout="20s", timeout="2s")
    with locked(path):
        pending = Pending(store.inner, "app||key", b"1")
        rig.advance(4)
        assert "no commit within the timeout" in str(pending.outcomes[0])
    rig.until(lambda: store.value("app||key") == b"1")


def test_closing_finishes_what_was_accepted(rig: Rig, path: Path) -> None:
    """Writes taken before the close are done and durable; after it nothing is taken; a second close does nothing."""
    store = opened(rig, path)
    accepted = [Pending(store.inner, f"app||{number}", b"1") for number in range(1000)]
    rig.run(store.inner.aclose())
    rig.run(store.inner.aclose())
    assert all(each.outcomes == [None] for each in accepted)
    with pytest.raises(Unavailable, match="is closed"):
        store.set("app||late", b"1")
    assert opened(rig, path).value("app||999") == b"1"
    assert rig.listing()["app"][0] == 1000


@pytest.mark.parametrize("key", ["app||a\0b", "app||\ud800"])
def test_keys_sqlite_would_cut_are_refused(rig: Rig, path: Path, key: str) -> None:
    """A key with U+0000 or half a surrogate pair is refused alone, its neighbours are not."""
    store = opened(rig, path)
    outcomes = rig.outcomes([store.inner.set(write(each, b"1")) for each in ("app||good", key)])
    assert outcomes[0] is None
    assert isinstance(outcomes[1], InvalidRequest)
    with pytest.raises(InvalidRequest):
        store.get(key)


def test_the_cache_is_bounded_by_bytes() -> None:
    """Whatever passes through it, it holds at most its size, the items used last, and none that is too large."""
    cache = Cache(100_000)
    for number in range(1000):
        cache.put(StoreKey(f"app||{number}"), Item(b"x" * 1000, "etag"))
        cache.get(StoreKey("app||0"))
    assert 70 < len(cache) <= 100
    assert cache.get(StoreKey("app||0")) is not NOT_AT_HAND
    assert cache.get(StoreKey("app||999")) is not NOT_AT_HAND
    assert cache.get(StoreKey("app||1")) is NOT_AT_HAND
    cache.put(StoreKey("app||999"), Item(b"x" * 50_000, "etag"))
    assert cache.get(StoreKey("app||999")) is NOT_AT_HAND


def test_a_store_that_is_not_inline_is_caught(rig: Rig) -> None:
    """Stepping a coroutine that awaits trio fails: so all that this suite steps is proven inline."""
    store = rig.open(TrioLaneStore.type)
    with pytest.raises(NotInline):
        rig.run(store.get(StoreKey("app||key")), inline=True)
