"""Request lines met before, up to their last segment: what they lead to need not be found again.

`GET /v1.0/state/statestore/` leads to one route whatever key follows, as long as the key is plain. A table with a route
that differs in that last segment only (`.../bulk`) says so, and the line is not remembered. Per app, bounded.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from msgspec import Struct

if TYPE_CHECKING:
    from noded.route_table import Candidate

MAX_LINES: Final = 256
"""Per app; when it is full everything is forgotten and learnt anew."""


class KnownLine(Struct, frozen=True):
    """Where a line leads."""

    method: bytes
    path: bytes
    """With its last slash."""
    candidate: "Candidate"
    params: tuple[str, ...]
    """All but the last."""


class KnownLines:
    """The lines of one app's clients."""

    __slots__ = ("_lines", "find")

    def __init__(self) -> None:
        self._lines: dict[bytes, KnownLine] = {}
        self.find = self._lines.get
        """Where a line leads, or None."""

    def learn(self, line: bytes, candidate: "Candidate", params: Sequence[str]) -> None:
        """Remember `METHOD /path/`, which led to `candidate` with `params`."""
        method, _, path = line.partition(b" ")
        if len(self._lines) >= MAX_LINES:
            self._lines.clear()
        self._lines[line] = KnownLine(method, path, candidate, tuple(params[:-1]))
