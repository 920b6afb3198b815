"""A gibibyte through the daemon, either way: its memory stays where it was, because bodies pass and are not kept."""

import json
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import grpc
import pytest

from tests.daemon.grpc_app import WAIT_SECONDS, grpc_app
from tests.daemon_process import Daemon, running_daemon, wait_for_socket

MEBIBYTE = 1 << 20
BODY_BYTES = 1024 * MEBIBYTE
MAX_GROWTH_BYTES = 20 * MEBIBYTE
SECONDS = 50.0
PIECE = bytes(MEBIBYTE)
CALLER = """
apiVersion: noded.io/v1alpha1
kind: App
metadata: {name: caller}
spec: {limits: {requestBytes: 2Gi}}
---
"""
CALLEE = """
apiVersion: noded.io/v1alpha1
kind: App
metadata: {name: callee}
spec: {channel: @CHANNEL@}
"""


class Bulk:
    """An app that takes and gives bodies: /up answers with the bytes it got, /down has BODY_BYTES."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        sock.settimeout(SECONDS)
        with sock:
            while head := read_head(sock):
                line, headers, body = head
                if b" /down " in line:
                    give(sock, b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % BODY_BYTES, chunked=False)
                elif b" /up " in line:
                    got = b"%d" % take(sock, headers, body)
                    sock.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(got), got))
                else:
                    sock.sendall(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")


def read_head(sock: socket.socket) -> tuple[bytes, bytes, bytes] | None:
    """First line, headers, and what came of the body; None: the connection is over."""
    got = b""
    while b"\r\n\r\n" not in got:
        piece = sock.recv(65536)
        if not piece:
            return None
        got += piece
    head, _, body = got.partition(b"\r\n\r\n")
    line, _, headers = head.partition(b"\r\n")
    return line, headers.lower() + b"\r\n", body


def take(sock: socket.socket, headers: bytes, begun: bytes) -> int:
    """Read a body of known length, or one in chunks to its last; the bytes as they came."""
    buffer = memoryview(bytearray(MEBIBYTE))
    size, tail = len(begun), begun[-5:]
    _, announced, length = headers.partition(b"content-length: ")
    wanted = int(length.partition(b"\r\n")[0]) if announced else None
    while size < wanted if wanted is not None else tail != b"0\r\n\r\n":
        count = sock.recv_into(buffer)
        assert count, f"closed after {size} bytes"
        size += count
        tail = (tail + bytes(buffer[max(0, count - 5) : count]))[-5:]
    return size


def read_answer(sock: socket.socket) -> tuple[bytes, bytes]:
    """First line and body of a short answer."""
    answer = read_head(sock)
    assert answer is not None
    line, headers, body = answer
    length = int(headers.partition(b"content-length: ")[2].partition(b"\r\n")[0])
    while len(body) < length:
        body += sock.recv(length - len(body))
    return line, body


def give(sock: socket.socket, head: bytes, *, chunked: bool) -> None:
    """Send a head and BODY_BYTES."""
    sock.sendall(head)
    piece = b"%x\r\n%b\r\n" % (len(PIECE), PIECE) if chunked else PIECE
    for _ in range(BODY_BYTES // MEBIBYTE):
        sock.sendall(piece)
    if chunked:
        sock.sendall(b"0\r\n\r\n")


class Resident:
    """How much a process's resident memory grows while a block runs, looked at all the time."""

    def __init__(self, daemon: Daemon) -> None:
        self._status = Path(f"/proc/{daemon.process.pid}/status")
        self._done = threading.Event()
        self._began = self._most = self._now()

    def __enter__(self) -> Self:
        self._watching = threading.Thread(target=self._watch)
        self._watching.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._watching.join()

    @property
    def growth_bytes(self) -> int:
        return self._most - self._began

    def _watch(self) -> None:
        while not self._done.wait(0.01):
            self._most = max(self._most, self._now())

    def _now(self) -> int:
        line = next(line for line in self._status.read_text().splitlines() if line.startswith("VmRSS:"))
        return int(line.split()[1]) * 1024


@contextmanager
def settled_daemon(resources: Mapping[str, str]) -> Iterator[Daemon]:
    """A daemon that has imported all it will: its operator's side, the last, answers."""
    with running_daemon(resources, {"caller": "default", "callee": "default"}) as running:
        wait_for_socket(running.process, running.admin_socket, running.log)
        yield running


@contextmanager
def calling(daemon: Daemon) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(SECONDS)
        sock.connect(str(daemon.http_socket("caller")))
        yield sock


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    """A daemon with a caller and the bulk app, its first call made."""
    app = Bulk()
    channel = json.dumps({"address": f"127.0.0.1:{app.port}"})
    resources = {"apps.yaml": CALLER + CALLEE.replace("@CHANNEL@", channel)}
    with settled_daemon(resources) as running:
        with calling(running) as sock:
            sock.sendall(b"POST /v1.0/invoke/callee/method/up HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\nx")
            assert read_answer(sock) == (b"HTTP/1.1 200 OK", b"1")
        yield running
    app.close()


@pytest.mark.parametrize("chunked", [False, True])
def test_a_gibibyte_up(chunked: bool, daemon: Daemon) -> None:  # noqa: FBT001
    """A request's body passes in the memory of a few pieces, its length announced or not."""
    framing = b"transfer-encoding: chunked" if chunked else b"content-length: %d" % BODY_BYTES
    with calling(daemon) as sock, Resident(daemon) as resident:
        head = b"POST /v1.0/invoke/callee/method/up HTTP/1.1\r\nhost: x\r\n%b\r\n\r\n" % framing
        give(sock, head, chunked=chunked)
        line, body = read_answer(sock)

    assert line == b"HTTP/1.1 200 OK"
    assert int(body) >= BODY_BYTES
    assert resident.growth_bytes < MAX_GROWTH_BYTES


def test_a_gibibyte_down(daemon: Daemon) -> None:
    """An answer's body passes in the memory of a few pieces."""
    with calling(daemon) as sock, Resident(daemon) as resident:
        sock.sendall(b"GET /v1.0/invoke/callee/method/down HTTP/1.1\r\nhost: x\r\n\r\n")
        answer = read_head(sock)
        assert answer is not None
        size = take(sock, answer[1], answer[2])

    assert size == BODY_BYTES
    assert resident.growth_bytes < MAX_GROWTH_BYTES


def test_many_messages_through_a_proxied_stream() -> None:
    """A gRPC stream to another app, both ways at once: what passed is not kept."""
    messages, message = 2048, bytes(32 << 10)
    with grpc_app() as app:
        resources = {"apps.yaml": CALLER + CALLEE.replace("@CHANNEL@", json.dumps(app.channel))}
        with settled_daemon(resources) as running:
            target = f"unix:{running.grpc_socket('caller')}"
            with grpc.insecure_channel(target) as channel:
                chat = channel.stream_stream("/test.Echo/Chat", bytes, bytes)
                list(chat(iter([b"first"]), metadata=(("dapr-app-id", "callee"),), timeout=WAIT_SECONDS))
                with Resident(running) as resident:
                    asked = (message for _ in range(messages))
                    answered = chat(asked, metadata=(("dapr-app-id", "callee"),), timeout=SECONDS)
                    count = sum(1 for _ in answered)

    assert count == messages
    assert resident.growth_bytes < MAX_GROWTH_BYTES
