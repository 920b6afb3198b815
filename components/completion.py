"""The one thing an inline component may wait for.

A coroutine that awaits nothing but Completions needs no task: whoever runs it steps it in place, and when it
yields a Completion, hangs its own continuation on it (`noded/lanes.py`). So a request that waits for a group commit
costs one object, not a task switch. A Completion belongs to the loop's thread: another thread hands its
results over by `Surroundings.run_soon`.
"""

from collections.abc import Callable, Generator
from typing import Generic, TypeVar, cast

from msgspec import Struct

T = TypeVar("T")

_PENDING = object()


class Completion(Struct, Generic[T], eq=False):
    """A result that arrives once: `resolve` or `fail` it, and `await` it (one waiter).

    Awaiting one from a plain trio task is a mistake: wrap the coroutine in `noded.lanes.in_trio`.
    """

    _value: object = _PENDING
    _error: BaseException | None = None
    _waiter: Callable[[], None] | None = None

    @property
    def done(self) -> bool:
        """Whether it was resolved or failed."""
        return self._value is not _PENDING or self._error is not None

    def resolve(self, value: T) -> None:
        """Give the result and run the waiter. A second result is ignored: the first one was acted upon."""
        if self._value is not _PENDING or self._error is not None:
            return
        self._value = value
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            waiter()

    def fail(self, error: BaseException) -> None:
        """Give an error and run the waiter. Ignored when there is a result already."""
        if self.done:
            return
        self._error = error
        waiter, self._waiter = self._waiter, None
        if waiter is not None:
            waiter()

    def on_done(self, waiter: Callable[[], None]) -> None:
        """Call `waiter` when the result is there: at once if it is."""
        if self._value is _PENDING and self._error is None:
            self._waiter = waiter
        else:
            waiter()

    def result(self) -> T:
        """Return the value, or raise the error it failed with. Only once it is done."""
        if self._error is not None:
            raise self._error
        return cast("T", self._value)

    def __await__(self) -> Generator["Completion[T]", None, T]:
        if self._value is _PENDING and self._error is None:
            yield self
        if self._error is not None:
            raise self._error
        return self._value  # type: ignore[return-value]  # what `resolve` was given
