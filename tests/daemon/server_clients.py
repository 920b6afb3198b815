"""Clients of a real daemon: HTTP and gRPC on an app's sockets, the operator's side, and the resources it reads."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar

import grpc
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message

from noded.proto import metadata_pb2, state_pb2
from tests.compat.wire import UnixConnection
from tests.daemon_process import Daemon, accepts

T = TypeVar("T")

WAIT_SECONDS = 20.0
SERVICE = "/dapr.proto.runtime.v1.Dapr/"
ANSWERS: Mapping[str, type[Message]] = {
    "GetState": state_pb2.GetStateResponse,
    "GetBulkState": state_pb2.GetBulkStateResponse,
    "SaveState": Empty,
    "DeleteState": Empty,
    "ExecuteStateTransaction": Empty,
    "PublishEvent": Empty,
    "GetMetadata": metadata_pb2.GetMetadataResponse,
}


def sqlite(**metadata: str) -> dict[str, object]:
    """A state.sqlite of namespaces, with further metadata fields."""
    fields = {
        "connectionString": "@STATE_DIR@/state.db",
        "keyPrefix": "namespace",
        "cleanupInterval": "1s",
        **metadata,
    }
    given = [{"name": name, "value": value} for name, value in fields.items()]
    return {
        "apiVersion": "dapr.io/v1alpha1",
        "kind": "Component",
        "metadata": {"name": "statestore"},
        "spec": {"type": "state.sqlite", "version": "v1", "metadata": given},
    }


SQLITE = sqlite()
MEMORY = SQLITE | {
    "metadata": {"name": "memory"},
    "spec": {"type": "state.in-memory", "version": "v1", "metadata": [{"name": "keyPrefix", "value": "namespace"}]},
}
PUBSUB = SQLITE | {"metadata": {"name": "pubsub"}, "spec": {"type": "pubsub.in-memory", "version": "v1"}}


def app(app_id: str, namespace: str = "default", **spec: object) -> dict[str, object]:
    """An App resource."""
    return {
        "apiVersion": "noded.io/v1alpha1",
        "kind": "App",
        "metadata": {"name": app_id, "namespace": namespace},
        "spec": spec,
    }


def quota(name: str, namespace: str | None, **spec: object) -> dict[str, object]:
    """A Quota resource; without a namespace it is the node's."""
    place = {} if namespace is None else {"namespace": namespace}
    metadata = {"name": name, **place}
    return {"apiVersion": "noded.io/v1alpha1", "kind": "Quota", "metadata": metadata, "spec": spec}


def resources(*documents: Mapping[str, object]) -> dict[str, str]:
    """A resources directory: JSON is YAML."""
    return {"all.yaml": "\n---\n".join(json.dumps(document) for document in documents)}


@dataclass(frozen=True)
class Answer:
    """A whole HTTP answer."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes

    @property
    def json(self) -> dict[str, object]:
        found: dict[str, object] = json.loads(self.body)
        return found


class HttpClient:
    """One HTTP connection to an app's socket, or a new one each time it was closed."""

    def __init__(self, path: Path) -> None:
        self._connection = UnixConnection(path)

    def __call__(self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None) -> Answer:
        """Ask; what is not bytes is sent as JSON."""
        sent = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        self._connection.request(method, path, sent, dict(headers or {}))
        response = self._connection.getresponse()
        return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())

    def close(self) -> None:
        self._connection.close()


@contextmanager
def http(daemon: Daemon, app_id: str, namespace: str = "default") -> Iterator[HttpClient]:
    with closing(HttpClient(daemon.http_socket(app_id, namespace))) as client:
        yield client


