"""What a fuzz target is, and the bounds that hold for every input of every target."""

import resource
import time
from collections.abc import Callable
from dataclasses import dataclass

CPU_SECONDS = 5.0
"""Processor time one input may take; they take a millisecond or so, and this many means a loop without a bound."""
GROWTH_BYTES = 256 << 20
"""What the process's peak memory may grow by in one input of a few kilobytes."""


@dataclass(frozen=True, slots=True)
class Target:
    """One thing under attack."""

    name: str
    run: Callable[[bytes], object]
    """Takes any bytes. What it raises is a finding: it catches the documented refusals itself."""
    seeds: tuple[bytes, ...]
    """Inputs that lead somewhere, to begin with."""
    words: tuple[bytes, ...] = ()
    """What mutations put in."""
    max_bytes: int = 4096


class Unbounded(AssertionError):
    """An input took more time or memory than any may."""


def run_bounded(target: Target, data: bytes) -> None:
    """Run one input. Raises Unbounded, or what the target raises."""
    started = time.process_time()
    peak = _peak_bytes()
    target.run(data)
    seconds = time.process_time() - started
    if seconds > CPU_SECONDS:
        raise Unbounded(f"{len(data)} bytes took {seconds:.1f} s of processor time")
    if (growth := _peak_bytes() - peak) > GROWTH_BYTES:
        raise Unbounded(f"{len(data)} bytes took {growth >> 20} MiB")


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
