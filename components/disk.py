"""What to do where a file system refuses to write, by what the kernel says. Source: open(2), write(2), bind(2)."""

import errno
from pathlib import Path


def disk_remedy(error: OSError, place: Path, otherwise: str) -> str:
    """What to do for what was to be written at `place`; `otherwise`: where the disk is not to blame."""
    if error.errno == errno.ENOSPC:
        return f"make room on the disk of {place} (`df` and `df -i` tell what it lacks)"
    if error.errno == errno.EDQUOT:
        return f"this user's disk quota for {place} is used up: make room, or have it raised"
    if error.errno == errno.EFBIG:
        return "this process may not make larger files: raise that limit (`ulimit -f`, LimitFSIZE)"
    if error.errno == errno.EIO:
        return f"the disk of {place} has failed: `dmesg` tells how"
    return otherwise
