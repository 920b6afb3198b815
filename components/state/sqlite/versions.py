"""What is known of the keys' versions, so that a group of known keys is decided without asking the file.

Whoever decides groups has it: the writer's thread, or the loop while an epoch is open (`epoch.py`).
"""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from components.contract import StoreKey
from components.state.changes import Version
from components.state.etags import Etags
from components.state.sqlite.statements import Statements

_VERSIONS = 16_384
"""Versions remembered, some 5 MB."""


class Versions(dict[StoreKey, Version | None]):
    """Committed versions by key, without their values; None stands for a key known to hold nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.next_etag = Etags().next

    def unknown(self, keys: Iterable[StoreKey]) -> list[StoreKey]:
        """Return those of the keys that are not known."""
        return [key for key in keys if key not in self]

    def remember(self, changed: Mapping[StoreKey, Version | None]) -> None:
        """Take in what was committed; what was remembered first is forgotten first."""
        self.update(changed)
        while len(self) > _VERSIONS:
            del self[next(iter(self))]


def look_up(
    connection: sqlite3.Connection, statements: Statements, keys: Sequence[StoreKey]
) -> dict[StoreKey, Version]:
    """Return the versions of those keys that hold something in the file. Raises sqlite3.Error."""
    asked = msgspec.json.encode(keys).decode()
    (text,) = connection.execute(statements.versions, (asked,)).fetchone()
    return parse(text)


def parse(text: str) -> dict[StoreKey, Version]:
    """Read what `Statements.versions` and `Statements.expired` give."""
    rows = msgspec.json.decode(text, type=list[tuple[str, str, int | None, int]])
    return {StoreKey(key): Version(etag, expires_at, size) for key, etag, expires_at, size in rows}
