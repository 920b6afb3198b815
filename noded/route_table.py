"""How a path finds its operation. The table itself is `routes.py`.

Matched on the escaped path after cleaning (`//`, `.`, `..` collapse, one trailing slash is tolerated), as daprd does;
the route's {fields} are decoded by query rules afterwards. What matches nothing falls to service invocation.
"""

from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any, Final

from msgspec import Struct

from components.completion import Completion
from noded.calls import HttpCall, Reply
from noded.errors import ErrorRow
from noded.query import unescape

VERBS: Final = ("GET", "PUT", "POST", "PATCH", "DELETE", "HEAD", "OPTIONS", "CONNECT", "TRACE", "UNKNOWN")
"""What requests are counted by. Source: daprd 1.18 pkg/diagnostics/utils ValidHTTPVerbs."""
UNKNOWN_VERB: Final = VERBS[-1]

Running = Coroutine[Any, None, Reply]
"""A handler on its way: yields what it waits for, returns the answer."""


class Later(Struct, frozen=True):
    """What a handler returns whose answer waits for one thing: no coroutine is kept for it."""

    waits_for: Completion[Any]
    answer: Callable[[], Reply]
    """Called when it is there, or has failed. Raises as a handler does."""


Handler = Callable[[HttpCall], Reply | Later | Running]
"""Answers at once, or when something is there, or is on its way."""
RawHandler = Callable[[HttpCall], None]


@dataclass(frozen=True, slots=True)
class HttpRoute:
    """One operation's face on HTTP."""

    operation: str
    """Dapr's name of it, as on gRPC: what usage and metrics count by."""
    methods: tuple[str, ...]
    versions: tuple[str, ...]
    """As in the path: v1.0, v1.0-alpha1."""
    pattern: str
    """After the version; {field} is one segment, a last {field...} is all the rest."""
    handler: Handler | None = None
    raw: RawHandler | None = None
    """Instead of `handler`: takes the whole exchange, its body streamed."""
    limited: bool = True
    """Whether the tenant's rates apply; health must answer always."""
    too_large: ErrorRow | None = None
    """What a body over the limit is answered with; None: the handler sees to it, or reads no body."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A route made ready to match; its fields are copied here, as every request asks for them."""

    route: HttpRoute
    index: int
    """Of the verb and operation in the tenant's counters."""
    handler: Handler | None
    limited: bool
    literals: tuple[tuple[int, str], ...] = ()
    """(segment, what it must be)."""
    fields: tuple[int, ...] = ()
    """Segments that are {fields}."""
    tail: int | None = None
    """First segment of a {field...}."""
    plain: bool = False
    """Every segment from the fourth on is a {field}."""


class RouteTable:
    """All HTTP routes, by method, version, first word and number of segments."""

    def __init__(self, routes: Iterable[HttpRoute], fallback: HttpRoute, index: Callable[[str], int]) -> None:
        """Make one; `index` gives the place in the counters of a `face`."""
        self._exact: dict[tuple[bytes, str, str, int], list[Candidate]] = {}
        self._tails: dict[tuple[bytes, str, str], list[Candidate]] = {}
        candidates = {verb: self._fallback(fallback, index(face(verb, fallback.operation))) for verb in VERBS}
        self._fallbacks = {verb.encode(): candidate for verb, candidate in candidates.items()}
        self.fallback = candidates[UNKNOWN_VERB]
        """For a verb that HTTP does not have."""
        for route in routes:
            self._add(route, index)

    def find(self, call: HttpCall) -> Candidate:
        """The route of a call, whose params are set; `fallback` where none matches.

        Raises ApiError for a broken %-escape.
        """
        path = call.path
        if b"//" in path or b"/." in path or path[-1:] == b"/":
            path = clean(path)
        parts = path.decode("utf-8", "surrogateescape").split("/")
        if len(parts) < 3:
            return self._fallbacks.get(call.method, self.fallback)
        escaped = b"%" in path or b"+" in path
        for candidate in self._exact.get((call.method, parts[1], parts[2], len(parts)), ()):
            if candidate.plain and not escaped:
                call.params = parts[3:]
                return candidate
            if all(parts[at] == word for at, word in candidate.literals):
                call.params = [unescape(parts[at].encode("utf-8", "surrogateescape")) for at in candidate.fields]
                return candidate
        return self._find_tail(call, parts)

    def repeats(self, call: HttpCall, candidate: Candidate) -> bool:
        """Whether every request with the same line up to its last segment leads to the same route."""
        parts = clean(call.path).decode("utf-8", "surrogateescape").split("/")
        if candidate.route is self.fallback.route:
            return len(parts) > 3 and parts[1:3] == ["v1.0", "invoke"]
        if len(parts) < 3 or not call.params or call.params[-1] != parts[-1]:
            return False
        siblings = self._exact.get((call.method, parts[1], parts[2], len(parts)), ())
        return not any(at == len(parts) - 1 for each in siblings for at, _ in each.literals) and (
            candidate.tail is None or not siblings
        )

    def _find_tail(self, call: HttpCall, parts: list[str]) -> Candidate:
        for candidate in self._tails.get((call.method, parts[1], parts[2]), ()):
            tail = candidate.tail or 0
            if len(parts) > tail and all(parts[at] == word for at, word in candidate.literals):
                texts = [*(parts[at] for at in candidate.fields), "/".join(parts[tail:])]
                call.params = [unescape(text.encode("utf-8", "surrogateescape")) for text in texts]
                return candidate
        return self._fallbacks.get(call.method, self.fallback)

    @staticmethod
    def _fallback(route: HttpRoute, index: int) -> Candidate:
        return Candidate(route, index, route.handler, route.limited)

    def _add(self, route: HttpRoute, index: Callable[[str], int]) -> None:
        words = route.pattern.split("/")
        tail = len(words) + 1 if words[-1].endswith("...}") else None
        plain = words[:-1] if tail else words
        literals = tuple((at, word) for at, word in enumerate(plain, 2) if at > 2 and word[0] != "{")
        fields = tuple(at for at, word in enumerate(plain, 2) if word[0] == "{")
        plainly = not literals and not tail
        for method in route.methods:
            at = index(face(method, route.operation))
            candidate = Candidate(route, at, route.handler, route.limited, literals, fields, tail, plain=plainly)
            for version in route.versions:
                key = (method.encode(), version, words[0])
                if tail:
                    self._tails.setdefault(key, []).append(candidate)
                else:
                    self._exact.setdefault((*key, len(words) + 2), []).append(candidate)


def clean(path: bytes) -> bytes:
    """Collapse `//`, `.` and `..`, and drop one trailing slash."""
    kept: list[bytes] = []
    for part in path.split(b"/"):
        if part == b"..":
            if kept:
                kept.pop()
        elif part not in (b"", b"."):
            kept.append(part)
    return b"/" + b"/".join(kept)


def face(verb: str, operation: str) -> str:
    """What a request over HTTP is counted as."""
    return f"{verb} {operation}"
