"""Which memory ceiling holds for the daemon, and what counts against it."""

import os
from pathlib import Path

import pytest
import trio
import trio.testing

from noded.memory_guard import CEILINGS_SECONDS, Ceilings, group_bytes, own_bytes, watch
from tenancy.pressure import Pressure, Stage
from tenancy.tenant import Tenants

MACHINE = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
MIB = 1 << 20


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def proc(root: Path, memberships: str) -> Path:
    return write(root / "proc", {"cgroup": memberships, "statm": "9000 3000 1000 1 0 500 0\n"})


def test_without_any_the_machines_memory_is_the_ceiling(tmp_path: Path) -> None:
    """The word "max" is no ceiling, nor is a number beyond the machine; use is the process's own."""
    own = proc(tmp_path, "0::/a\n")
    groups = write(tmp_path / "groups", {"a/memory.max": "max\n", "memory.limit_in_bytes": f"{1 << 62}\n"})
    ceiling = Ceilings(None, groups, own).smallest()
    assert ceiling.allowed_bytes == MACHINE
    assert ceiling.used_bytes() == 2000 * os.sysconf("SC_PAGE_SIZE"), "resident, without what files back"
    assert Ceilings(1 << 62, groups, own).smallest().allowed_bytes == MACHINE


@pytest.mark.parametrize(
    ("files", "limit", "allowed"),
    [
        ({"a/b/memory.max": "50000000"}, None, 50_000_000),
        ({"a/b/memory.max": "50000000", "a/b/memory.high": "40000000"}, None, 40_000_000),
        ({"a/b/memory.max": "max", "a/memory.max": "30000000"}, None, 30_000_000),
        ({"a/b/memory.max": "50000000"}, 20_000_000, 20_000_000),
        ({"a/b/memory.max": "50000000"}, 60_000_000, 50_000_000),
        ({"a/b/memory.max": "junk"}, 60_000_000, 60_000_000),
        ({"memory/a/c/memory.limit_in_bytes": "10000000"}, None, 10_000_000),
        ({"memory/memory.limit_in_bytes": "10000000"}, None, 10_000_000),
    ],
)
def test_the_smallest_ceiling_holds(tmp_path: Path, files: dict[str, str], limit: int | None, allowed: int) -> None:
    """Of both versions of control groups, a group's and those it is in, and the daemon's own setting."""
    own = proc(tmp_path, "4:memory:/a/c\n3:cpu:/else\n0::/a/b\n")
    assert Ceilings(limit, write(tmp_path / "groups", files), own).smallest().allowed_bytes == allowed


@pytest.mark.parametrize("file", ["memory.max", "memory.high"])
def test_a_ceiling_that_changes_holds_from_then_on(tmp_path: Path, file: str) -> None:
    """A container is resized while it runs: downwards it is refused in time, upwards nothing is refused for nothing."""
    group = write(tmp_path / "groups/a", {"memory.max": "max", "memory.high": "max"})
    write(group, {"memory.current": str(50 * MIB), "memory.stat": "anon 1\n"})
    ceilings = Ceilings(None, tmp_path / "groups", proc(tmp_path, "0::/a\n"))
    tenants = Tenants(clock=lambda: 0.0)
    pressure = Pressure(tenants.node, tenants.books)
    stages = []

    async def resize() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch, ceilings, pressure)
            for ceiling in ("max", str(54 * MIB), str(51 * MIB), str(100 * MIB), "max"):
                write(group, {file: ceiling})
                await trio.sleep(2 * CEILINGS_SECONDS)
                stages.append(pressure.stage)
            nursery.cancel_scope.cancel()

    trio.run(resize, clock=trio.testing.MockClock(autojump_threshold=0.01))
    assert stages == [Stage.NOTHING, Stage.GROWTH, Stage.ALL, Stage.NOTHING, Stage.NOTHING]


@pytest.mark.parametrize(("current", "prefix"), [("memory.current", ""), ("memory.usage_in_bytes", "total_")])
def test_the_cache_of_files_does_not_count(tmp_path: Path, current: str, prefix: str) -> None:
    """A store that was read through would else close the gate for nothing: the kernel takes its pages back first."""
    stat = f"anon 1\n{prefix}inactive_file {30 * MIB}\n{prefix}active_file {20 * MIB}\nfile {60 * MIB}\n"
    write(tmp_path, {current: f"{100 * MIB}\n", "memory.stat": stat})
    assert group_bytes(tmp_path) == 50 * MIB


def test_the_process_is_read_as_the_kernel_tells_it() -> None:
    """What is allocated and touched shows up."""
    before = own_bytes(Path("/proc/self/statm"))
    held = bytearray(os.urandom(64 * MIB))
    assert own_bytes(Path("/proc/self/statm")) - before > 32 * MIB
    assert len(held) == 64 * MIB
