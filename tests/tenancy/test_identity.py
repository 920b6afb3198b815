"""Identity from the kernel: who connected, and who may own a directory."""

import grp
import os
import pwd
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tenancy.identity import (
    Lookups,
    Ownership,
    Peer,
    Unidentified,
    UnknownAccountError,
    allowed,
    own_directory,
    ownership,
    peer_groups,
    peer_of,
)

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")

CONNECT_AS = """
import os, socket, sys
os.setgroups([4001, 4002]); os.setgid(3001); os.setuid(3000)
peer = socket.socket(socket.AF_UNIX); peer.connect(sys.argv[1])
peer.recv(1)
"""


@pytest.fixture
def listener(tmp_path_factory: pytest.TempPathFactory) -> Iterator[socket.socket]:
    """A Unix socket that anybody may connect to."""
    path = f"\0noded-test-{os.getpid()}-{tmp_path_factory.getbasetemp().name}"
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(path)
        made.listen()
        made.settimeout(10)
        yield made


def groups_unknown() -> tuple[int, ...]:
    """A kernel that does not answer."""
    raise OSError(92, "Protocol not available")


def groups_unasked() -> tuple[int, ...]:
    """A lookup that must not happen."""
    raise AssertionError("supplementary groups were asked for")


def test_the_kernel_names_this_process(listener: socket.socket) -> None:
    """Credentials are of who connected: process, user, group, and its supplementary groups."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(listener.getsockname())
        connection, _ = listener.accept()
        with connection:
            peer = peer_of(connection)

            assert (os.getpid(), os.geteuid(), os.getegid()) == (peer.pid, peer.uid, peer.gid)
            assert set(os.getgroups()) == set(peer.groups())


@needs_root
def test_another_user_is_known_by_uid_gid_and_supplementary_group(listener: socket.socket) -> None:
    """A process of user 3000, group 3001, also in 4001 and 4002, is let in by each of these and by no other."""
    path = listener.getsockname().decode()
    script = CONNECT_AS.replace("sys.argv[1]", repr(path))
    client = subprocess.Popen([sys.executable, "-I", "-S", "-c", script])
    try:
        connection, _ = listener.accept()
        with connection:
            peer = peer_of(connection)
            assert (client.pid, 3000, 3001) == (peer.pid, peer.uid, peer.gid)
            assert {4001, 4002} == set(peer.groups())
            assert allowed(peer, [3000], [])
            assert allowed(peer, [], [3001])
            assert allowed(peer, [], [4002])
            assert not allowed(peer, [0, 3001], [0, 3000])
    finally:
        client.kill()
        client.wait(10)


@needs_root
def test_groups_are_of_the_moment_of_connecting(listener: socket.socket) -> None:
    """They are still known when the process is gone, so no other process that gets its pid can be taken for it."""
    script = CONNECT_AS.replace("sys.argv[1]", repr(listener.getsockname().decode())).replace("peer.recv(1)", "")
    subprocess.run([sys.executable, "-I", "-S", "-c", script], check=True, timeout=20)
    connection, _ = listener.accept()
    with connection:
        assert {4001, 4002} == set(peer_of(connection).groups())


def test_a_tcp_connection_has_no_identity() -> None:
    """What the kernel cannot name is nobody, rather than user -1 or root."""
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as client,
        pytest.raises(Unidentified),
    ):
        peer_of(client)


def test_a_closed_connection_has_no_identity() -> None:
    """A failing system call is told as Unidentified."""
    one, other = socket.socketpair()
    one.close()
    other.close()

    with pytest.raises(Unidentified, match="cannot be had"):
        peer_of(one)


class ManyGroups:
    """A kernel that answers SO_PEERGROUPS as it is told."""

    def __init__(self, answer: bytes | OSError) -> None:
        self.answer = answer

    def getsockopt(self, _level: int, _option: int, _buflen: int, /) -> bytes:
        """Answer."""
        if isinstance(self.answer, OSError):
            raise self.answer
        return self.answer


def test_the_answer_of_the_kernel_is_a_row_of_group_ids() -> None:
    """Native 32-bit numbers, none for a process in no group; too many are an error."""
    assert peer_groups(ManyGroups(b"")) == ()
    assert peer_groups(ManyGroups((4_000_000_000).to_bytes(4, sys.byteorder) * 2)) == (4_000_000_000,) * 2
    with pytest.raises(OSError, match="too small"):
        peer_groups(ManyGroups(OSError(34, "buffer too small")))


@pytest.mark.parametrize(
    ("uids", "gids", "let_in"),
    [
        ((), (), True),
        ((1000,), (), True),
        ((1001, 1000), (), True),
        ((), (2000,), True),
        ((1001,), (2000,), True),
        ((1000,), (9,), True),
        ((), (30,), True),
        ((1001,), (30,), True),
        ((1001,), (), False),
        ((), (1000,), False),
        ((2000,), (), False),
        ((0,), (9,), False),
    ],
)
def test_a_listed_user_or_a_member_of_a_listed_group_is_let_in(
    uids: tuple[int, ...],
    gids: tuple[int, ...],
    let_in: bool,  # noqa: FBT001
) -> None:
    """Peer 1000:2000, also in 30 and 31. With nobody listed, whoever may open the socket is let in."""
    assert let_in == allowed(Peer(1, 1000, 2000, lambda: (30, 31)), uids, gids)


@pytest.mark.parametrize(("uids", "gids"), [((), ()), ((1000,), (9,)), ((), (2000,)), ((1,), ())])
def test_supplementary_groups_are_asked_for_only_when_they_decide(uids: tuple[int, ...], gids: tuple[int, ...]) -> None:
    """An accept costs one system call where user or primary group settle it, or no group is listed."""
    allowed(Peer(1, 1000, 2000, groups_unasked), uids, gids)


def test_groups_that_cannot_be_had_let_nobody_in() -> None:
    """It fails closed."""
    assert not allowed(Peer(1, 1000, 2000, groups_unknown), (), (30,))


def test_root_is_not_let_in_unless_listed() -> None:
    """Who is listed is listed; user 0 is a user."""
    assert not allowed(Peer(1, 0, 0, lambda: (0,)), (1000,), (1000,))


LOOKUPS = Lookups(user_id={"orders": 1001}.__getitem__, group_id={"apps": 2001}.__getitem__)


@pytest.mark.parametrize(
    ("owner", "group", "mode", "wanted"),
    [
        (None, None, None, Ownership(-1, -1, 0o700)),
        ("orders", None, None, Ownership(1001, -1, 0o700)),
        ("orders", "apps", None, Ownership(1001, 2001, 0o750)),
        (None, "apps", 0o710, Ownership(-1, 2001, 0o710)),
        ("0", "77", None, Ownership(0, 77, 0o750)),
    ],
)
def test_a_directory_is_owned_by_name_or_number(
    owner: str | None, group: str | None, mode: int | None, wanted: Ownership
) -> None:
    """A number needs no account on the machine; without a mode a named group may enter, others may not."""
    assert wanted == ownership(owner, group, mode, LOOKUPS)


@pytest.mark.parametrize(
    ("owner", "group", "message"),
    [
        ("nobody-here", None, "no user 'nobody-here' on this machine"),
        (None, "none-here", "no group 'none-here' on this machine"),
        ("-1", None, "no user '-1' on this machine"),
        ("٣", None, "no user '٣' on this machine"),
        ("", None, "no user '' on this machine"),
    ],
)
def test_an_unknown_name_is_a_clear_error(owner: str | None, group: str | None, message: str) -> None:
    """It says which name, and what to give instead."""
    with pytest.raises(UnknownAccountError, match=f"{message}: name an existing one, or give its number"):
        ownership(owner, group, None, LOOKUPS)


def test_names_come_from_the_machine_by_default() -> None:
    """The system's own user and group tables."""
    user, group = pwd.getpwall()[0], grp.getgrall()[0]

    assert Ownership(user.pw_uid, group.gr_gid, 0o750) == ownership(user.pw_name, group.gr_name, None)


def test_a_directory_gets_its_mode(tmp_path: Path) -> None:
    """Whatever the umask was when it was made."""
    own_directory(str(tmp_path), Ownership(-1, -1, 0o750))

    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o750


@needs_root
def test_a_directory_gets_its_owner(tmp_path: Path) -> None:
    """Owner and group are given, then the mode, which a change of owner may have cut."""
    own_directory(str(tmp_path), Ownership(3000, 3001, 0o2750))
    found = tmp_path.stat()

    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (3000, 3001, 0o2750)
