"""What does an idle node hold in memory? Two apps attached, the operator's side loaded, no request served yet."""

import re
import time
from pathlib import Path

from bench.client import answers, wait_until
from bench.records import Memory, Subject

_SETTLE_SECONDS = 2.0
_OPERATOR_SECONDS = 15.0


def measure(subject: Subject) -> Memory:
    """Sum over the subject's processes, once its operator side has answered or was given up."""
    loaded = subject.admin is None or _answers_in_time(subject.admin)
    time.sleep(_SETTLE_SECONDS)
    rollups = [Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in subject.pids]
    return Memory(
        pss_mb=sum(_field_mb(text, "Pss") for text in rollups),
        rss_mb=sum(_field_mb(text, "Rss") for text in rollups),
        processes=len(rollups),
        operator_loaded=loaded,
    )


def _answers_in_time(admin: Path) -> bool:
    try:
        wait_until(lambda: answers(admin, "/metrics"), "noded's operator side", _OPERATOR_SECONDS)
    except TimeoutError:
        return False
    return True


def _field_mb(rollup: str, name: str) -> float:
    found = re.search(rf"^{name}:\s+(\d+) kB$", rollup, re.MULTILINE)
    if found is None:
        raise ValueError(f"no {name} in smaps_rollup")
    return int(found[1]) * 1024 / 1e6
