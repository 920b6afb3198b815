"""A loop stays awake through short waits, for a bounded time, and gives that up where waits are long."""

from collections import deque
from collections.abc import Callable

import pytest

from components.journal.awake import Awake

MOST_PASSES = 2000
"""More than any wait is looked at."""


class Loop:
    """Passes of a loop that has nothing else to do."""

    def __init__(self) -> None:
        self.due: deque[Callable[[], None]] = deque()
        self.awake = Awake(self.due.append)

    def passes(self, most: int = MOST_PASSES) -> int:
        """Let passes happen while any is asked for; returns how many."""
        for number in range(most):
            if not self.due:
                return number
            for _ in range(len(self.due)):
                self.due.popleft()()
        return most


@pytest.fixture
def loop() -> Loop:
    return Loop()


def test_a_wait_is_looked_at_until_it_ends(loop: Loop) -> None:
    """One look a pass while it lasts; one more, and the loop may sleep."""
    loop.awake.begin()
    assert loop.passes(10) == 10
    loop.awake.end()
    assert loop.passes() <= 1


def test_a_long_wait_is_given_up(loop: Loop) -> None:
    """A disk that takes its time does not keep a core busy."""
    loop.awake.begin()
    assert 100 < loop.passes() < MOST_PASSES


def test_long_waits_are_looked_at_more_and_more_seldom(loop: Loop) -> None:
    """Of a thousand long waits a handful cost anything; the first short one is enough to look at the next."""
    looked = 0
    for _ in range(1000):
        loop.awake.begin()
        looked += loop.passes() > 0
        loop.awake.end()
    assert 5 < looked < 15
    while not loop.due:
        loop.awake.begin()
    loop.awake.end()
    loop.passes()
    loop.awake.begin()
    assert loop.due, "the last one was short"


def test_waits_after_one_another_are_looked_at_once_a_pass(loop: Loop) -> None:
    """However many waits begin and end within a pass, one look is due in the next."""
    for _ in range(10):
        loop.awake.begin()
        loop.awake.end()
        loop.awake.begin()
    assert len(loop.due) == 1
