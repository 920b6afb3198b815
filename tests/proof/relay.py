"""A loopback port that leads to a Unix socket, for tools that know ports only. Bytes pass as they come."""

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

_READ_BYTES = 1 << 16


@contextmanager
def port_to(path: Path) -> Iterator[int]:
    """A port whose connections are connections to the socket at `path`, until the block ends."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        thread = threading.Thread(target=_accept, args=(listener, path))
        thread.start()
        port: int = listener.getsockname()[1]
        try:
            yield port
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def _accept(listener: socket.socket, path: Path) -> None:
    """Until the listener is shut down; every connection has ended then."""
    threads: list[threading.Thread] = []
    with suppress(OSError):
        while True:
            peer, _ = listener.accept()
            threads.append(threading.Thread(target=_connect, args=(peer, path)))
            threads[-1].start()
    for thread in threads:
        thread.join()


def _connect(peer: socket.socket, path: Path) -> None:
    with closing(peer), closing(socket.socket(socket.AF_UNIX)) as ours:
        ours.connect(str(path))
        back = threading.Thread(target=_carry, args=(ours, peer))
        back.start()
        _carry(peer, ours)
        back.join()


def _carry(source: socket.socket, sink: socket.socket) -> None:
    """Until one of them ends; the end is passed on."""
    with suppress(OSError):
        while piece := source.recv(_READ_BYTES):
            sink.sendall(piece)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
