"""CORS: which pages of other origins may call an app's HTTP API.

Source: Fetch standard, CORS protocol; go-chi/cors 1.2.1, which daprd uses, for what is told and in which form.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from noded.calls import Exchange, Header, HttpCall, Reply
from noded.http1_known import Handler
from noded.passed_exchange import Passed

METHODS: Final = frozenset((b"HEAD", b"GET", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"))
"""What pages may ask for, if a preflight asks first."""

_VARY: Final = (b"vary", b"Origin")
_PREFLIGHT_VARY: Final = (
    _VARY,
    (b"vary", b"Access-Control-Request-Method"),
    (b"vary", b"Access-Control-Request-Headers"),
)
_dropped = re.compile(rb"[^0-9A-Za-z_.-]+")


@dataclass(frozen=True, slots=True)
class Cors:
    """Who may call."""

    origins: tuple[str, ...]
    """As `https://shop.example`; one `*` in it stands for anything, alone for every origin."""

    def headers(self, call: HttpCall) -> tuple[Header, ...]:
        """Give what any other answer than a preflight's says."""
        origin = call.header(b"origin")
        if not origin or not self.allows(origin) or call.method.upper() not in METHODS:
            return (_VARY,)
        return (_VARY, self._allowed(origin))

    def preflight(self, call: HttpCall) -> tuple[Header, ...]:
        """Give the answer to a browser that asks whether it may send a request."""
        origin = call.header(b"origin")
        method = (call.header(b"access-control-request-method") or b"").upper()
        if not origin or not self.allows(origin) or method not in METHODS:
            return _PREFLIGHT_VARY
        names = header_names(call.header(b"access-control-request-headers") or b"")
        told: list[Header] = [*_PREFLIGHT_VARY, self._allowed(origin), (b"access-control-allow-methods", method)]
        if names:
            told.append((b"access-control-allow-headers", b", ".join(names)))
        return tuple(told)

    def allows(self, origin: bytes) -> bool:
        """Whether pages of that origin may call; letters count alike in either case."""
        text = origin.decode("latin-1").lower()
        return any(_matches(pattern.lower(), text) for pattern in self.origins)

    def _allowed(self, origin: bytes) -> Header:
        return (b"access-control-allow-origin", b"*" if "*" in self.origins else origin)


def header_names(listed: bytes) -> Sequence[bytes]:
    """The names of a list, separated by commas or spaces, written as Go writes headers."""
    names = (_dropped.sub(b"", name) for name in re.split(rb"[ ,]", listed))
    return [b"-".join(part.capitalize() for part in name.split(b"-")) for name in names if name]


def _matches(pattern: str, origin: str) -> bool:
    begin, star, end = pattern.partition("*")
    if not star:
        return origin == pattern
    return len(origin) >= len(begin) + len(end) and origin.startswith(begin) and origin.endswith(end)


def with_cors(cors: Cors, handle: Handler) -> Handler:
    """Answer preflights, and tell browsers who may read the other answers."""

    def crossed(call: HttpCall) -> None:
        if call.method == b"OPTIONS" and call.header(b"access-control-request-method"):
            call.exchange.reply(Reply(200, content_type=b"", headers=cors.preflight(call)))
            return
        call.exchange = Adorned(call.exchange, cors.headers(call))
        handle(call)

    return crossed


class Adorned(Passed):
    """An exchange whose answer has more headers."""

    def __init__(self, inner: Exchange, headers: tuple[Header, ...]) -> None:
        super().__init__(inner)
        self._headers = headers

    def reply(self, reply: Reply) -> None:
        """Send a whole answer, and the headers."""
        headers = (*reply.headers, *self._headers)
        self.inner.reply(Reply(reply.status, reply.body, reply.content_type, headers))

    def start(self, status: int, headers: Sequence[Header]) -> None:
        """Send the head, and the headers."""
        self.inner.start(status, (*headers, *self._headers))
