"""Reads of what the cache does not know: one thread, one connection, one query for all that came in meanwhile."""

import sqlite3
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Callable, Sequence
from functools import partial

import msgspec
from msgspec import Struct

from components.completion import Completion
from components.contract import Item, StoreKey, Unavailable
from components.state.sqlite.file import with_remedy
from components.state.sqlite.statements import Statements

_LONG_CHARACTERS = 65_536
"""Values over this length are fetched one by one: so many of them never stand in one text."""

Answer = Item | Unavailable | None
Answered = Callable[[Sequence["Miss"], dict[StoreKey, Answer]], None]


class Miss(Struct):
    """A key that is being read, and who waits for it."""

    key: StoreKey
    generation: int
    """How often the cache had been emptied when this began."""
    since: int
    """The tick it came at."""
    waiting: list[Completion[Item | None]] = []
    size_bytes: int = 1


class Reader:
    """The owner of a reading connection. All methods run on its worker's thread."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        statements: Statements,
        run_soon: Callable[[Callable[[], None]], object],
        answered: Answered,
        name: str,
    ) -> None:
        self._connection = connection
        self._statements = statements
        self._run_soon = run_soon
        self._answered = answered
        self._name = name

    def read(self, misses: list[Miss]) -> None:
        """Read the keys; `answered` gets an answer for each, on the loop."""
        try:
            answers = self._read([miss.key for miss in misses])
        except (sqlite3.Error, msgspec.DecodeError) as error:
            failure = Unavailable(f"{self._name}: cannot read: {with_remedy(error)}")
            answers = {miss.key: failure for miss in misses}
        self._run_soon(partial(self._answered, misses, answers))

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _read(self, keys: Sequence[StoreKey]) -> dict[StoreKey, Answer]:
        asked = msgspec.json.encode(keys).decode()
        (text,) = self._connection.execute(self._statements.items, (_LONG_CHARACTERS, asked)).fetchone()
        answers: dict[StoreKey, Answer] = dict.fromkeys(keys)
        for key, value, binary, etag, expires_at in msgspec.json.decode(text, type=list[_Row]):
            if value is None:
                answers[StoreKey(key)] = self._read_long(key)
            else:
                answers[StoreKey(key)] = self._item(key, value.encode(), binary, etag, expires_at)
        return answers

    def _read_long(self, key: str) -> Answer:
        row = self._connection.execute(self._statements.item, (key,)).fetchone()
        return None if row is None else self._item(key, *row)

    def _item(self, key: str, value: bytes, binary: int, etag: str, expires_at: int | None) -> Answer:
        if binary:
            try:
                value = b64decode(value, validate=True)
            except Base64Error as error:
                return Unavailable(f"{self._name}: the value of {key} is damaged: {error}")
        return Item(value, etag, expires_at)


_Row = tuple[str, str | None, int, str, int | None]
