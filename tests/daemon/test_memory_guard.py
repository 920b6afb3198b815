"""Which memory ceiling holds for the daemon, and what counts against it."""

import os
from pathlib import Path

import pytest

from noded.memory_guard import group_bytes, own_bytes, watched

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
    ceiling = watched(None, groups, own)
    assert ceiling.allowed_bytes == MACHINE
    assert ceiling.used_bytes() == 2000 * os.sysconf("SC_PAGE_SIZE"), "resident, without what files back"
    assert watched(1 << 62, groups, own).allowed_bytes == MACHINE


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
    assert watched(limit, write(tmp_path / "groups", files), own).allowed_bytes == allowed


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
