"""An app whose answer waits until the test says so."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

SECONDS = 20.0


class SlowApp:
    """Serves from enter to exit; /slow is answered once `answer` was called, everything else with 404."""

    def __init__(self) -> None:
        self._called = threading.Event()
        self._may_answer = threading.Event()
        app = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                slow = self.path == "/slow"
                if slow:
                    app._called.set()
                    app._may_answer.wait(SECONDS)
                self.send_response(200 if slow else 404)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Nobody reads it."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]

    @property
    def was_called(self) -> bool:
        return self._called.is_set()

    def wait_called(self) -> None:
        assert self._called.wait(SECONDS)

    def answer(self) -> None:
        self._may_answer.set()

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._may_answer.set()
        self._server.shutdown()
        self._server.server_close()
