"""Who else has the file open? daprd, the sqlite3 shell and backup tools may, at any time."""

import fcntl
import os
import struct
from pathlib import Path

_LOCK = struct.Struct("@hhqqi0q")
"""struct flock: type, whence, start, length, process."""
_EVERYONE_BYTE = 128
"""Of the -shm file: who has the database open in WAL mode holds a shared lock on it.

Source: SQLite's os_unix.c, UNIX_SHM_DMS; https://www.sqlite.org/walformat.html, section 2.3.
"""


class Sharing:
    """A look at the locks of one file in WAL mode, which takes none.

    To be closed after every connection of this process: to close any descriptor of a file drops a process's locks.
    """

    def __init__(self, path: Path) -> None:
        """Look at the open database `path`. Raises OSError."""
        self._descriptor = os.open(f"{path}-shm", os.O_RDWR | os.O_CLOEXEC)

    def others(self) -> bool:
        """Whether another process has it open. Raises OSError."""
        asked = _LOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, _EVERYONE_BYTE, 1, 0)
        found: int = _LOCK.unpack(fcntl.fcntl(self._descriptor, fcntl.F_GETLK, asked))[0]
        return found != fcntl.F_UNLCK

    def close(self) -> None:
        """Stop looking."""
        os.close(self._descriptor)
