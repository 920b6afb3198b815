"""The two lanes of a handler: stepped in place where it waits for Completions only, a trio task where it needs trio."""

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar, cast

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from components.completion import Completion
from components.contract import (
    Capability,
    Delete,
    Item,
    Outcome,
    StateStore,
    StoreKey,
    Surroundings,
    Timer,
    Unavailable,
    Write,
)
from components.registry import STATE_STORES, open_state
from noded import trio_lane
from noded.lanes import NotInline, in_trio, step
from noded.trio_lane import on_trio
from tenancy.ledger import Books

T = TypeVar("T")

Ended = list[tuple[object, BaseException | None]]


async def double(completion: Completion[int]) -> int:
    return 2 * await completion


def test_a_coroutine_that_waits_for_nothing_ends_before_step_returns() -> None:
    """No task and no turn of the loop: the answer is there."""
    ended: Ended = []

    async def answer() -> int:
        return 7

    step(answer(), lambda *end: ended.append(end))
    assert ended == [(7, None)]


def test_a_waiting_coroutine_is_resumed_by_what_it_waits_for() -> None:
    """Resolving the Completion runs the rest in place, however often it waits."""
    ended: Ended = []
    first, second = Completion[int](), Completion[int]()

    async def both() -> int:
        return await double(first) + await double(second)

    step(both(), lambda *end: ended.append(end))
    assert ended == []
    first.resolve(1)
    assert ended == []
    second.resolve(10)
    assert ended == [(22, None)]


def test_a_completion_that_is_done_is_not_waited_for() -> None:
    """A store that knows the answer already costs nothing more."""
    ended: Ended = []
    done = Completion[int]()
    done.resolve(4)
    step(double(done), lambda *end: ended.append(end))
    assert ended == [(8, None)]


def test_the_first_result_of_a_completion_counts() -> None:
    """A late failure, or a second value, changes nothing that was acted upon."""
    completion = Completion[int]()
    completion.resolve(1)
    completion.fail(ValueError("late"))
    completion.resolve(2)
    assert completion.result() == 1


@pytest.mark.parametrize("late", ["at once", "later"])
def test_a_failure_goes_to_on_done_and_never_escapes(late: str) -> None:
    """Raised by the coroutine or by what it waited for, at once or later."""
    ended: Ended = []
    completion = Completion[int]()
    if late == "at once":
        completion.fail(ValueError("no"))
    step(double(completion), lambda *end: ended.append(end))
    completion.fail(ValueError("no"))
    ((result, error),) = ended
    assert result is None
    assert isinstance(error, ValueError)


def test_a_coroutine_that_awaits_trio_while_stepped_is_caught() -> None:
    """A component that says it is inline and is not fails that request with NotInline, and is closed."""
    ended: Ended = []
    closed: list[bool] = []

    async def not_inline() -> None:
        try:
            await trio.lowlevel.checkpoint()
        finally:
            closed.append(True)

    async def main() -> None:
        step(not_inline(), lambda *end: ended.append(end))

    trio.run(main)
    ((_, error),) = ended
    assert isinstance(error, NotInline)
    assert closed == [True]


def test_in_trio_understands_trio_and_completions() -> None:
    """One coroutine may await both; values and errors come through."""
    completion, failing = Completion[int](), Completion[int]()
    ended: list[int] = []

    async def handler() -> int:
        await trio.lowlevel.checkpoint()
        doubled = await double(completion)
        try:
            await failing
        except ValueError:
            await trio.lowlevel.checkpoint()
        return doubled + 1

    async def main() -> int:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(resolve)
            ended.append(await in_trio(handler()))
        return ended[0]

    async def resolve() -> None:
        await wait_all_tasks_blocked()
        completion.resolve(5)
        await wait_all_tasks_blocked()
        failing.fail(ValueError("no"))

    assert trio.run(main) == 11


def test_cancelling_stops_the_waiting_and_not_what_was_waited_for() -> None:
    """The task ends; the Completion may be resolved later and wakes nobody."""
    completion = Completion[int]()

    async def main() -> bool:
        with trio.move_on_after(0.001) as scope:
            await in_trio(double(completion))
        completion.resolve(1)
        await wait_all_tasks_blocked()
        return scope.cancelled_caught

    assert trio.run(main)
    assert completion.result() == 1


class TrioStore:
    """A store that needs trio: everything takes a turn of its loop."""

    type: ClassVar[str] = "state.slow"
    capabilities: ClassVar[frozenset[Capability]] = frozenset({Capability.ETAG})
    inline: ClassVar[bool] = False

    def __init__(self) -> None:
        self.items: dict[str, bytes] = {}
        self.blocked = False
        self.closed = False

    async def get(self, key: StoreKey) -> Item | None:
        await trio.lowlevel.checkpoint()
        if self.blocked:
            await trio.sleep_forever()
        if key == "bad":
            raise KeyError(key)
        return Item(self.items[key], "1") if key in self.items else None

    async def get_many(self, keys: Sequence[StoreKey]) -> Sequence[Item | None]:
        return [await self.get(key) for key in keys]

    async def set(self, write: Write) -> None:
        await trio.lowlevel.checkpoint()
        self.items[write.key] = write.value

    async def set_many(self, writes: Sequence[Write]) -> Sequence[Outcome]:
        for write in writes:
            await self.set(write)
        return [None] * len(writes)

    async def delete(self, delete: Delete) -> None:
        await trio.lowlevel.checkpoint()
        self.items.pop(delete.key, None)

    async def delete_many(self, deletes: Sequence[Delete]) -> Sequence[Outcome]:
        for delete in deletes:
            await self.delete(delete)
        return [None] * len(deletes)

    async def transact(self, operations: Sequence[Write | Delete]) -> None:
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        self.closed = True


