"""Peers that ask and do not read: the daemon keeps a window of answers for each, and no more of their requests."""

import socket
from collections.abc import Callable

import pytest

from tests.daemon_process import Daemon
from tests.hostile.scene import (
    ATTACKER,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    LARGE_VALUE_BYTES,
    PREFACE,
    WINDOW_UPDATE,
    attacked,
    block,
    connections,
    frame,
    frames,
    push,
    settings,
)

PEERS = 10
LARGE = b"/v1.0/state/memory/large"
GET = b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % LARGE
REPEATS = 500
"""Requests of each peer: half a gibibyte of answers."""
ALL_WINDOWS = frame(WINDOW_UPDATE, 0, 0, (2**31 - 1 - 65535).to_bytes(4, "big"))
WINDOWS_OPEN = PREFACE + settings(initial_window=2**31 - 1) + ALL_WINDOWS


def get_http2(number: int) -> bytes:
    return frame(HEADERS, END_STREAM | END_HEADERS, 2 * number + 1, block(LARGE))


GETS_HTTP2 = b"".join(get_http2(number) for number in range(REPEATS))
SLOW = {"HTTP/1.1": GET * REPEATS, "HTTP/2, windows wide open": WINDOWS_OPEN + GETS_HTTP2}
KEPT_BYTES = 2 << 20
"""Of one such peer: a write buffer of 256 KiB, one answer of a mebibyte, and what is cut of it."""
BACKLOG_BYTES = 8 << 20
"""Of a peer on HTTP/2 that opens no window: 4 MiB of answers, one more, and the frames they are cut into."""


@pytest.mark.parametrize("requests", SLOW.values(), ids=SLOW.keys())
def test_a_peer_that_does_not_read_is_not_served_on(daemon: Daemon, requests: bytes) -> None:
    """Large answers that nobody reads stop the requests behind them, however many came in one read."""
    with attacked(daemon, PEERS * KEPT_BYTES) as neighbour, connections(daemon.http_socket(ATTACKER), PEERS) as peers:
        for peer in peers:
            push(peer, requests)
        neighbour.is_served()


@pytest.mark.parametrize("window", [0, 1, 100])
def test_windows_that_are_never_opened_keep_little(daemon: Daemon, window: int) -> None:
    """Answers that no window lets out stop the requests behind them: five hundred mebibytes were asked for."""
    opening = PREFACE + settings(initial_window=window) + ALL_WINDOWS
    with (
        attacked(daemon, PEERS * BACKLOG_BYTES) as neighbour,
        connections(daemon.http_socket(ATTACKER), PEERS) as peers,
    ):
        for peer in peers:
            push(peer, opening + GETS_HTTP2)
        neighbour.is_served()


def test_who_reads_late_gets_everything(daemon: Daemon) -> None:
    """The requests that were held back are answered once the peer reads."""
    count = 40
    with attacked(daemon, 2 * KEPT_BYTES), connections(daemon.http_socket(ATTACKER), 1) as (peer,):
        push(peer, GET)
        first = read_some(peer, lambda so_far: so_far.endswith(b'x"'))
        push(peer, GET * count)
        rest = read_some(peer, lambda so_far: len(so_far) >= count * len(first))
    assert rest.count(b"HTTP/1.1 200 OK\r\n") == count
    assert len(rest) == count * len(first)


def test_who_reads_late_gets_every_stream(daemon: Daemon) -> None:
    """On HTTP/2 too: those held back are begun once the answers before them are read."""
    count = 100
    gets = b"".join(get_http2(number) for number in range(count))
    with attacked(daemon, BACKLOG_BYTES), connections(daemon.http_socket(ATTACKER), 1) as (peer,):
        push(peer, WINDOWS_OPEN + gets)
        least = count * LARGE_VALUE_BYTES
        received = read_some(peer, lambda so_far: len(so_far) > least and ended(so_far) == count)
    bodies = sum(len(payload) for kind, _, _, payload in frames(received) if kind == DATA)
    assert bodies == count * (LARGE_VALUE_BYTES + len('""'))


def ended(received: bytes | bytearray) -> int:
    """How many streams the daemon ended."""
    return sum(kind == DATA and flags & END_STREAM for kind, flags, _, _ in frames(received))


def read_some(peer: socket.socket, enough: Callable[[bytearray], bool]) -> bytes:
    """Read until it is enough; fails the test when the daemon closes first."""
    peer.settimeout(20)
    received = bytearray()
    while not enough(received):
        piece = peer.recv(1 << 20)
        assert piece, f"closed after {len(received)} bytes"
        received += piece
    return bytes(received)
