"""What is too large over HTTP/2 is answered: bodies that pass through, and heads."""

import json
import socket
from collections.abc import Iterator

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, ResponseReceived, StreamEnded, StreamReset

from tests.daprd.sidecar_process import SECONDS, Sidecar, running

LIMIT = 32 << 10
"""Less than the window that every stream begins with."""
CALLEE = b"/v1.0/invoke/app/method/upload"
TOO_LARGE = {"errorCode": "ERR_DIRECT_INVOKE", "message": "failed to invoke, id: app, err: stream too large"}


@pytest.fixture(scope="module")
def sidecar(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sidecar]:
    """Its app takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as silent:
        flags = ("--app-port", str(silent.getsockname()[1]), "--max-body-size", str(LIMIT))
        with running(tmp_path_factory.mktemp("limits"), *flags) as started:
            started.waits_for("app default/app answers")
            yield started


class Client:
    """One HTTP/2 connection to the HTTP port."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._codec = H2Connection(H2Configuration(client_side=True, header_encoding=None))
        self._codec.initiate_connection()
        self._flush()

    def ask(self, path: bytes, body_bytes: int, *more: tuple[bytes, bytes]) -> tuple[int, bytes]:
        """Post so much, in pieces; the status and body of the answer, which may come before all was sent."""
        codec = self._codec
        stream_id = codec.get_next_available_stream_id()
        method = b"POST" if body_bytes else b"GET"
        head = [(b":method", method), (b":scheme", b"http"), (b":path", path), (b":authority", b"x"), *more]
        codec.send_headers(stream_id, head, end_stream=not body_bytes)
        for left in range(body_bytes, 0, -8192):
            codec.send_data(stream_id, bytes(min(left, 8192)), end_stream=left <= 8192)
        self._flush()
        return self._answer(stream_id)

    def _answer(self, stream_id: int) -> tuple[int, bytes]:
        status, body = 0, b""
        while data := self._socket.recv(65536):
            for event in self._codec.receive_data(data):
                if getattr(event, "stream_id", 0) != stream_id:
                    continue
                if isinstance(event, ResponseReceived):
                    status = int(dict(event.headers)[b":status"])
                elif isinstance(event, DataReceived):
                    body += event.data
                elif isinstance(event, StreamEnded):
                    return status, body
                assert not isinstance(event, StreamReset), event
            self._flush()
        raise AssertionError("the connection ended")

    def _flush(self) -> None:
        self._socket.sendall(self._codec.data_to_send())


@pytest.fixture
def client(sidecar: Sidecar) -> Iterator[Client]:
    with socket.create_connection(("127.0.0.1", sidecar.http_port), SECONDS) as connected:
        yield Client(connected)


def test_a_body_that_passes_the_limit_is_answered(client: Client) -> None:
    """A body of unknown length, part of which went to the callee; as over HTTP/1.1. The connection goes on."""
    for _ in range(2):
        status, body = client.ask(CALLEE, LIMIT + 1)
        assert (status, json.loads(body)) == (500, TOO_LARGE)
    assert client.ask(b"/v1.0/healthz/outbound", 0)[0] == 204


def test_a_body_that_announces_more_than_the_limit_is_answered(client: Client) -> None:
    """The callee hears nothing of it."""
    status, body = client.ask(CALLEE, LIMIT + 1, (b"content-length", b"%d" % (LIMIT + 1)))
    assert (status, json.loads(body)) == (500, TOO_LARGE)


@pytest.mark.parametrize(("size", "status"), [(4000, 204), (4400, 431), (9000, 431)])
def test_a_head_over_the_limit_is_refused(client: Client, size: int, status: int) -> None:
    """431 as over HTTP/1.1; the connection goes on."""
    assert client.ask(b"/v1.0/healthz/outbound", 0, (b"x-large", b"a" * size))[0] == status
    assert client.ask(b"/v1.0/healthz/outbound", 0)[0] == 204
