"""One small HTTP request at a time, over a Unix socket or loopback: for set-up and checks, never for load."""

import http.client
import socket
import time
from collections.abc import Callable
from pathlib import Path


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout_seconds: float) -> None:
        super().__init__("localhost", timeout=timeout_seconds)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def request(where: Path | int, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
    """Send one request to a Unix socket (path) or a loopback port (number); give status and body.

    Raises:
        OSError: nobody answers there.
    """
    connection = (
        http.client.HTTPConnection("127.0.0.1", where, timeout=5)
        if isinstance(where, int)
        else _UnixConnection(where, 5)
    )
    headers = {} if body is None else {"content-type": "application/json"}
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    except http.client.HTTPException as error:
        raise ConnectionError(f"{method} {path}: {error!r}") from error
    finally:
        connection.close()


def answers(where: Path | int, path: str) -> bool:
    """Whether GET `path` is answered with 2xx."""
    try:
        return request(where, "GET", path)[0] // 100 == 2
    except OSError:
        return False


def wait_until(condition: Callable[[], bool], what: str, timeout_seconds: float = 30) -> None:
    """Poll until `condition` holds.

    Raises:
        TimeoutError: it did not; `what` says in words what was awaited.
    """
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {timeout_seconds:g} s for {what}")
        time.sleep(0.05)
