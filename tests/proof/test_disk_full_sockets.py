"""A run directory on a disk without room for one more file: who asks for a socket is told what to do."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from noded.config.records import AppSpec, LoopbackSpec
from noded.endpoints import NodeEndpoints
from noded.loopback_places import Places
from noded.sockets import DirectoryLock, SocketError, bind_unix, make_directory
from tenancy.identity import Ownership
from tests.proof.disks import small_disk

PRIVATE = Ownership(-1, -1, 0o700)


def lock(disk: Path) -> None:
    DirectoryLock(disk, "run directory")


def directory(disk: Path) -> None:
    make_directory(disk / "apps" / "default" / "a", PRIVATE)


def sock(disk: Path) -> None:
    bind_unix(disk / "a.socket", PRIVATE)


def bind(endpoints: NodeEndpoints) -> None:
    for each in endpoints.bind():
        each.sock.close()


@pytest.mark.parametrize("make", [lock, directory, sock])
def test_a_socket_that_finds_no_room_says_what_to_do(tmp_path: Path, make: Callable[[Path], None]) -> None:
    """Its directory, the lock in that, the socket itself: the message names the disk; nothing is left behind."""
    disk = tmp_path / "disk"
    with small_disk(disk, "1m,nr_inodes=1"):
        with pytest.raises(SocketError, match=rf"No space left on device: make room on the disk of {disk}.*df -i"):
            make(disk)
        assert not [*disk.iterdir()]


def test_a_token_that_finds_no_room_says_what_to_do(tmp_path: Path) -> None:
    """An app's directory, its sockets and no more: the last file it needs is told of in the same way."""
    disk = tmp_path / "disk"
    with small_disk(disk, "1m,nr_inodes=6"):  # the disk's own, apps, default, a, and two sockets
        app = AppSpec("a", "default", loopback=LoopbackSpec(0, 0, None))
        endpoints = NodeEndpoints.of(app, disk, Places(disk / "loopback"))
        with pytest.raises(SocketError, match=f"api-token: No space left on device: make room on the disk of {disk}"):
            bind(endpoints)
        endpoints.remove()
        assert not [name for _, _, files in os.walk(disk) for name in files]
