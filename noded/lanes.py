"""Two lanes for one handler: stepped in place, or inside a trio task.

A handler whose components are inline (`components/contract.py`) awaits nothing but Completions. `step` runs such a
coroutine where it stands: it ends at once, or is resumed by the Completion it waits for. A handler that needs trio
runs as a task through `in_trio`, which also understands Completions. The code of the handler is the same.
"""

import types
from collections.abc import Callable, Coroutine, Generator
from typing import Any, TypeVar

import trio

from components.completion import Completion

T = TypeVar("T")

OnDone = Callable[[T | None, BaseException | None], None]


class NotInline(RuntimeError):
    """A coroutine stepped in place awaited something else than a Completion: its component is not inline."""


def step(coroutine: Coroutine[Any, Any, T], on_done: OnDone[T]) -> None:
    """Run `coroutine` until it ends, in place, then call `on_done(result, error)`, often before this returns.

    Only on the loop's thread. An error never escapes: it goes to `on_done`.
    """
    try:
        waits_for = coroutine.send(None)
    except StopIteration as end:
        on_done(end.value, None)
        return
    except BaseException as error:  # noqa: BLE001 - a request's failure is its own; on_done answers it
        on_done(None, error)
        return
    if isinstance(waits_for, Completion):
        waits_for.on_done(lambda: step(coroutine, on_done))
        return
    coroutine.close()
    on_done(None, NotInline(f"{coroutine!r} awaited {waits_for!r} while stepped in place"))


@types.coroutine
def in_trio(coroutine: Coroutine[Any, Any, T]) -> Generator[Any, Any, T]:
    """Run `coroutine` inside the calling trio task; it may await trio and Completions alike."""
    action: Callable[[], Any] = lambda: coroutine.send(None)  # noqa: E731 - the next step, rebound below
    while True:
        try:
            waits_for = action()
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        try:
            if isinstance(waits_for, Completion):
                yield from _wait(waits_for).__await__()
                value = None
            else:
                value = yield waits_for
        except BaseException as error:  # noqa: BLE001 - handed on to the coroutine, as `yield from` would
            action = lambda error=error: coroutine.throw(error)  # type: ignore[misc]  # noqa: E731
        else:
            action = lambda value=value: coroutine.send(value)  # type: ignore[misc]  # noqa: E731


async def _wait(completion: Completion[Any]) -> None:
    """Sleep in trio until `completion` is done. Cancelling stops the waiting, not what was waited for."""
    task = trio.lowlevel.current_task()
    abandoned = False

    def wake() -> None:
        if not abandoned:
            trio.lowlevel.reschedule(task)

    def abort(_: object) -> trio.lowlevel.Abort:
        nonlocal abandoned
        abandoned = True
        return trio.lowlevel.Abort.SUCCEEDED

    if completion.done:
        return
    completion.on_done(wake)
    await trio.lowlevel.wait_task_rescheduled(abort)
