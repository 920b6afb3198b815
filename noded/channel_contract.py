"""How the daemon calls an app that speaks HTTP: `channel.py` does it by HTTP/1.1, `channel_h2c.py` by HTTP/2."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from noded.calls import Header

if TYPE_CHECKING:
    from noded.channel_exchange import AppCall, AppRequest, ResponseSink


class ChannelError(Exception):
    """The app could not be called or did not answer: refused, closed half-way, too slow, or talking nonsense."""


class AppResponse(Struct, frozen=True):
    """A whole answer of the app."""

    status: int
    headers: tuple[Header, ...]
    body: bytes


class AppChannel(Protocol):
    """Calls to one app; pooled, keep-alive, never shared between tenants."""

    host: bytes
    """What the Host header says, or `:authority`."""

    async def call(  # noqa: PLR0913, PLR0917 - a request has so many parts
        self,
        method: bytes,
        target: bytes,
        headers: Sequence[Header],
        body: bytes,
        timeout_seconds: float,
        waits_seconds: float = 0.0,
    ) -> AppResponse:
        """Send one request, `target` being path and query, and read the whole answer. Awaits a Completion only.

        Raises ChannelError: refused, closed half-way, not HTTP, too large; ChannelTimeout after the times of `open`.
        Content-length and host are added here; `headers` are sent as given.
        """

    def open(
        self, request: "AppRequest", sink: "ResponseSink", timeout_seconds: float, waits_seconds: float = 0.0
    ) -> "AppCall":
        """Send a request whose answer goes to `sink`, and whose body may follow in pieces.

        The deadline covers the wait for a connection and for the head of the answer. With `waits_seconds` one of the
        app's places is waited for so long first, and the time for the answer begins then. An error goes to the
        sink, possibly before this returns.
        """

    def now(self) -> float:
        """The loop's time, by which deadlines are told."""

    async def wait_quiet(self) -> None:
        """Return once nothing is under way, or soon after. Awaits a Completion only."""

    async def aclose(self) -> None:
        """Close every connection; calls under way fail with ChannelError."""
