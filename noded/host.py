"""The one traffic thread: uvloop runs the loop, trio runs inside it as a guest.

uvloop carries the sockets; trio owns every lifetime. `run` starts both, gives the trio side a `Host`, and returns its
result. `from_asyncio` is the bridge for libraries that only know asyncio: their tasks run on the host loop and are
awaited from trio, cancellation included. Source: trio's guest mode, lowlevel.start_guest_run.
"""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import outcome
import trio
import uvloop

T = TypeVar("T")

SWITCH_INTERVAL_SECONDS = 0.0005
"""How long the loop may hold the GIL while a store's writer thread wants it (Python's default: 0.005)."""


class Host:
    """The host loop, as the trio side sees it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop

    def on_signal(self, number: signal.Signals, callback: Callable[[], object]) -> None:
        """Call `callback` on the loop's thread at each such signal."""
        self.loop.add_signal_handler(number, callback)

    async def from_asyncio(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run an asyncio coroutine on the host loop and wait for it. Cancelling cancels it and waits for its end."""
        task = self.loop.create_task(coroutine)
        waiter = trio.lowlevel.current_task()
        cancelled: list[Callable[[], object]] = []

        def done(_: asyncio.Task[T]) -> None:
            """Wake who waits."""
            trio.lowlevel.reschedule(waiter)

        def abort(raise_cancel: Callable[[], object]) -> trio.lowlevel.Abort:
            """Wait on for the task's own end."""
            cancelled.append(raise_cancel)
            task.cancel()
            return trio.lowlevel.Abort.FAILED

        task.add_done_callback(done)
        await trio.lowlevel.wait_task_rescheduled(abort)
        if task.cancelled() and cancelled:
            cancelled[0]()
        return task.result()


def run(main: Callable[[Host], Awaitable[T]]) -> T:
    """Run `main` in trio as the guest of a new uvloop loop, and return what it returns or raise what it raises."""
    loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    ended: list[outcome.Outcome[T]] = []

    def done(result: outcome.Outcome[T]) -> None:
        ended.append(result)
        loop.stop()

    def start() -> None:
        trio.lowlevel.start_guest_run(
            main,
            Host(loop),
            run_sync_soon_threadsafe=loop.call_soon_threadsafe,
            run_sync_soon_not_threadsafe=loop.call_soon,
            done_callback=done,
            host_uses_signal_set_wakeup_fd=True,
        )

    loop.call_soon(start)
    try:
        loop.run_forever()
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        asyncio.set_event_loop(None)
        loop.close()
    return ended[0].unwrap()
