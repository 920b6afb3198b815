"""What takes the events of an HTTP/2 stream on the server's side, and what stands in for a connection that is gone."""

from typing import Protocol

from noded.app import App
from noded.wire.http2 import HeaderBlock


class Stream(Protocol):
    """What takes one stream's events."""

    def on_data(self, data: bytes, *, end: bool) -> None:
        """A piece of the body."""

    def on_end(self) -> None:
        """The body ended with trailers."""

    def on_gone(self) -> None:
        """The peer reset the stream or is gone itself."""

    def on_writable(self) -> None:
        """What waited for window is sent."""

    def on_drain(self) -> None:
        """The daemon, or the app, stops: what would last until the client ends it is to end now."""


class Gone:
    """What is left of a connection that is gone (`noded.http1_exchange.Link`): late answers find it, and go nowhere."""

    slice_bytes = 0

    def __init__(self, app: App) -> None:
        self.app = app

    def send(self, _: bytes) -> bool:
        """Drop them."""
        return True

    def stall(self) -> None:
        """Nothing is read."""

    def unstall(self) -> None:
        """Nothing is read."""

    def feed_again(self) -> None:
        """Nothing is read."""

    def shut(self) -> None:
        """It is closed."""

    def linger(self) -> None:
        """It is closed."""

    def abort(self) -> None:
        """It is closed."""


class Answered:
    """What takes the events of a stream that was answered with its head: nothing. Whatever still comes is dropped."""

    def on_data(self, data: bytes, *, end: bool) -> None:
        """Drop it."""

    def on_end(self) -> None:
        """Nothing follows."""

    def on_gone(self) -> None:
        """Nothing is lost."""

    def on_writable(self) -> None:
        """Nothing waits."""

    def on_drain(self) -> None:
        """Nothing lasts."""


ANSWERED = Answered()


class Held(Answered):
    """A request that is not begun, because its peer takes no answers; what comes of it is kept.

    The stream's window bounds that: nothing of it is given back.
    """

    __slots__ = ("block", "ended", "pieces")

    def __init__(self, block: HeaderBlock, *, ended: bool) -> None:
        self.block = block
        self.ended = ended
        self.pieces: list[bytes] = []

    def on_data(self, data: bytes, *, end: bool) -> None:
        """Keep it."""
        self.pieces.append(data)
        self.ended = end

    def on_end(self) -> None:
        """It is whole."""
        self.ended = True
