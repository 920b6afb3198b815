"""HTTP over a Unix socket."""

import socket
from http.client import HTTPConnection
from pathlib import Path

TIMEOUT_SECONDS = 15.0


class UnixConnection(HTTPConnection):
    """http.client on a Unix socket; it sends a request's target as it is given."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=TIMEOUT_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(TIMEOUT_SECONDS)
        self.sock.connect(str(self._path))
