"""The neighbour that floods: `python -m bench.flood SOCKET FILE SECONDS`, one line of JSON when it ends.

FILE holds whole HTTP/1.1 requests. All of CONNECTIONS send it over and over as fast as the daemon takes it, and read
every answer: pipelining without pause, so the daemon always has a backlog of theirs.
"""

import json
import selectors
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path

CONNECTIONS = 64
_READ_BYTES = 256 << 10
_SHOWN_BYTES = 300
_STATUS = b"HTTP/1.1 "
_GOOD = b"HTTP/1.1 2"


@dataclass(slots=True)
class Pipe:
    """One connection: what is left to send of the block, and the end of what was read last."""

    sock: socket.socket
    block: memoryview
    left: memoryview
    tail: bytes = b""
    answers: int = 0
    good: int = 0
    bad: bytes = b""
    """The start of a read that held an answer other than 2xx."""

    def write(self) -> None:
        """Send what the daemon takes; start over at the end of the block."""
        self.left = self.left[self.sock.send(self.left) :]
        if not self.left:
            self.left = self.block

    def read(self) -> None:
        """Count answers, also those whose first line is cut by the read's end.

        Raises:
            ConnectionError: the daemon closed.
        """
        data = self.sock.recv(_READ_BYTES)
        if not data:
            raise ConnectionError("the daemon closed a flooding connection")
        seen = self.tail + data
        answers, good = (seen.count(text) - self.tail.count(text) for text in (_STATUS, _GOOD))
        self.answers += answers
        self.good += good
        if answers > good and not self.bad:
            self.bad = next((each for each in seen.split(_STATUS) if each[:1] in b"1345"), b"")[:_SHOWN_BYTES]
        self.tail = seen[-len(_GOOD) :]


def flood(path: str, block: bytes, seconds: float) -> dict[str, float | str]:
    """Flood for so long; how many answers came, and how many of them were good."""
    pipes = [_open(path, block) for _ in range(CONNECTIONS)]
    selector = selectors.DefaultSelector()
    for pipe in pipes:
        selector.register(pipe.sock, selectors.EVENT_READ | selectors.EVENT_WRITE, pipe)
    start = time.monotonic()
    while (now := time.monotonic()) - start < seconds:
        for key, ready in selector.select(0.1):
            pipe = key.data
            if ready & selectors.EVENT_READ:
                pipe.read()
            if ready & selectors.EVENT_WRITE:
                pipe.write()
    answers, good = sum(pipe.answers for pipe in pipes), sum(pipe.good for pipe in pipes)
    for pipe in pipes:
        pipe.sock.close()
    bad = next((pipe.bad.decode(errors="replace") for pipe in pipes if pipe.bad), "")
    return {"completed": good, "failed": answers - good, "seconds": now - start, "bad": bad}


def _open(path: str, block: bytes) -> Pipe:
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(path)
    sock.setblocking(False)
    return Pipe(sock, memoryview(block), memoryview(block))


if __name__ == "__main__":
    print(json.dumps(flood(sys.argv[1], Path(sys.argv[2]).read_bytes(), float(sys.argv[3]))))
