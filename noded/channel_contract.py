"""How the daemon calls an app, whatever it speaks. `channel.py` implements it for HTTP/1.1."""

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from noded.calls import Header


class ChannelError(Exception):
    """The app could not be called or did not answer: refused, closed half-way, too slow, or talking nonsense."""


class AppResponse(Struct, frozen=True):
    """A whole answer of the app."""

    status: int
    headers: tuple[Header, ...]
    body: bytes


class AppChannel(Protocol):
    """Calls to one app; pooled, keep-alive, never shared between tenants."""

    async def call(
        self, method: bytes, target: bytes, headers: Sequence[Header], body: bytes, timeout_seconds: float
    ) -> AppResponse:
        """Send one request, `target` being path and query, and read the whole answer. Awaits Completions only.

        Raises ChannelError. Content-length and host are added here; `headers` are sent as given.
        """

    async def aclose(self) -> None:
        """Close every connection; calls under way fail with ChannelError."""
