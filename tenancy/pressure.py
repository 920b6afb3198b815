"""What is refused when the daemon comes near the memory it may take: first growth, then every new request.

    share of the ceiling   0.90 growth: items in local stores      0.95 all: every limited request, every new stream
    given up again below   0.87                                    0.92

Refused before the kernel kills, and in this order because what frees memory must be let in: deletes, reads and
overwrites of equal size go on in the first stage. No clock and no files: figures come in. A request asks nothing
more for it: the node's ceilings are moved, once per change. Source: Envoy's overload manager (its `threshold`
triggers and their order).
"""

from enum import IntEnum
from typing import Final

from tenancy.admission import Level, Refusal
from tenancy.ledger import Books

GROWTH_SHARE: Final = 0.90
ALL_SHARE: Final = 0.95
SLACK_SHARE: Final = 0.03
"""How far use must fall below a share before that stage ends: else every freed page would open the gate for one."""
RETRY_SECONDS: Final = 1.0
"""Told with a refusal: memory is looked at a few times a second, and requests under way end about as soon."""


class Stage(IntEnum):
    """How much is refused."""

    NOTHING = 0
    GROWTH = 1
    ALL = 2


def stage_of(share: float, before: Stage) -> Stage:
    """Choose the stage for a share of the ceiling that is used, coming from stage `before`."""
    for stage, least in ((Stage.ALL, ALL_SHARE), (Stage.GROWTH, GROWTH_SHARE)):
        if share >= least - (SLACK_SHARE if before >= stage else 0.0):
            return stage
    return Stage.NOTHING


class Pressure:
    """The node's memory, as admission and the books are told of it. Called from the loop's thread only."""

    def __init__(self, node: Level, books: Books) -> None:
        self.stage = Stage.NOTHING
        self._node = node
        self._books = books

    def update(self, used: int, allowed: int) -> Stage:
        """Take what is used of what is allowed, in bytes (allowed above 0), and return the stage that now holds."""
        self.stage = stage = stage_of(used / allowed, self.stage)
        refusal = Refusal("memory", "node", "node", allowed, used, RETRY_SECONDS)
        self._node.press(refusal if stage >= Stage.ALL else None)
        self._books.press(refusal if stage >= Stage.GROWTH else None)
        return stage
