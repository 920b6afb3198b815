"""An app that a test makes well and unwell: notes every request in order, answers its events."""

import json
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, Self

WAIT_SECONDS = 20.0


class Request(NamedTuple):
    """What the app was sent."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def data(self) -> Any:
        """Of an event."""
        return json.loads(self.body)["data"]


@dataclass
class LifecycleApp:
    """Listens from enter to exit, at `port` where that is given."""

    port: int = 0
    health: int = 200
    """What probes are answered; 0: they get no answer."""
    topics: Sequence[Mapping[str, object]] | None = ()
    """What /dapr/subscribe answers; None: 404."""
    may_subscribe: threading.Event = field(default_factory=threading.Event)
    """/dapr/subscribe is answered once it is set, as it is from the start."""
    requests: list[Request] = field(default_factory=list)
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _server: "_Server | None" = None
    _connections: set[socket.socket] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.may_subscribe.set()

    def paths(self) -> list[str]:
        """Of every request, probes once in a row."""
        found: list[str] = []
        for each in tuple(self.requests):
            if found[-1:] != [each.path] or each.path != "/healthz":
                found.append(each.path)
        return found

    def events(self, path: str) -> list[Any]:
        """The data of the events that came to `path`."""
        return [each.data for each in tuple(self.requests) if each.path == path]

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait until something holds that changes with a request to this app."""
        with self._changed:
            assert self._changed.wait_for(condition, WAIT_SECONDS), self.paths()

    def wait_probed(self) -> None:
        """Wait until two more probes have come, so that one of them saw the app as it is now."""
        before = self._probes()
        self.wait_until(lambda: self._probes() >= before + 2)

    def answer(self, request: Request) -> tuple[int, bytes]:
        """What is answered."""
        if request.path == "/healthz":
            return self.health, b""
        if request.path == "/dapr/subscribe":
            self.may_subscribe.wait(WAIT_SECONDS)
            return (404, b"") if self.topics is None else (200, json.dumps(self.topics).encode())
        if request.path == "/dapr/config":
            return 404, b""
        return (200, b"") if request.method == "POST" else (200, b"called")

    def took(self, request: Request) -> None:
        """Note a request."""
        with self._changed:
            self.requests.append(request)
            self._changed.notify_all()

    def _probes(self) -> int:
        return sum(each.path == "/healthz" for each in tuple(self.requests))

    def __enter__(self) -> Self:
        self._server = _Server(("127.0.0.1", self.port), _handler(self))
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.shutdown()
        self._server.server_close()
        for connection in tuple(self._connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256


def _handler(app: LifecycleApp) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # head and body are two writes: the second would wait for an acknowledgement

        def setup(self) -> None:
            super().setup()
            app._connections.add(self.connection)

        def finish(self) -> None:
            app._connections.discard(self.connection)
            super().finish()

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = Request(self.command, self.path, headers, body)
            app.took(request)
            status, answer = app.answer(request)
            if not status:
                time.sleep(1)
                self.close_connection = True
                return
            self.send_response(status)
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Nobody reads it."""

    return Handler
