"""Who the kernel says is calling, and who may own an app's directory.

The one file of this package that asks the operating system. Facts about SO_PEERCRED (unix(7)): pid, uid and gid are of
connect() time; across PID namespaces the pid is 0; a descriptor can be passed on, so this names who connected, not who
writes. SO_PEERGROUPS (Linux 4.13) gives the supplementary groups of that same moment, with no pid that could have been
reused since, and works where /proc does not.
"""

import grp
import os
import pwd
import socket
import struct
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final, Protocol

SO_PEERGROUPS: Final = 59
"""asm-generic/socket.h; absent from Python's socket module."""
MAX_GROUPS_BYTES: Final = 1024
"""The largest answer getsockopt takes in Python: 256 groups. A peer in more fails closed."""
NOBODY_KNOWN: Final = 0xFFFFFFFF
"""The uid, -1, that SO_PEERCRED answers for a socket that is no connected Unix socket."""
_CREDENTIALS = struct.Struct("iII")  # struct ucred: pid, uid, gid


class SocketOptions(Protocol):
    """The part of a socket that identity needs; asyncio's TransportSocket has it too."""

    def getsockopt(self, level: int, option: int, buflen: int, /) -> bytes:
        """As socket.getsockopt."""


@dataclass(frozen=True, slots=True)
class Peer:
    """The process that connected, as of then."""

    pid: int
    """0 when it lives in another PID namespace."""
    uid: int
    gid: int
    groups: Callable[[], Collection[int]]
    """Asks the kernel for the supplementary groups. Raises OSError."""


@dataclass(frozen=True, slots=True)
class Lookups:
    """What is asked of the operating system; tests put their own in place."""

    user_id: Callable[[str], int] = lambda name: pwd.getpwnam(name).pw_uid
    """Raises KeyError for a name nobody has."""
    group_id: Callable[[str], int] = lambda name: grp.getgrnam(name).gr_gid
    """Raises KeyError for a name no group has."""


SYSTEM: Final = Lookups()


class Unidentified(Exception):
    """The kernel does not say who connected: refuse the connection."""


class UnknownAccountError(ValueError):
    """No user or group of that name: name one of this machine, or give its number."""


def peer_of(connection: SocketOptions) -> Peer:
    """Ask who connected. Raises Unidentified where the kernel does not say, as for a TCP connection."""
    try:
        answer = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    except OSError as failure:
        raise Unidentified(f"peer credentials cannot be had: {failure}") from failure
    pid, uid, gid = _CREDENTIALS.unpack(answer)
    if uid == NOBODY_KNOWN:
        raise Unidentified("the connection has no peer credentials: it is not a Unix socket")
    return Peer(pid, uid, gid, lambda: peer_groups(connection))


def peer_groups(connection: SocketOptions) -> tuple[int, ...]:
    """The supplementary groups of who connected. Raises OSError when the kernel cannot say or they are too many."""
    answer = connection.getsockopt(socket.SOL_SOCKET, SO_PEERGROUPS, MAX_GROUPS_BYTES)
    return struct.unpack(f"{len(answer) // 4}I", answer)


def allowed(peer: Peer, uids: Collection[int], gids: Collection[int]) -> bool:
    """Whether a listed user, or a member of a listed group, is calling; with nobody listed, everybody is.

    Supplementary groups are asked for only when nothing else matched. When they cannot be had, the answer is no.
    """
    if not uids and not gids:
        return True
    if peer.uid in uids or peer.gid in gids:
        return True
    if not gids:
        return False
    try:
        return not set(gids).isdisjoint(peer.groups())
    except OSError:
        return False


@dataclass(frozen=True, slots=True)
class Ownership:
    """How an app's directory is to be owned. -1, as for chown(2): leave as it is."""

    uid: int
    gid: int
    mode: int


def ownership(owner: str | None, group: str | None, mode: int | None, lookups: Lookups = SYSTEM) -> Ownership:
    """Resolve names or numbers; without a mode, 0750 where a group is named, else 0700.

    Raises UnknownAccountError.
    """
    uid = -1 if owner is None else _number(owner, lookups.user_id, "user")
    gid = -1 if group is None else _number(group, lookups.group_id, "group")
    return Ownership(uid, gid, (0o700 if group is None else 0o750) if mode is None else mode)


def own_directory(path: str, wanted: Ownership) -> None:
    """Give a directory its owner, then its mode. Raises PermissionError: only root may give to another user."""
    if wanted.uid != -1 or wanted.gid != -1:
        os.chown(path, wanted.uid, wanted.gid, follow_symlinks=False)
    os.chmod(path, wanted.mode)  # noqa: PTH101 - beside chown, which Path has not


def _number(name: str, look_up: Callable[[str], int], kind: str) -> int:
    if name.isascii() and name.isdigit():
        return int(name)
    try:
        return look_up(name)
    except KeyError:
        raise UnknownAccountError(
            f"no {kind} {name!r} on this machine: name an existing one, or give its number"
        ) from None
