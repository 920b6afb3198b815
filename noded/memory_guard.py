"""Watches what memory the daemon takes, and has the gates refuse before the kernel kills it.

A ceiling is the smallest of each control group the daemon is in (memory.high and memory.max; memory.limit_in_bytes in
version 1) and `--memory-limit`. What the kernel can take back, its cache of files, is not counted as used. A few looks
a second, more of them near the ceiling, cost a request nothing.
Source: Linux Documentation/admin-guide/cgroup-v2.rst, cgroup-v1/memory.rst; proc(5).
"""

import ctypes
import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import trio

from tenancy.pressure import GROWTH_SHARE, Pressure, Stage

log = logging.getLogger("noded.memory")

LOOK_SECONDS = (0.02, 0.25)
"""Between two looks: at least and at most."""
CEILINGS_SECONDS = 1.0
"""Between two times that the ceilings themselves are read."""
FILLED_PER_SECOND = 1 << 30
"""Bytes a second that use cannot outgrow: one core receives less. It says how soon the next look is due."""
TRIM_SECONDS = 1.0
"""Under pressure, between two times that the C library gives back what it keeps of freed memory."""
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_SAID = {
    Stage.NOTHING: "enough again",
    Stage.GROWTH: "nothing that is stored may grow",
    Stage.ALL: "every new request is refused",
}


@dataclass(frozen=True, slots=True)
class Watched:
    """A ceiling and what counts against it."""

    allowed_bytes: int
    used_bytes: Callable[[], int]
    """Raises OSError or ValueError where it cannot be read just now."""


class Ceilings:
    """All that the daemon is under, to be read again: a control group's may change while it runs.

    Source: Kubernetes, "Resize CPU and Memory Resources assigned to Containers".
    """

    def __init__(
        self, limit_bytes: int | None, groups: Path = Path("/sys/fs/cgroup"), proc: Path = Path("/proc/self")
    ) -> None:
        """Find the files; `limit_bytes` is the daemon's own setting (None: not set)."""
        machine = os.sysconf("SC_PHYS_PAGES") * _PAGE_BYTES
        own = machine if limit_bytes is None else min(limit_bytes, machine)
        self._own = Watched(own, partial(own_bytes, proc / "statm"))
        files = [(directory / name, directory) for directory in _groups(groups, proc / "cgroup") for name in _LIMITS]
        self._files = [(file, partial(group_bytes, directory)) for file, directory in files if file.exists()]

    def smallest(self) -> Watched:
        """Read them: of the daemon's own, its control groups, the machine's memory."""
        found = [Watched(limit, used) for file, used in self._files if (limit := _number(file)) is not None]
        return min([self._own, *found], key=lambda each: each.allowed_bytes)


def own_bytes(statm: Path) -> int:
    """What the process holds and no file backs, in bytes."""
    _, resident, shared, *_ = map(int, statm.read_text().split())
    return (resident - shared) * _PAGE_BYTES


def group_bytes(directory: Path) -> int:
    """What a control group holds, in bytes, without the cache of files that the kernel would take back first."""
    current, prefix = directory / "memory.current", ""
    if not current.exists():
        current, prefix = directory / "memory.usage_in_bytes", "total_"
    lines = (line.split() for line in (directory / "memory.stat").read_text().splitlines())
    cached = {f"{prefix}active_file", f"{prefix}inactive_file"}
    return int(current.read_text()) - sum(int(value) for name, value in lines if name in cached)


async def watch(ceilings: Ceilings, pressure: Pressure) -> None:
    """Look again and again, and say so in the log when a stage begins or ends, or the ceiling is another."""
    ceiling, read, trimmed = ceilings.smallest(), trio.current_time(), 0.0
    while True:
        now, before = trio.current_time(), pressure.stage
        if now - read >= CEILINGS_SECONDS:
            read, ceiling = now, _read_again(ceilings, ceiling)
        try:
            used = ceiling.used_bytes()
        except (OSError, ValueError):
            used = 0  # a control group that was taken away limits nobody
        stage = pressure.update(used, ceiling.allowed_bytes)
        if stage is not before:
            log.warning("memory: %d of %d MiB used: %s", used >> 20, ceiling.allowed_bytes >> 20, _SAID[stage])
        if stage and now - trimmed > TRIM_SECONDS:
            trimmed = now
            await trio.to_thread.run_sync(_trim)
        await trio.sleep(look_again(used, ceiling.allowed_bytes))


def _read_again(ceilings: Ceilings, before: Watched) -> Watched:
    found = ceilings.smallest()
    if found.allowed_bytes != before.allowed_bytes:
        log.info("memory: the ceiling is %d MiB now, was %d", found.allowed_bytes >> 20, before.allowed_bytes >> 20)
    return found


def look_again(used_bytes: int, allowed_bytes: int) -> float:
    """Seconds in which use cannot have come to the first stage's share, within LOOK_SECONDS."""
    least, most = LOOK_SECONDS
    return min(most, max(least, (GROWTH_SHARE * allowed_bytes - used_bytes) / FILLED_PER_SECOND))


_LIMITS = ("memory.max", "memory.high", "memory.limit_in_bytes")


def _groups(root: Path, memberships: Path) -> Iterator[Path]:
    """Each control group the process is in that may limit memory, innermost first, as far as it is visible here."""
    try:
        lines = memberships.read_text().splitlines()
    except OSError:
        return
    for _, controllers, path in (line.split(":", 2) for line in lines):
        if controllers in {"", "memory"}:
            mount = root / controllers
            inner = mount / path.lstrip("/")
            yield inner
            yield from (each for each in inner.parents if each.is_relative_to(mount))


def _number(path: Path) -> int | None:
    """A ceiling's bytes; None where there is none: no such file, or "max"."""
    try:
        return int(path.read_text()) or None
    except (OSError, ValueError):
        return None


def _trim() -> None:
    """Have glibc return freed memory to the kernel, which it otherwise keeps; other C libraries keep little."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
