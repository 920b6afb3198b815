"""Frames, heads and bodies without end: each is refused by the right error, and nobody else hears of it."""

import json
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tenancy.fairness import CROWDED_BYTES, OVERRUN_BYTES
from tests.daemon.server_clients import read_all
from tests.daemon_process import Daemon
from tests.hostile.scene import (
    ATTACKER,
    CONTINUATION,
    END_HEADERS,
    END_STREAM,
    ENHANCE_YOUR_CALM,
    FLOW_CONTROL_ERROR,
    HEADERS,
    NEIGHBOUR,
    PING,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    attacked,
    block,
    connections,
    forget_peak,
    frame,
    frames,
    goaway_code,
    memory_bytes,
    push,
    settings,
)

ROUNDS = 20_000
"""Far beyond any budget."""
PEERS = 5
GET = block(b"/v1.0/healthz")
SAVE = block(b"/v1.0/state/memory", b"POST")
OPENING = PREFACE + settings()


def _open_and_reset(number: int) -> bytes:
    stream_id = 2 * number + 1
    return frame(HEADERS, END_HEADERS, stream_id, SAVE) + frame(RST_STREAM, 0, stream_id, b"\0\0\0\x08")


FLOODS = {
    "rapid reset": b"".join(map(_open_and_reset, range(ROUNDS))),
    "SETTINGS": settings(initial_window=65535) * ROUNDS,
    "empty SETTINGS": frame(SETTINGS, 0, 0) * ROUNDS,
    "PING": frame(PING, 0, 0, bytes(8)) * ROUNDS,
    "CONTINUATION": frame(HEADERS, 0, 1, GET) + frame(CONTINUATION, 0, 1, bytes(1000)) * ROUNDS,
    "empty CONTINUATION": frame(HEADERS, 0, 1, GET) + frame(CONTINUATION, 0, 1) * ROUNDS,
}


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS.keys())
def test_a_flood_of_frames_ends_its_connection(daemon: Daemon, flood: bytes) -> None:
    """After the burst that is allowed the daemon says ENHANCE_YOUR_CALM and closes, on either socket."""
    paths = [daemon.http_socket(ATTACKER), daemon.grpc_socket(ATTACKER)]
    with attacked(daemon):
        for path in paths:
            with connections(path, PEERS) as peers:
                for peer in peers:
                    push(peer, OPENING + flood)
                    assert goaway_code(_rest(peer)) in (ENHANCE_YOUR_CALM, None)  # a reset may overtake it


def test_a_flooding_peer_is_told_why(daemon: Daemon) -> None:
    """A peer that reads finds the GOAWAY: ENHANCE_YOUR_CALM."""
    with attacked(daemon), connections(daemon.http_socket(ATTACKER), 1) as (peer,):
        peer.sendall(OPENING + frame(SETTINGS, 0, 0) * 1100)
        assert goaway_code(_rest(peer)) == ENHANCE_YOUR_CALM


