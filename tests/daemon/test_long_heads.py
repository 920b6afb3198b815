"""Long heads over HTTP/2, decoded in pieces in their tenant's turn: answered whatever their peer does meanwhile."""

import socket
from collections.abc import Iterator
from pathlib import Path

import h2.config
import h2.connection
import h2.events
import pytest

from tests.daemon.server_clients import MEMORY, app, resources
from tests.daemon_process import Daemon, running_daemon

SOME = 8
HEAD = [(":method", "GET"), (":scheme", "http"), (":authority", "localhost"), (":path", "/v1.0/healthz")]


@pytest.fixture(scope="module")
def node() -> Iterator[Daemon]:
    with running_daemon(resources(MEMORY, app("shop"), app("bank")), {"shop": "default", "bank": "default"}) as running:
        yield running


def asked(changing: str) -> bytes:
    """Requests whose heads are all long and new: 1.5 KiB in Huffman's code."""
    client = h2.connection.H2Connection(h2.config.H2Configuration())
    client.initiate_connection()
    for number in range(SOME):
        more = [(f"y-{field}", f"{changing}{number}" * 20) for field in range(44)]
        client.send_headers(2 * number + 1, [*HEAD, *more], end_stream=True)
    said = client.data_to_send()
    assert len(said) > 1200 * SOME
    return said


def statuses(path: Path, said: bytes, *, ends: bool) -> list[str]:
    """What is answered to them until the daemon closes, or all have an answer."""
    reader = h2.connection.H2Connection(h2.config.H2Configuration())
    reader.initiate_connection()
    for number in range(SOME):
        reader.send_headers(2 * number + 1, HEAD, end_stream=True)
    found: list[str] = []
    with socket.socket(socket.AF_UNIX) as peer:
        peer.settimeout(20)
        peer.connect(str(path))
        peer.sendall(said)
        if ends:
            peer.shutdown(socket.SHUT_WR)
        while len(found) < SOME and (data := peer.recv(65536)):
            answers = [each for each in reader.receive_data(data) if isinstance(each, h2.events.ResponseReceived)]
            found += [dict(answer.headers)[b":status"].decode() for answer in answers]
    return found


@pytest.mark.parametrize("ends", [False, True])
def test_all_are_answered(node: Daemon, ends: bool) -> None:  # noqa: FBT001
    """Also where the client ends its side as soon as it has asked."""
    assert statuses(node.http_socket("shop"), asked("s"), ends=ends) == ["204"] * SOME


def test_a_client_that_goes_leaves_nothing(node: Daemon) -> None:
    """Half-way through its heads; others are served."""
    for _ in range(20):
        with socket.socket(socket.AF_UNIX) as peer:
            peer.connect(str(node.http_socket("shop")))
            peer.sendall(asked("g"))
    assert statuses(node.http_socket("bank"), asked("b"), ends=False) == ["204"] * SOME
    assert "Traceback" not in node.log()
