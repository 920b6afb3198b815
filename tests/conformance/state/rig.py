"""A node's surroundings for one store: a real loop, real books, and a clock that moves only when told to."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import current_thread
from time import monotonic
from typing import Any, ClassVar, TypeVar

import trio
import uvloop

from components.contract import (
    Capability,
    Delete,
    Item,
    Outcome,
    StateStore,
    StoreKey,
    Surroundings,
    Write,
    owner_of,
    size_of,
)
from components.registry import STATE_STORES, open_state
from components.state.in_memory import InMemoryStateStore
from noded.lanes import in_trio, step
from tenancy.ledger import Books, StoreLedger

T = TypeVar("T")

DEADLINE_SECONDS = 20.0
START = 1_700_000_000.0


class PendingCall:
    """A `call_later` that waits for `Rig.advance`."""

    def __init__(self, due: float, action: Callable[[], None]) -> None:
        self.due = due
        self.action: Callable[[], None] | None = action

    def cancel(self) -> None:
        self.action = None


class Rig:
    """Runs a store's coroutines in its lane, each to its end, within a deadline."""

    def __init__(self, state_dir: Path) -> None:
        self.loop = uvloop.new_event_loop()
        self.state_dir = state_dir
        self.books = Books()
        self.ledger: StoreLedger = self.books.open_ledger()
        self.time = START
        self._calls: list[PendingCall] = []
        self._stores: list[StateStore] = []
        self._held_thread: str | None = None
        self._held: list[Callable[[], None]] = []

    @property
    def surroundings(self) -> Surroundings:
        return Surroundings(
            run_soon=self._run_soon,
            next_pass=self.loop.call_soon,
            call_later=self._call_later,
            now=lambda: self.time,
            state_dir=self.state_dir,
            ledger=self.ledger,
            watch=partial(watch, self.loop),
        )

    def open(self, component_type: str, metadata: Mapping[str, str] | None = None, name: str = "store") -> StateStore:
        opener = open_trio_lane if component_type == TrioLaneStore.type else open_state
        store = opener(component_type, name, metadata or {}, self.surroundings)
        self._stores.append(store)
        self.pump()
        return store

    def run(self, coroutine: Coroutine[Any, Any, T], *, inline: bool = True) -> T:
        return self.run_all([coroutine], inline=inline)[0]

    def run_all(self, coroutines: Sequence[Coroutine[Any, Any, T]], *, inline: bool = True) -> list[T]:
        """As `outcomes`, but raises the first failure when all have ended."""
        outcomes = self.outcomes(coroutines, inline=inline)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
        return outcomes  # type: ignore[return-value] # no exception is among them

    def outcomes(self, coroutines: Sequence[Coroutine[Any, Any, T]], *, inline: bool = True) -> list[T | BaseException]:
        """Start all before waiting for any (in trio's lane: one after the other)."""
        if not inline:
            return [trio.run(_outcome, coroutine) for coroutine in coroutines]
        results: dict[int, T | BaseException] = {}
        for index, coroutine in enumerate(coroutines):
            step(coroutine, lambda result, error, index=index: results.update({index: error or result}))  # type: ignore[misc]
        self.until(lambda: len(results) == len(coroutines))
        return [results[index] for index in range(len(coroutines))]

    def pump(self) -> None:
        """Run what the loop has ready."""
        self.loop.call_soon(self.loop.stop)
        self.loop.run_forever()

    def until(self, condition: Callable[[], bool]) -> None:
        """Run the loop until something is so."""
        give_up = monotonic() + DEADLINE_SECONDS
        while not condition():
            assert monotonic() < give_up, "the deadline passed"
            self.loop.call_later(0.001, self.loop.stop)
            self.loop.run_forever()

    def advance(self, seconds: float) -> None:
        """Let time pass second by second, with what was to happen in it."""
        end = self.time + seconds
        while self.time < end:
            self.time = min(end, self.time + 1.0)
            due = [call for call in self._calls if call.due <= self.time]
            self._calls = [call for call in self._calls if call.due > self.time]
            for call in due:
                if call.action is not None:
                    call.action()
            self.pump()

    @contextmanager
    def holding(self, thread: str) -> Iterator[Callable[[], bool]]:
        """Keep back what threads of this name hand to the loop; gives a function that says whether they did."""
        self._held_thread = thread
        try:
            yield lambda: bool(self._held)
        finally:
            self._held_thread = None
            held, self._held = self._held, []
            for action in held:
                self.loop.call_soon(action)

    def listing(self) -> dict[str, tuple[int, int]]:
        """What the books say: {owner: (keys, bytes)}."""
        return self.ledger.listing()

    def forget_books(self) -> None:
        """Start with new books, as a new process does."""
        self.books = Books()
        self.ledger = self.books.open_ledger()

    def close(self) -> None:
        for store in self._stores:
            self.run(store.aclose(), inline=store.inline)
        self.loop.close()

    def _run_soon(self, action: Callable[[], None]) -> None:
        if self._held_thread is not None and current_thread().name.startswith(self._held_thread):
            self._held.append(action)
        else:
            self.loop.call_soon_threadsafe(action)

    def _call_later(self, seconds: float, action: Callable[[], None]) -> PendingCall:
        call = PendingCall(self.time + seconds, action)
        self._calls.append(call)
        return call


def watch(loop: asyncio.AbstractEventLoop, descriptor: int, action: Callable[[], None]) -> Callable[[], None]:
    """What a node lends for `Surroundings.watch`."""
    loop.add_reader(descriptor, action)

    def unwatch() -> None:
        loop.remove_reader(descriptor)

    return unwatch


