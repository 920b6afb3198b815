"""The daemon's Unix sockets as files: made under a temporary name and renamed, so that no app ever meets half of one.

A stale file of a daemon that was killed is replaced; at exit only what is still ours is removed. One lock per
directory says that no second daemon works there. Source: unix(7), flock(2); node.md section 3.
"""

import fcntl
import os
import socket
import stat
from dataclasses import dataclass
from pathlib import Path

from components.disk import disk_remedy
from noded.config.paths import check_length
from tenancy.identity import Ownership, own_directory

BACKLOG = 1024
"""Connections waiting to be accepted; the kernel's own ceiling is net.core.somaxconn."""


class SocketError(RuntimeError):
    """A socket or its directory cannot be made; the message names the path and the remedy."""


@dataclass(frozen=True, slots=True)
class SocketFile:
    """A listening socket that has a path."""

    sock: socket.socket
    path: Path
    inode: int

    def remove(self) -> None:
        """Remove the file if it is still ours: a newer daemon may have put its own there."""
        try:
            if self.path.stat().st_ino == self.inode:
                self.path.unlink()
        except FileNotFoundError:
            return


class DirectoryLock:
    """Held while a daemon works in a directory; the kernel lets go of it when the process dies."""

    def __init__(self, directory: Path, what: str, mode: int = 0o755) -> None:
        """mode: of the directory where it must be made; one that exists keeps its own.

        Raises SocketError when another daemon has it, or the directory cannot be made.
        """
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=mode)
            self._file = os.open(directory / "noded.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            raise SocketError(f"{what} {directory}: is a file: choose another") from None
        except OSError as error:
            remedy = disk_remedy(error, directory, "make it writable or choose another")
            raise SocketError(f"{what} {directory}: {error.strerror}: {remedy}") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._file)
            remedy = "stop it, or give this one its own --run-dir and --state-dir"
            raise SocketError(f"another noded works in {what} {directory}: {remedy}") from None

    def release(self) -> None:
        """Let another daemon have the directory."""
        os.close(self._file)


def make_directory(path: Path, wanted: Ownership) -> None:
    """Make an app's directory with its owner, group and mode.

    Raises SocketError.
    """
    try:
        for parent in (path.parent.parent, path.parent):  # apps must be able to pass, whatever the umask
            parent.mkdir(parents=True, exist_ok=True)
            parent.chmod(0o755)
        path.mkdir(exist_ok=True, mode=0o700)
        own_directory(os.fspath(path), wanted)
    except OSError as error:
        remedy = disk_remedy(error, path, "the daemon must own it, and may need root")
        raise SocketError(f"directory {path}: {error.strerror}: {remedy}") from error


def bind_unix(path: Path, wanted: Ownership) -> SocketFile:
    """Listen at `path`, replacing what a dead daemon left.

    Raises SocketError, PathTooLongError.
    """
    check_length(path)
    _check_place(path)
    temporary = check_length(path.with_name(f".{os.getpid()}"))
    temporary.unlink(missing_ok=True)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(os.fspath(temporary))
        temporary.chmod(_socket_mode(wanted.mode))
        if wanted.uid >= 0 or wanted.gid >= 0:
            os.chown(temporary, wanted.uid, wanted.gid)
        sock.listen(BACKLOG)
        sock.setblocking(False)
        inode = temporary.stat().st_ino
        temporary.rename(path)
    except OSError as error:
        sock.close()
        temporary.unlink(missing_ok=True)
        remedy = disk_remedy(error, path.parent, "the daemon must own its directory, and may need root")
        raise SocketError(f"socket {path}: {error.strerror}: {remedy}") from error
    return SocketFile(sock, path, inode)


def bind_loopback(port: int) -> socket.socket:
    """Listen at 127.0.0.1:port; 0 takes a free one.

    Raises SocketError.
    """
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind(("127.0.0.1", port))
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        raise SocketError(f"127.0.0.1:{port}: {error.strerror}: choose another port, or 0 for a free one") from error
    return sock


def remove_directory(path: Path) -> None:
    """Remove an app's directory where nothing is left in it."""
    try:
        path.rmdir()
    except OSError:
        return


def _socket_mode(directory_mode: int) -> int:
    """Whoever may pass the directory may connect, which takes read and write on the socket."""
    return 0o600 | (0o060 if directory_mode & 0o010 else 0) | (0o006 if directory_mode & 0o001 else 0)


def _check_place(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        kind = "a directory" if stat.S_ISDIR(mode) else "no socket"
        raise SocketError(f"{path} is {kind}: something else made it (a container's mount?): remove it")