class GrpcClient:
    """A channel of grpcio's to an app's socket."""

    def __init__(self, target: str, options: tuple[tuple[str, object], ...] = (), **kwargs: object) -> None:
        self.channel = grpc.insecure_channel(target, options=options, **kwargs)  # type: ignore[arg-type]

    def __call__(
        self, method: str, request: Message, metadata: tuple[tuple[str, str], ...] = (), timeout: float = 15
    ) -> Message:
        """Make a unary call. Raises grpc.RpcError."""
        answer: Message = self.unary(method)(request, timeout=timeout, metadata=metadata)
        return answer

    def unary(self, method: str) -> Any:
        """A method to call in other ways: `.future`, `.with_call`."""
        path = method if method.startswith("/") else SERVICE + method
        return self.channel.unary_unary(
            path,
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=ANSWERS.get(method, Empty).FromString,
        )

    def raw_unary(self, method: str, request: bytes) -> bytes:
        """Make a unary call of bytes. Raises grpc.RpcError."""
        call = self.channel.unary_unary(SERVICE + method, request_serializer=bytes, response_deserializer=bytes)
        answer: bytes = call(request, timeout=15)
        return answer

    def stream(self, requests: Iterator[bytes], timeout: float = 15) -> Any:
        """Open a streaming subscription: iterate over it for the answers, as bytes."""
        path = SERVICE + "SubscribeTopicEventsAlpha1"
        call = self.channel.stream_stream(path, request_serializer=bytes, response_deserializer=bytes)
        return call(requests, timeout=timeout)

    def close(self) -> None:
        self.channel.close()


@contextmanager
def grpc_client(daemon: Daemon, app_id: str, namespace: str = "default", **options: object) -> Iterator[GrpcClient]:
    with closing(GrpcClient(f"unix:{daemon.grpc_socket(app_id, namespace)}", **options)) as client:  # type: ignore[arg-type]
        yield client


def eventually(look: Callable[[], T], until: Callable[[T], bool] = bool) -> T:
    """What `look` finds, once it is as it should be; fails the test when it never is."""
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        found = look()
        if until(found):
            return found
        assert time.monotonic() < deadline, f"still {found!r}"
        time.sleep(0.02)


def operator(daemon: Daemon, path: str, method: str = "GET") -> object:
    """Ask the operator's side, which answers a little later than the apps' sockets."""
    eventually(lambda: accepts(daemon.admin_socket))
    with closing(HttpClient(daemon.admin_socket)) as client:
        answer = client(method, path)
    return json.loads(answer.body) if answer.body else None


def used(daemon: Daemon, subject: str) -> dict[str, dict[str, float]]:
    """{limit: {used, allowed, refused}} of an app, a namespace, or the node."""
    listing = operator(daemon, "/v1/usage")
    assert isinstance(listing, list)
    (usage,) = [each for each in listing if each["subject"] == subject]
    return {limit.pop("limit"): {"used": 0, "refused": 0} | limit for limit in usage["limits"]}


def raw(path: Path) -> socket.socket:
    """A bare connection."""
    connected = socket.socket(socket.AF_UNIX)
    connected.settimeout(WAIT_SECONDS)
    connected.connect(str(path))
    return connected


def read_all(connected: socket.socket) -> bytes:
    """Everything until the daemon closes; a reset is an end."""
    received = b""
    try:
        while piece := connected.recv(65536):
            received += piece
    except ConnectionResetError:
        return received
    return received


class RecordingApp(ThreadingHTTPServer):
    """An app behind the daemon: answers with its name, and keeps what it was sent."""

    daemon_threads = True

    def __init__(self, name: str, subscriptions: list[dict[str, str]] | None = None) -> None:
        super().__init__(("127.0.0.1", 0), RecordingHandler)
        self.name = name
        self.subscriptions = subscriptions or []
        self.received: list[tuple[str, str, dict[str, str], bytes]] = []
        """(method, path, headers in lower case, body)"""

    @property
    def channel(self) -> dict[str, str]:
        """The App resource's `channel`."""
        return {"protocol": "http", "address": f"127.0.0.1:{self.server_address[1]}"}

    def at(self, path: str) -> list[tuple[dict[str, str], bytes]]:
        """What was sent there: headers and body."""
        return [(headers, body) for _, at, headers, body in tuple(self.received) if at == path]


class RecordingHandler(BaseHTTPRequestHandler):
    """One connection of the daemon to the app."""

    protocol_version = "HTTP/1.1"
    server: RecordingApp

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.received.append((self.command, self.path, headers, body))
        answer = self.server.name.encode()
        if self.path == "/dapr/subscribe":
            answer = json.dumps(self.server.subscriptions).encode()
        elif self.path.startswith("/slow"):
            time.sleep(0.5)
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_POST = do_PUT = do_GET  # noqa: N815 - http.server's names

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        """Say nothing."""


@contextmanager
def recording_app(name: str, subscriptions: list[dict[str, str]] | None = None) -> Iterator[RecordingApp]:
    """Serve until the block ends."""
    with RecordingApp(name, subscriptions) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
