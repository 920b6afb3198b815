"""The operator's API as commands see it: HTTP over the daemon's own socket, by the standard library alone.

A command must start fast (probes run it), so nothing heavy is imported here.
"""

import json
import socket
import time
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path
from typing import Any, NamedTuple

from noded.commands.failures import OperatorError
from noded.config.paths import admin_path

ANSWER_SECONDS = 60.0
"""How long an answer may take; a reload opens components, each within its initTimeout."""
STARTING_SECONDS = 10.0
"""How long a daemon that holds its run directory may take until the operator's socket answers."""
HOLD_SECONDS = 45.0
"""Without a sign of life on a held attachment for so long, the daemon is taken for gone (it gives one every 15 s)."""
RETRY_SECONDS = 0.05


class NoDaemonError(OperatorError):
    """Nobody answers; the message says how to start a daemon."""


class Answer(NamedTuple):
    """What the daemon said."""

    status: int
    body: Any


class OperatorClient:
    """Asks the daemon of one run directory; a connection per question."""

    def __init__(self, run_dir: Path) -> None:
        """Raises PathTooLongError where the socket's path cannot be one."""
        self.run_dir = run_dir
        self._path = admin_path(run_dir)

    def get(self, path: str) -> Any:
        """Give the JSON of a page. Raises OperatorError."""
        answer = self.ask("GET", path)
        if answer.status != 200:
            raise OperatorError(_reason(answer))
        return answer.body

    def ask(self, method: str, path: str, body: bytes | None = None) -> Answer:
        """Ask one thing. Raises OperatorError where no answer comes."""
        connection = self._connect()
        try:
            response = self._send(connection, method, path, body)
            return Answer(response.status, _decoded(response.read()))
        except (OSError, HTTPException) as error:
            raise OperatorError(f"the daemon at {self._path} did not answer: {_told(error)}") from error
        finally:
            connection.close()

    def attach(self, wanted: bytes) -> "Held":
        """Attach an app for as long as the answer is held open. Raises OperatorError."""
        connection = self._connect()
        try:
            response = self._send(connection, "POST", "/v1/apps", wanted)
            line = response.readline()
            if response.status == 200:
                return Held(connection, response, json.loads(line))
            refused = Answer(response.status, _decoded(line + response.read()))
        except (OSError, HTTPException, ValueError) as error:
            connection.close()
            raise OperatorError(f"the daemon at {self._path} did not attach the app: {_told(error)}") from error
        connection.close()
        raise OperatorError(_reason(refused))

    def _connect(self) -> "_UnixConnection":
        deadline = time.monotonic() + STARTING_SECONDS
        while True:
            try:
                connection = _UnixConnection(self._path)
                connection.connect()
            except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
                if time.monotonic() >= deadline or not _is_held(self.run_dir / "noded.lock"):
                    raise NoDaemonError(self._nobody()) from None
                time.sleep(RETRY_SECONDS)
            except OSError as error:
                raise OperatorError(f"{self._path}: {_told(error)}: ask as the daemon's user") from error
            else:
                return connection

    def _nobody(self) -> str:
        return (
            f"no daemon answers at {self._path}: start one with `noded serve --run-dir {self.run_dir}`, "
            "or name the run directory of a running one by --run-dir"
        )

    @staticmethod
    def _send(connection: HTTPConnection, method: str, path: str, body: bytes | None) -> HTTPResponse:
        connection.request(method, path, body, {"content-type": "application/json"} if body is not None else {})
        return connection.getresponse()


class Held:
    """An attachment that lasts while this is open."""

    def __init__(self, connection: HTTPConnection, response: HTTPResponse, endpoints: Any) -> None:
        self.endpoints: Any = endpoints
        """What the daemon told of the app: its sockets, ports and token."""
        self._connection = connection
        self._response = response
        self._socket = connection.sock
        self._socket.settimeout(HOLD_SECONDS)

    def signs(self) -> Iterator[str]:
        """Give "" for each sign of life, then why it ended: "detached", or "lost" where the daemon is gone."""
        while True:
            try:
                line = self._response.readline()
            except (OSError, HTTPException, ValueError):
                line = b""
            if line.strip() or not line:
                yield _ending(line)
                return
            yield ""

    def close(self) -> None:
        """Let go: the daemon detaches the app. Wakes who waits in `signs`."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            return


class _UnixConnection(HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("noded", timeout=ANSWER_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        try:
            self.sock.settimeout(ANSWER_SECONDS)
            self.sock.connect(str(self._path))
        except OSError:
            self.sock.close()
            raise


def _is_held(lock: Path) -> bool:
    """Whether a process holds the lock; asked without taking it, which could refuse a daemon that just starts."""
    try:
        inode = str(lock.stat().st_ino)
        lines = Path("/proc/locks").read_text().splitlines()
    except OSError:
        return False
    return any(" FLOCK " in line and line.split()[5].rpartition(":")[2] == inode for line in lines if "->" not in line)


def _ending(line: bytes) -> str:
    told = _decoded(line)
    return str(told.get("ended", "lost")) if isinstance(told, dict) else "lost"


def _decoded(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return body.decode(errors="replace").strip()


def _reason(answer: Answer) -> str:
    if isinstance(answer.body, dict) and "error" in answer.body:
        return str(answer.body["error"])
    return f"the daemon answered {answer.status}: {answer.body}"


def _told(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else "") or str(error) or type(error).__name__
