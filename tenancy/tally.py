"""Counts by what they are counted by, as plain numbers: nothing here knows of labels, and nothing is pushed.

A cell is an occurrence's count, bytes and times. Finding one is a dictionary's look-up; using one is a few additions.
How values are spread is kept only of those past the first bound, which are few: the rest is what is left of the count.
Bounded: past `MOST` cells of one kind, what is new shares a last one. Called from the loop's thread only.
"""

from bisect import bisect_right
from collections.abc import Hashable, Sequence
from typing import Final, Generic, TypeVar

LATENCY_BOUNDS_MS: Final = (
    *(1, 2, 3, 4, 5, 6, 8, 10, 13, 16, 20, 25, 30, 40, 50, 65, 80, 100, 130, 160, 200, 250, 300, 400, 500, 650, 800),
    *(1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000),
)
"""Milliseconds. Source: daprd 1.18 pkg/config/configuration.go GetLatencyDistribution."""
SIZE_BOUNDS_BYTES: Final = tuple(1 << power for power in (10, 11, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30, 32))
"""Source: daprd 1.18 pkg/diagnostics/metrics.go defaultSizeDistribution."""
LARGE_BYTES: Final = SIZE_BOUNDS_BYTES[0]
MOST: Final = 1000
"""Cells of one kind that one tenant may have: topics, paths and methods are its own words."""

K = TypeVar("K", bound=Hashable)


class Spread:
    """How values fall between bounds; a value that is a bound counts above it, as in daprd."""

    __slots__ = ("bounds", "counts")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        """Between bounds: the first is below all of them, the last above."""

    def add(self, value: float) -> None:
        """Count a value that is not below the first bound."""
        self.counts[bisect_right(self.bounds, value)] += 1


class Cell:
    """What is counted of one kind of occurrence."""

    __slots__ = ("bytes_in", "bytes_out", "count", "in_sizes", "milliseconds", "out_sizes", "times")

    def __init__(self) -> None:
        self.count = 0
        self.bytes_in = 0
        self.bytes_out = 0
        self.milliseconds = 0.0
        """Of all that were timed; the others took no time worth telling."""
        self.times: Spread | None = None
        """Of what took longer than the first bound."""
        self.in_sizes: Spread | None = None
        """Of bodies larger than the first bound."""
        self.out_sizes: Spread | None = None

    def took(self, milliseconds: float, bounds_ms: Sequence[float]) -> None:
        """Say how long the last one took."""
        self.milliseconds += milliseconds
        if milliseconds >= bounds_ms[0]:
            self._spread(milliseconds, bounds_ms)

    def sized(self, bytes_in: int, bytes_out: int) -> None:
        """Say how large the last one was, where either is not small."""
        if bytes_in >= LARGE_BYTES:
            if self.in_sizes is None:
                self.in_sizes = Spread(SIZE_BOUNDS_BYTES)
            self.in_sizes.add(bytes_in)
        if bytes_out >= LARGE_BYTES:
            if self.out_sizes is None:
                self.out_sizes = Spread(SIZE_BOUNDS_BYTES)
            self.out_sizes.add(bytes_out)

    def add(self, bytes_in: int, bytes_out: int, milliseconds: float, bounds_ms: Sequence[float]) -> None:
        """Count one, with all there is to say."""
        self.count += 1
        self.bytes_in += bytes_in
        self.bytes_out += bytes_out
        if bytes_in >= LARGE_BYTES or bytes_out >= LARGE_BYTES:
            self.sized(bytes_in, bytes_out)
        self.milliseconds += milliseconds  # as `took`, a call less
        if milliseconds >= bounds_ms[0]:
            self._spread(milliseconds, bounds_ms)

    def _spread(self, milliseconds: float, bounds_ms: Sequence[float]) -> None:
        if self.times is None:
            self.times = Spread(bounds_ms)
        self.times.add(milliseconds)


class Tally(Generic[K]):
    """Cells by key."""

    __slots__ = ("_last", "cells")

    def __init__(self, last: K) -> None:
        """Begin with none; what finds no room any more is counted under the key `last`."""
        self.cells: dict[K, Cell] = {}
        self._last = last

    def cell(self, key: K) -> Cell:
        """The cell of a key, new where it is met first."""
        cell = self.cells.get(key)
        if cell is None:
            kept = key if len(self.cells) < MOST else self._last
            cell = self.cells.get(kept)
            if cell is None:
                cell = self.cells[kept] = Cell()
        return cell
