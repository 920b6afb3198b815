"""Which path of the app an event goes to."""

from collections.abc import Sequence
from urllib.parse import quote

from noded.config.records import RouteRule
from noded.runtime.events import Event

_KEPT = "/%?&=+:@!$'()*,;~#-._[]"


class Routes:
    """The rules of one subscription, as targets of a request."""

    def __init__(self, rules: Sequence[RouteRule]) -> None:
        """Rules with a `match` are CEL and never match here; the first without one takes every event."""
        self._default = next((target(rule.path) for rule in rules if not rule.match.strip()), None)

    def choose(self, _event: Event) -> bytes | None:
        """The target for an event, or None when no rule matches."""
        return self._default


def target(path: str) -> bytes:
    """A route's path as the target of a request: rooted, and escaped where it must be."""
    return quote(path if path.startswith("/") else "/" + path, safe=_KEPT).encode()
