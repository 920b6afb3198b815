"""What a connection needs of the protocol that is spoken on it, and what the kernel says of its peer."""

import select
import socket
from typing import Protocol


class Wire(Protocol):
    """The protocol a connection speaks."""

    def feed(self, data: bytes) -> None:
        """Take bytes."""

    def lost(self) -> None:
        """The connection is gone."""

    def drain(self) -> bool:
        """Take no further request. True when none is under way."""

    def eof(self) -> bool:
        """The peer sends no more. True when no answer is under way."""

    def hold(self) -> None:
        """The peer does not read what was sent: begin nothing new until `writable`."""

    def writable(self) -> None:
        """The peer has read what was sent."""

    @property
    def mid_head(self) -> int:
        """Which request's head, or which frame, has arrived in part; 0: none. Each has a deadline of its own."""


def hung_up(sock: socket.socket) -> bool:
    """Whether a peer closed, so that nobody reads an answer; one that only ends its side does. TCP cannot tell.

    Source: poll(2), POLLHUP; unix(7).
    """
    poll = select.poll()
    poll.register(sock.fileno(), 0)
    return bool(poll.poll(0))
