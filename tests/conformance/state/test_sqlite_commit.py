"""state.sqlite's group commit, its cache, and its bounds."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from components.contract import InvalidRequest, Item, StateStore, StoreKey, Unavailable
from components.state.sqlite.cache import MISS, Cache
from noded.lanes import NotInline, step
from tests.conformance.state.rig import Rig, Store, TrioLaneStore, count, write


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


def commits(path: Path) -> int:
    """How often was committed since the log began. Source: https://www.sqlite.org/fileformat2.html#walformat."""
    log = Path(f"{path}-wal").read_bytes()
    frame_bytes = 24 + int.from_bytes(log[8:12], "big")
    frames = (log[start : start + 24] for start in range(32, len(log), frame_bytes))
    return sum(frame[4:8] != b"\0\0\0\0" for frame in frames)


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


def test_a_lock_held_too_long_fails_the_write(rig: Rig, path: Path) -> None:
    """After busyTimeout the writer gives up, says why, and charges nothing; the store lives on."""
    store = opened(rig, path, busyTimeout="50ms")
    with locked(path), pytest.raises(Unavailable, match="nothing was written: database is locked"):
        store.set("app||key", b"1")
    assert rig.listing() == {}
    store.set("app||key", b"1")


def test_the_queue_of_writes_is_bounded(rig: Rig, path: Path) -> None:
    """When the disk does not keep up new writes are refused, naming the queue; what was accepted is done."""
    store = opened(rig, path, busyTimeout="20s")
    value = b"x" * (1 << 20)
    with locked(path):
        accepted = [Pending(store.inner, f"app||{number}", value) for number in range(70)]
        refused = [each for each in accepted if each.outcomes]
        assert 0 < len(refused) < 20
        assert all("queue of writes is full" in str(each.outcomes[0]) for each in refused)
    rig.until(lambda: all(each.outcomes for each in accepted))
    assert [each.outcomes for each in accepted if each not in refused] == [[None]] * (70 - len(refused))


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
    assert cache.get(StoreKey("app||0")) is not MISS
    assert cache.get(StoreKey("app||999")) is not MISS
    assert cache.get(StoreKey("app||1")) is MISS
    cache.put(StoreKey("app||999"), Item(b"x" * 50_000, "etag"))
    assert cache.get(StoreKey("app||999")) is MISS


def test_a_store_that_is_not_inline_is_caught(rig: Rig) -> None:
    """Stepping a coroutine that awaits trio fails: so all that this suite steps is proven inline."""
    store = rig.open(TrioLaneStore.type)
    with pytest.raises(NotInline):
        rig.run(store.get(StoreKey("app||key")), inline=True)
