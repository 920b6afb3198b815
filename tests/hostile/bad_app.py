"""Apps behind the daemon that answer anything but HTTP: one per kind, all of them one thread's."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from tests.hostile.scene import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    HEADERS,
    PING,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    frame,
    literal,
)

_PIECES = 2000
_HEAD = b"HTTP/1.1 200 OK\r\n"
_SETTINGS = frame(SETTINGS, 0, 0)
_GRPC_HEAD = frame(HEADERS, END_HEADERS, 1, b"\x88" + literal(b"content-type", b"application/grpc"))

SILENT = b""
"""Takes requests and never answers."""
HTTP1 = {
    "noise": bytes(range(256)) * 64,
    "no number for a status": b"HTTP/1.1 yes OK\r\n\r\n",
    "a length below nothing": _HEAD + b"content-length: -1\r\n\r\nxx",
    "two lengths": _HEAD + b"content-length: 1\r\ncontent-length: 2\r\n\r\nxx",
    "a chunk of no size": _HEAD + b"transfer-encoding: chunked\r\n\r\nzz\r\nxx\r\n",
    "a head without end": _HEAD + b"a: b\r\n" * 1_000_000,
    "a line without end": b"HTTP/1.1 200 " + b"x" * (8 << 20),
    "HTTP/2 instead": _SETTINGS * 100,
}
HTTP2 = {
    "noise": bytes(range(256)) * 64,
    "HTTP/1.1 instead": _HEAD + b"content-length: 2\r\n\r\nok",
    "a frame too large": _SETTINGS + b"\xff\xff\xff" + frame(DATA, 0, 1)[3:] + bytes(1 << 20),
    "a block that is none": _SETTINGS + frame(HEADERS, END_HEADERS, 1, b"\xff\xff\xff\xff\xff\xff\xff"),
    "CONTINUATION without end": _SETTINGS + frame(HEADERS, 0, 1, b"\x88") + frame(CONTINUATION, 0, 1, b"x") * _PIECES,
    "PING without end": _SETTINGS + frame(PING, 0, 0, bytes(8)) * (10 * _PIECES),
    "a window that overflows": _SETTINGS + frame(WINDOW_UPDATE, 0, 0, b"\x7f\xff\xff\xff") * 2,
    "a stream nobody opened": _SETTINGS + frame(RST_STREAM, 0, 99, bytes(4)),
    "data before a head": _SETTINGS + frame(DATA, 0, 1, bytes(100)),
}
GRPC = HTTP2 | {
    "a message longer than any": _SETTINGS + _GRPC_HEAD + frame(DATA, 0, 1, b"\0\xff\xff\xff\xff" + bytes(1000)),
    "a message that is none": _SETTINGS + _GRPC_HEAD + frame(DATA, 1, 1, b"\0\0\0\0\4\xff\xff\xff\xff"),
    "a status that is none": _SETTINGS + _GRPC_HEAD + frame(HEADERS, 5, 1, literal(b"grpc-status", b"lots")),
    "an end without a status": _SETTINGS + _GRPC_HEAD + frame(DATA, 1, 1),
}


@dataclass
class BadApp:
    """Says `says` on each connection once something was asked, then closes; says nothing, ever, where that is empty."""

    says: bytes
    listener: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0), backlog=512))
    _peers: list[socket.socket] = field(default_factory=list)

    @property
    def port(self) -> int:
        port: int = self.listener.getsockname()[1]
        return port

    def run(self) -> None:
        """Accept until the listener is closed."""
        with suppress(OSError):
            while True:
                peer, _ = self.listener.accept()
                self._peers.append(peer)
                if self.says:
                    threading.Thread(target=self._answer, args=(peer,), daemon=True).start()

    def _answer(self, peer: socket.socket) -> None:
        peer.settimeout(10)
        with suppress(OSError):
            peer.recv(65536)
            peer.sendall(self.says)
            peer.shutdown(socket.SHUT_WR)
            while peer.recv(65536):
                pass

    def close(self) -> None:
        """Stop, and close every connection."""
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for peer in self._peers:
            peer.close()


@contextmanager
def bad_app(says: bytes) -> Iterator[BadApp]:
    """One that runs until the block ends."""
    app = BadApp(says)
    thread = threading.Thread(target=app.run)
    thread.start()
    try:
        yield app
    finally:
        app.close()
        thread.join()
