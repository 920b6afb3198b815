"""A daemon in a control group whose memory the kernel enforces: it refuses before it is killed.

Needs the right to make a control group of memory below one's own; else skipped.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from noded.memory_guard import own_bytes
from tests.daemon.server_clients import MEMORY, app, eventually, http, operator, resources
from tests.daemon_process import Daemon
from tests.proof.node import place
from tests.proof.test_exhaustion import MIB, refused, save

ROOM_BYTES = 160 * MIB
HOG = "kept = [bytearray(b'x' * (1 << 20)) for _ in range(2048)]"


@dataclass(frozen=True)
class Group:
    """A control group."""

    directory: Path

    @property
    def runner(self) -> tuple[str, ...]:
        """What starts a command in it."""
        return ("sh", "-c", f'echo $$ >"{self.directory}/cgroup.procs" && exec "$@"', "sh")

    def limit(self, size: int) -> None:
        """Allow so many bytes."""
        (self.directory / self._limit_file).write_text(str(size))

    @property
    def _limit_file(self) -> str:
        return next(name for name in ("memory.max", "memory.limit_in_bytes") if (self.directory / name).exists())


@contextmanager
def group() -> Iterator[Group]:
    """One below our own, removed at the end; skips the test where none can be made."""
    found = next(filter(None, map(_made, _own_groups())), None)
    if found is None:
        pytest.skip("no control group of memory can be made here")
    try:
        yield found
    finally:
        eventually(lambda: (found.directory / "cgroup.procs").read_text() == "")
        found.directory.rmdir()


def _own_groups() -> Iterator[Path]:
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers in {"", "memory"}:
            yield Path("/sys/fs/cgroup", controllers, path.lstrip("/"))


def _made(parent: Path) -> Group | None:
    """One whose memory can be limited, below `parent`; None: it cannot be made."""
    made = Group(parent / f"noded-proof-{os.getpid()}")
    try:
        made.directory.mkdir()
    except OSError:
        return None
    try:
        made.limit(1 << 40)
    except (OSError, StopIteration):
        made.directory.rmdir()
        return None
    return made


def _has_told(daemon: Daemon, times: int) -> bool:
    """Whether it has seen its ceiling change so often."""
    return daemon.log().count("the ceiling is") == times


def test_it_refuses_before_the_kernel_kills() -> None:
    """Filled until it says no, and further once its group is given more: it lives, and so does what it kept."""
    with group() as kernel, place(resources(MEMORY, app("a")), {"a": "default"}) as here:
        here.runner = kernel.runner
        with here.running() as daemon, http(daemon, "a") as client:
            operator(daemon, "/v1/apps")  # its operator's side is imported now, and counts too
            idle = own_bytes(Path(f"/proc/{daemon.process.pid}/statm"))
            kept = 0

            def fill() -> None:
                nonlocal kept
                while (answer := save(client, "memory", f"k{kept}", "x" * (MIB // 4))).status == 204:
                    kept += 1
                refused(answer)

            for times, room in enumerate((ROOM_BYTES, 2 * ROOM_BYTES), 1):
                kernel.limit(idle + room)
                eventually(partial(_has_told, daemon, times))
                eventually(lambda: save(client, "memory", "probe", "x").status, lambda status: status == 204)
                fill()
                assert kept > room // MIB
            assert client("GET", f"/v1.0/state/memory/k{kept - 1}").status == 200
            assert daemon.process.poll() is None
        killed = subprocess.run([*kernel.runner, sys.executable, "-c", HOG], check=False).returncode
        assert killed == -signal.SIGKILL, "who does not look is killed at that limit"