def test_peers_that_come_and_go_leave_little(daemon: Daemon, tmp_path: Path) -> None:
    """Faster than their tenant's turn beside another's flood: what they said and left is bounded for all together."""
    request = tmp_path / "request"
    sockets = [str(daemon.http_socket(ATTACKER)), str(daemon.grpc_socket(ATTACKER))]
    others = [sys.executable, "-m", "bench.flood", str(daemon.http_socket(NEIGHBOUR)), str(request), "3"]
    request.write_bytes(b"GET /v1.0/healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    before = forget_peak(daemon)
    with subprocess.Popen([sys.executable, "-m", "tests.hostile.attackers", "empty_continuation", *sockets]) as peers:
        flood = subprocess.run(others, check=True, capture_output=True, timeout=60)
        peers.kill()
    grown = memory_bytes(daemon, "VmHWM") - before
    assert json.loads(flood.stdout)["completed"] > 0
    assert grown < OVERRUN_BYTES + CROWDED_BYTES + (32 << 20), f"grew by {grown / 2**20:.0f} MiB"


@pytest.mark.parametrize("stream_id", [0, 1])
def test_a_window_that_overflows_is_an_error(daemon: Daemon, stream_id: int) -> None:
    """WINDOW_UPDATE beyond 2^31-1 ends the connection, or the stream it is for (RFC 9113, 6.9.1)."""
    save = frame(HEADERS, END_HEADERS, 1, SAVE)
    growth = frame(WINDOW_UPDATE, 0, stream_id, (2**31 - 1).to_bytes(4, "big"))
    with attacked(daemon), connections(daemon.http_socket(ATTACKER), 1) as (peer,):
        peer.sendall(OPENING + save + growth)
        peer.shutdown(socket.SHUT_WR)
        received = _rest(peer)
    error = FLOW_CONTROL_ERROR.to_bytes(4, "big")
    resets = [payload for kind, _, of, payload in frames(received) if kind == RST_STREAM and of == stream_id]
    assert goaway_code(received) == FLOW_CONTROL_ERROR if stream_id == 0 else resets == [error]


@pytest.mark.parametrize(("references", "answers"), [(400, 100), (10_000, 0)])
def test_a_header_bomb_is_never_unfolded(daemon: Daemon, references: int, answers: int) -> None:
    """Megabytes that a dynamic table would unfold are answered 431 and kept by nobody; from forty on it ends."""
    bomb = GET + b"\x40\x01a\x7f\xa1\x1e" + b"v" * 4000 + b"\xbe" * references
    streams = b"".join(frame(HEADERS, END_STREAM | END_HEADERS, 2 * number + 1, bomb) for number in range(100))
    with attacked(daemon), connections(daemon.http_socket(ATTACKER), PEERS) as peers:
        for peer in peers:
            push(peer, OPENING + streams, patience_seconds=10.0)  # their turns come one after the other
            with suppress(OSError):  # it is cut off already
                peer.shutdown(socket.SHUT_WR)
        received = [_rest(peer) for peer in peers]
    for each in received:
        statuses = [payload for kind, _, _, payload in frames(each) if kind == HEADERS]
        assert len(statuses) == answers
        assert all(b"431" in status for status in statuses)
        assert answers or goaway_code(each) in (ENHANCE_YOUR_CALM, None)  # a reset may overtake it


@pytest.mark.parametrize(
    "endless", [b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 2_000_000, b"GET /" + b"a" * (16 << 20)]
)
def test_a_head_without_end_is_refused(daemon: Daemon, endless: bytes) -> None:
    """As soon as it is larger than a head may be: 431, and the connection is closed."""
    with attacked(daemon), connections(daemon.http_socket(ATTACKER), PEERS) as peers:
        for peer in peers:
            assert push(peer, endless) < len(endless)
            assert _rest(peer).startswith(b"HTTP/1.1 431 ")


def test_a_chunked_body_without_end_is_refused(daemon: Daemon) -> None:
    """Once it is larger than a body may be it is answered, and what follows is not kept."""
    head = b"POST /v1.0/state/memory HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    body = (b"10000\r\n" + bytes(0x10000) + b"\r\n") * 1024
    with attacked(daemon, PEERS * (8 << 20)), connections(daemon.http_socket(ATTACKER), PEERS) as peers:
        for peer in peers:
            assert push(peer, head + body) < len(head + body)
            assert _rest(peer)[9:12] in (b"413", b"400", b"500")


def test_half_a_head_has_a_deadline(daemon: Daemon) -> None:
    """However steadily it trickles: who has not sent a whole head after ten seconds is cut off."""
    with attacked(daemon) as neighbour, connections(daemon.http_socket(ATTACKER), 100) as peers:
        open_peers, trickle = list(peers), iter(b"GET /v1.0/healthz HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 1000)
        for sock in peers:
            sock.setblocking(False)
        deadline = time.monotonic() + 60
        while open_peers and time.monotonic() < deadline:
            piece = bytes((next(trickle),))
            open_peers = [sock for sock in open_peers if _takes(sock, piece)]
            time.sleep(0.2)
        assert not open_peers
        neighbour.is_served()


def _takes(sock: socket.socket, piece: bytes) -> bool:
    try:
        sock.send(piece)
    except OSError:
        return False
    return True


def _rest(peer: socket.socket) -> bytes:
    peer.settimeout(20)
    return read_all(peer)
