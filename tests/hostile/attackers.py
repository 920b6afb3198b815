"""Peers that attack for as long as they are let: `python -m tests.hostile.attackers NAME HTTP GRPC`, as a process.

It says "ready" once the attack is up, and goes on until it is ended. Whoever is cut off comes again at once.
"""

import resource
import select
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.hostile.attacks import ATTACKS
from tests.hostile.records import Behaviour

_SEND_BYTES = 64 << 10
_READ_BYTES = 1 << 20
_BACKLOG_SECONDS = 0.001
_IDLE_SECONDS = 0.05


@dataclass
class Peer:
    """One connection after the other, all of one behaviour."""

    path: Path
    behaviour: Behaviour
    sent: int = 0
    bites: int = 0
    _socket: socket.socket | None = None

    def fileno(self) -> int:
        return -1 if self._socket is None else self._socket.fileno()

    @property
    def wants_to_send(self) -> bool:
        return self._socket is None or self.sent < len(self.behaviour.says)

    def bite(self) -> None:
        """Send and read a little, without waiting."""
        if self._socket is None:
            self._connect()
            return
        self.bites += 1
        if self.behaviour.bites and self.bites > self.behaviour.bites:
            self.close()
            return
        with suppress(BlockingIOError):
            self._read()
        with suppress(BlockingIOError):
            self._send()

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _connect(self) -> None:
        self.sent = self.bites = 0
        self._socket = connecting = socket.socket(socket.AF_UNIX)
        connecting.setblocking(False)
        try:
            connecting.connect(str(self.path))
        except OSError:  # its backlog is full
            self.close()
            time.sleep(_BACKLOG_SECONDS)

    def _read(self) -> None:
        if self._socket is not None and self.behaviour.read_bytes:
            try:
                if not self._socket.recv(self.behaviour.read_bytes):
                    self.close()
            except ConnectionError:
                self.close()

    def _send(self) -> None:
        behaviour = self.behaviour
        if self._socket is None or not self.wants_to_send:
            return
        piece = behaviour.says[self.sent : self.sent + min(behaviour.send_bytes, _SEND_BYTES)]
        try:
            self.sent += self._socket.send(piece)
        except BlockingIOError:
            raise
        except OSError:
            self.close()
            return
        if self.sent >= len(behaviour.says) and behaviour.hangs_up:
            self.close()


def attack(http: Path, grpc: Path, behaviours: tuple[Behaviour, ...]) -> Iterator[None]:
    """Attack for ever, one round at a time; after the first round every peer is connected and has begun."""
    peers = [
        Peer(path, behaviour)
        for behaviour in behaviours
        for path in ((http, grpc) if behaviour.both_sockets else (http,))
        for _ in range(behaviour.peers)
    ]
    for peer in peers:
        while peer.fileno() < 0:
            peer.bite()
        peer.bite()
    pause = min(behaviour.pause_seconds for behaviour in behaviours)
    while True:
        yield
        if pause:
            time.sleep(pause)
        else:
            _wait(peers)
        for peer in peers:
            peer.bite()


def _wait(peers: list[Peer]) -> None:
    """Return once one of them can go on."""
    poll = select.poll()
    for peer in peers:
        if peer.fileno() < 0:
            return
        wanted = select.POLLOUT if peer.wants_to_send else 0
        poll.register(peer.fileno(), wanted | (select.POLLIN if peer.behaviour.read_bytes else 0))
    poll.poll(_IDLE_SECONDS * 1000)


if __name__ == "__main__":
    name, http, grpc = sys.argv[1:]
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    rounds = attack(Path(http), Path(grpc), ATTACKS[name].behaviours)
    next(rounds)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while True:
        next(rounds)
