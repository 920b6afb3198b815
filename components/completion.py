"""The one thing an inline component may wait for.

A coroutine that awaits nothing but Completions needs no task: whoever runs it steps it in place, and when it
yields a Completion, hangs its own continuation on it (`noded/lanes.py`). So a request that waits for a group commit
costs one object, not a task switch. A Completion belongs to the loop's thread: another thread hands its
results over by `Surroundings.run_soon`.
"""

from collections.abc import Callable, Generator
from typing import Generic, TypeVar, cast

T = TypeVar("T")

_PENDING = object()


class Completion(Generic[T]):
    """A result that arrives once: `resolve` or `fail` it, and `await` it (one waiter).

    Awaiting one from a plain trio task is a mistake: wrap the coroutine in `noded.lanes.in_trio`.
    """

    __slots__ = ("_error", "_value", "_waiter")

    def __init__(self) -> None:
        self._value: object = _PENDING
        self._error: BaseException | None = None
        self._waiter: Callable[[], None] | None = None

    @property
    def done(self) -> bool:
        """Whether it was resolved or failed."""
        return self._value is not _PENDING or self._error is not None

    def resolve(self, value: T) -> None:
        """Give the result and run the waiter. A second result is ignored: the first one was acted upon."""
        if self.done:
            return
        self._value = value
        self._wake()

    def fail(self, error: BaseException) -> None:
        """Give an error and run the waiter. Ignored when there is a result already."""
        if self.done:
            return
        self._error = error
        self._wake()

    def on_done(self, waiter: Callable[[], None]) -> None:
        """Call `waiter` when the result is there: at once if it is."""
        if self.done:
            waiter()
        else:
            self._waiter = waiter

    def result(self) -> T:
        """Return the value, or raise the error it failed with. Only once it is done."""
        if self._error is not None:
            raise self._error
        return cast("T", self._value)

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None:
            waiter()

    def __await__(self) -> Generator["Completion[T]", None, T]:
        if not self.done:
            yield self
        return self.result()
