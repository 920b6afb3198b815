"""Counting all items again, slice by slice between commits, while the store is in use.

A slice is counted on the writer's thread, so nothing is committed meanwhile. What is committed later to keys already
counted is added; keys further on are counted when their slice comes. The result is exact at its end.
"""

import sqlite3
from collections.abc import Mapping
from time import monotonic

import msgspec

from components.contract import StoreKey, owner_of, size_of
from components.state.changes import Deltas, Version, add
from components.state.sqlite.statements import Statements

_SLICE_SECONDS = 0.01
"""How long a slice may hold up commits; its rows are adjusted to it."""
_MOST_ROWS = 2000


class Recount:
    """One count in progress. On the writer's thread."""

    __slots__ = ("_counted_to", "_rows", "_statements", "totals")

    def __init__(self, statements: Statements) -> None:
        self._statements = statements
        self._counted_to = ""
        self._rows = 100
        self.totals: Deltas = {}

    def slice(self, connection: sqlite3.Connection) -> bool:
        """Count some more rows; True when that was the end. Raises sqlite3.Error."""
        started = monotonic()
        last, text = connection.execute(self._statements.count, (self._counted_to, self._rows)).fetchone()
        if last is None:
            return True
        for owner, keys, size_bytes in msgspec.json.decode(text, type=list[tuple[str, int, int]]):
            add(self.totals, owner, keys, size_bytes)
        self._counted_to = last
        late = monotonic() - started > _SLICE_SECONDS
        self._rows = max(1, self._rows // 2) if late else min(_MOST_ROWS, self._rows * 2)
        return False

    def note(self, changed: Mapping[StoreKey, Version | None], known: Mapping[StoreKey, Version | None]) -> None:
        """Take in a commit: what keys hold now, and what they held before."""
        for key, after in changed.items():
            if key <= self._counted_to:
                self._count(key, known[key], -1)
                self._count(key, after, 1)

    def _count(self, key: StoreKey, version: Version | None, sign: int) -> None:
        if version is not None:
            add(self.totals, owner_of(key), sign, sign * (size_of(key, b"") + version.value_bytes))
