"""Reading resources that somebody may be writing: not before every file has stood still for a moment.

A file is emptied first and then filled, and what stands in it between may be right YAML that says less: an app without
its limits, or no app at all. Who renames a finished file into place is not waited for longer than others.
"""

import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from noded.config.load import SUFFIXES, Loaded, load_resources

STILL_SECONDS = 0.1
"""Since the last change to any file, before they are read. An editor's steps of one save are closer together."""
LONGEST_SECONDS = 2.0
"""After which files are read although they go on changing; the next reload reads them again."""

State = Mapping[Path, tuple[int, int, int]]
"""{file: its inode, size in bytes, and time of change in nanoseconds}"""


def load_at_rest(paths: Iterable[Path]) -> Loaded:
    """As load_resources, once the files stand still and did so while they were read. Blocks for two seconds at most."""
    paths = tuple(paths)
    until = time.monotonic() + LONGEST_SECONDS
    while time.monotonic() < until:
        seen = state_of(paths)
        age = time.time() - max((changed for _, _, changed in seen.values()), default=0) / 1e9
        if 0 <= age < STILL_SECONDS:  # negative: the clock was set back; nobody knows how old it is
            time.sleep(STILL_SECONDS - age)
            continue
        loaded = load_resources(paths)
        if state_of(paths) == seen:
            return loaded
    return load_resources(paths)


def state_of(paths: Iterable[Path]) -> State:
    """What tells whether files changed. One that cannot be asked is left out: reading it says why."""
    found = {}
    for path in paths:
        for file in _files(path):
            try:
                stat = file.stat()
            except OSError:
                continue
            found[file] = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
    return found


def _files(path: Path) -> tuple[Path, ...]:
    try:
        return tuple(each for each in path.iterdir() if each.suffix in SUFFIXES)
    except OSError:
        return (path,)
