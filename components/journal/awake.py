"""Keeps the loop awake through a short wait.

A loop with nothing to do sleeps until the disk has written, a few tenths of a millisecond. To sleep, to be woken, and
to go on with cold caches costs more processor time than to look around meanwhile; and who has something else to ask is
answered at once. Where the wait proves long the loop sleeps, and looks around again more and more seldom.
The same idea, in other places: Linux's haltpoll governor, hybrid polling of block devices.
"""

from collections.abc import Callable

_MOST_PASSES = 512
"""Of a loop with nothing else to do: a millisecond, where sleeping costs a tenth of one."""
_MOST_SKIPPED = 1024


class Awake:
    """One wait at a time. On the loop's thread."""

    def __init__(self, next_pass: Callable[[Callable[[], None]], object]) -> None:
        """`next_pass` runs a function in the loop's next pass."""
        self._next_pass = next_pass
        self._waiting = False
        self._scheduled = False
        self._passes = 0
        self._skip = 0
        self._skipped = 0

    def begin(self) -> None:
        """Stay awake, unless that was of no use lately."""
        if self._skip:
            self._skip -= 1
            return
        self._waiting = True
        self._passes = 0
        if not self._scheduled:
            self._scheduled = True
            self._next_pass(self._look)

    def end(self) -> None:
        """What was waited for is here."""
        if self._waiting:
            self._waiting = False
            self._skipped = 0

    def _look(self) -> None:
        self._passes += 1
        if self._waiting and self._passes < _MOST_PASSES:
            self._next_pass(self._look)
            return
        self._scheduled = False
        if self._waiting:
            self._waiting = False
            self._skip = self._skipped = min(max(1, 2 * self._skipped), _MOST_SKIPPED)