class TrioLaneStore:
    """state.in-memory behind a trio checkpoint: a backend that is not inline."""

    type: ClassVar[str] = "state.trio-lane"
    capabilities: ClassVar[frozenset[Capability]] = InMemoryStateStore.capabilities
    inline: ClassVar[bool] = False

    def __init__(self, inner: StateStore) -> None:
        self._inner = inner

    async def get(self, key: StoreKey) -> Item | None:
        await trio.lowlevel.checkpoint()
        return await self._inner.get(key)

    async def get_many(self, keys: Sequence[StoreKey]) -> Sequence[Item | None]:
        await trio.lowlevel.checkpoint()
        return await self._inner.get_many(keys)

    async def set(self, write: Write) -> None:
        await trio.lowlevel.checkpoint()
        await self._inner.set(write)

    async def set_many(self, writes: Sequence[Write]) -> Sequence[Outcome]:
        await trio.lowlevel.checkpoint()
        return await self._inner.set_many(writes)

    async def delete(self, delete: Delete) -> None:
        await trio.lowlevel.checkpoint()
        await self._inner.delete(delete)

    async def delete_many(self, deletes: Sequence[Delete]) -> Sequence[Outcome]:
        await trio.lowlevel.checkpoint()
        return await self._inner.delete_many(deletes)

    async def transact(self, operations: Sequence[Write | Delete]) -> None:
        await trio.lowlevel.checkpoint()
        await self._inner.transact(operations)

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()
        await self._inner.aclose()


def open_trio_lane(_type: str, name: str, metadata: Mapping[str, str], surroundings: Surroundings) -> StateStore:
    return TrioLaneStore(open_state("state.in-memory", name, metadata, surroundings))


BACKENDS: dict[str, tuple[str, dict[str, str]]] = {
    "in-memory": ("state.in-memory", {}),
    "sqlite": ("state.sqlite", {"cleanupInterval": "1s"}),
    "sqlite-without-cache": ("state.sqlite", {"cleanupInterval": "1s", "cacheSize": "0"}),
    "sqlite-rollback-journal": ("state.sqlite", {"cleanupInterval": "1s", "disableWAL": "true"}),
    "sqlite-journal": ("state.sqlite", {"cleanupInterval": "1s", "journal": "always"}),
    "sqlite-journal-without-cache": ("state.sqlite", {"cleanupInterval": "1s", "journal": "always", "cacheSize": "0"}),
    "sqlite-in-memory": ("state.sqlite", {"cleanupInterval": "1s", "connectionString": ":memory:"}),
    "trio-lane": (TrioLaneStore.type, {}),
}
"""Every backend under test: its type and metadata."""

assert {component_type for component_type, _ in BACKENDS.values()} >= set(STATE_STORES), "a backend is not under test"


class Store:
    """A store under test, called without await."""

    def __init__(self, rig: Rig, inner: StateStore) -> None:
        self.rig = rig
        self.inner = inner

    def get(self, key: str) -> Item | None:
        return self._run(self.inner.get(StoreKey(key)))

    def value(self, key: str) -> bytes | None:
        item = self.get(key)
        return None if item is None else item.value

    def etag(self, key: str) -> str:
        item = self.get(key)
        assert item is not None
        return item.etag

    def get_many(self, *keys: str) -> list[Item | None]:
        return list(self._run(self.inner.get_many([StoreKey(key) for key in keys])))

    def set(
        self, key: str, value: bytes, *, etag: str | None = None, first_write: bool = False, ttl: int | None = None
    ) -> None:
        self._run(self.inner.set(write(key, value, etag=etag, first_write=first_write, ttl=ttl)))

    def set_many(self, *writes: Write) -> list[Outcome]:
        return list(self._run(self.inner.set_many(writes)))

    def delete(self, key: str, *, etag: str | None = None) -> None:
        self._run(self.inner.delete(delete(key, etag=etag)))

    def delete_many(self, *deletes: Delete) -> list[Outcome]:
        return list(self._run(self.inner.delete_many(deletes)))

    def transact(self, *operations: Write | Delete) -> None:
        self._run(self.inner.transact(operations))

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.rig.run(coroutine, inline=self.inner.inline)


def write(
    key: str, value: bytes, *, etag: str | None = None, first_write: bool = False, ttl: int | None = None
) -> Write:
    return Write(StoreKey(key), value, etag, first_write, ttl)


def delete(key: str, *, etag: str | None = None) -> Delete:
    return Delete(StoreKey(key), etag)


def count(items: Mapping[str, bytes]) -> dict[str, tuple[int, int]]:
    """What the books must say of these items."""
    totals: dict[str, tuple[int, int]] = {}
    for key, value in items.items():
        owner = owner_of(StoreKey(key))
        keys, size_bytes = totals.get(owner, (0, 0))
        totals[owner] = (keys + 1, size_bytes + size_of(StoreKey(key), value))
    return totals


def commits(path: Path) -> int:
    """How often was committed to a file of state.sqlite since its log began.

    Source: https://www.sqlite.org/fileformat2.html#walformat.
    """
    log = Path(f"{path}-wal").read_bytes()
    frame_bytes = 24 + int.from_bytes(log[8:12], "big")
    frames = (log[start : start + 24] for start in range(32, len(log), frame_bytes))
    return sum(frame[4:8] != b"\0\0\0\0" for frame in frames)


async def _outcome(coroutine: Coroutine[Any, Any, T]) -> T | BaseException:
    with trio.fail_after(DEADLINE_SECONDS):
        try:
            return await in_trio(coroutine)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the outcome
            return error