def with_store(use: Callable[[StateStore, TrioStore], Awaitable[None]]) -> None:
    """Run `use` with a trio store behind the face of an inline one."""

    async def main() -> None:
        store = TrioStore()
        async with trio.open_nursery() as nursery:
            await use(cast("StateStore", on_trio(store, nursery)), store)
            nursery.cancel_scope.cancel()

    trio.run(main)


async def finish(ended: Ended) -> object:
    """Wait until a stepped coroutine ended; its result. Raises its error."""
    while not ended:
        await trio.lowlevel.checkpoint()
    result, error = ended[0]
    if error is not None:
        raise error
    return result


async def stepped(coroutine: Coroutine[Any, Any, T]) -> object:
    ended: Ended = []
    step(coroutine, lambda *end: ended.append(end))
    return await finish(ended)


def test_a_store_that_needs_trio_can_be_stepped() -> None:
    """Behind StoreOnTrio each call is a task that ends in a Completion: reads, writes, bulk, transactions, errors."""

    async def use(inline: StateStore, store: TrioStore) -> None:
        key, other = StoreKey("a||k"), StoreKey("a||l")
        assert inline.inline
        assert (inline.type, inline.capabilities) == (store.type, store.capabilities)
        await stepped(inline.set(Write(key, b"v")))
        assert await stepped(inline.get(key)) == Item(b"v", "1")
        assert await stepped(inline.set_many([Write(other, b"w")])) == [None]
        assert await stepped(inline.get_many([key, other])) == [Item(b"v", "1"), Item(b"w", "1")]
        await stepped(inline.delete(Delete(key)))
        assert await stepped(inline.delete_many([Delete(other)])) == [None]
        await stepped(inline.transact([]))
        assert store.items == {}
        with pytest.raises(KeyError):
            await stepped(inline.get(StoreKey("bad")))
        await inline.aclose()
        assert store.closed

    with_store(use)


def test_a_store_that_does_not_answer_is_unavailable_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call has a deadline; its task is gone afterwards."""
    monkeypatch.setattr(trio_lane, "CALL_SECONDS", 0.01)

    async def use(inline: StateStore, store: TrioStore) -> None:
        store.blocked = True
        with pytest.raises(Unavailable):
            await stepped(inline.get(StoreKey("a||k")))

    with_store(use)


def test_calls_under_way_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """One more is refused at once, and when one ended there is room again."""
    monkeypatch.setattr(trio_lane, "CALLS", 2)

    async def use(inline: StateStore, store: TrioStore) -> None:
        ended: list[Ended] = [[], [], []]
        for each in ended:
            step(inline.get(StoreKey("a||k")), lambda *end, each=each: each.append(end))
        assert isinstance(ended[2][0][1], Unavailable)
        await finish(ended[0])
        assert await stepped(inline.get(StoreKey("a||k"))) is None
        assert store.items == {}

    with_store(use)


def test_calls_under_way_end_when_the_daemon_stops() -> None:
    """Cancelling the tasks answers every waiter: Unavailable, not silence."""
    ended: Ended = []

    async def use(inline: StateStore, store: TrioStore) -> None:
        store.blocked = True
        step(inline.get(StoreKey("a||k")), lambda *end: ended.append(end))
        await wait_all_tasks_blocked()

    with_store(use)
    assert isinstance(ended[0][1], Unavailable)


def test_the_daemons_own_stores_and_brokers_are_inline(tmp_path: Path) -> None:
    """Every registered component that says it is inline can be stepped through its calls."""

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            assert nursery.child_tasks == frozenset()
        for type_ in STATE_STORES:
            surroundings = Surroundings(_soon, _soon, _later, lambda: 0.0, tmp_path, Books().open_ledger())
            store = open_state(type_, "s", {"connectionString": str(tmp_path / f"{type_}.db")}, surroundings)
            assert store.inline
            results: Ended = []
            step(store.set(Write(StoreKey("a||k"), b"v")), lambda *end, results=results: results.append(end))
            await finish(results)
            assert results == [(None, None)]
            await in_trio(store.aclose())

    def _soon(callback: Callable[..., object], *arguments: object) -> None:
        token[0].run_sync_soon(callback, *arguments)

    def _later(_: float, __: Callable[[], None]) -> Timer:
        return NeverTimer()

    token: list[trio.lowlevel.TrioToken] = []

    async def start() -> None:
        token.append(trio.lowlevel.current_trio_token())
        await main()

    trio.run(start)


class NeverTimer:
    """A timer that has not come yet."""

    def cancel(self) -> None:
        """It does not come."""
