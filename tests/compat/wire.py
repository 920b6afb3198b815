"""HTTP over a Unix socket, each request in one write: how a server treats what trickles in is no matter of rows."""

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

    def _send_output(self, message_body: bytes | None = None, encode_chunked: bool = False) -> None:  # noqa: FBT001, FBT002
        """Send head and body together; http.client sends them apart."""
        head = b"\r\n".join([*self._buffer, b"", b""])  # type: ignore[attr-defined]
        self._buffer.clear()  # type: ignore[attr-defined]
        self.send(head + (message_body or b""))
