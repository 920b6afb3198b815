"""Is the machine ours? Other load on the two cores falsifies every rate, and favours whoever batches less."""

import time
from pathlib import Path

from bench.servers import LOAD_CORE, SERVER_CORE

QUIET_SHARE = 0.1
"""Of the two cores, in use by others: what still counts as quiet."""
_LOOK_SECONDS = 0.25


def others_share() -> float:
    """Look at the two cores while nothing of ours runs: their share in use, 0 to 1."""
    busy_before, all_before = _ticks()
    time.sleep(_LOOK_SECONDS)
    busy, total = _ticks()
    return (busy - busy_before) / max(total - all_before, 1)


def wait_quiet(patience_seconds: float) -> float:
    """Wait for others to stop, at most so long; give their share at the last look."""
    deadline = time.monotonic() + patience_seconds
    while (share := others_share()) > QUIET_SHARE and time.monotonic() < deadline:
        pass
    return share


def _ticks() -> tuple[int, int]:
    """Ticks of the two cores since boot: in use, and all (proc(5): idle and iowait are fields 4 and 5)."""
    lines = [line.split() for line in Path("/proc/stat").read_text().splitlines()]
    cores = [list(map(int, line[1:9])) for line in lines if line[0] in {f"cpu{SERVER_CORE}", f"cpu{LOAD_CORE}"}]
    total = sum(map(sum, cores))
    return total - sum(core[3] + core[4] for core in cores), total
