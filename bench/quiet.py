"""Is the machine ours? Other load on the two cores falsifies every rate, and favours whoever batches less.

So a measurement that was disturbed is taken again, for as long as there is patience; the least disturbed one counts.
"""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from bench.load import cpu_seconds
from bench.servers import LOAD_CORE, SERVER_CORE

QUIET_SHARE = 0.08
"""Of the two cores, in use by others: what still counts as quiet. The kernel's own threads need some of it."""
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Attempt(Generic[T]):
    """A sample, and the share of the two cores that others used meanwhile, 0 to 1."""

    sample: T
    others_share: float


def undisturbed(measure: Callable[[], T], ours: Sequence[int], patience_seconds: float) -> Attempt[T]:
    """Measure until others let us, at most so long; `ours` are the processes of this run, beside this one's own."""
    deadline = time.monotonic() + patience_seconds
    best = _attempt(measure, ours)
    while best.others_share > QUIET_SHARE and time.monotonic() < deadline:
        best = min(best, _attempt(measure, ours), key=lambda attempt: attempt.others_share)
    return best


def _attempt(measure: Callable[[], T], ours: Sequence[int]) -> Attempt[T]:
    busy_before, total_before, own_before = *_cores(), _own(ours)
    sample = measure()
    busy, total, own = *_cores(), _own(ours)
    others = (busy - busy_before) - (own - own_before)
    return Attempt(sample, max(others, 0.0) / max(total - total_before, 0.01))


def _own(pids: Sequence[int]) -> float:
    """Processor seconds of this process, of generators that have ended, and of `pids`."""
    return sum(os.times()[:4]) + cpu_seconds(tuple(pids))


def _cores() -> tuple[float, float]:
    """Seconds of the two cores since boot: in use, and all (proc(5): idle and iowait are fields 4 and 5)."""
    lines = [line.split() for line in Path("/proc/stat").read_text().splitlines()]
    cores = [list(map(int, line[1:9])) for line in lines if line[0] in {f"cpu{SERVER_CORE}", f"cpu{LOAD_CORE}"}]
    total = sum(map(sum, cores))
    idle = sum(core[3] + core[4] for core in cores)
    return (total - idle) / _TICKS_PER_SECOND, total / _TICKS_PER_SECOND
