"""An epoch: a transaction of SQLite that stays open while the journal makes one group of writes after another durable.

    BEGIN IMMEDIATE   group -> journal   group -> journal   ...   all of them -> SQLite, COMMIT

One commit of SQLite's then carries the last version of each key that a hundred groups changed, and a group costs one
write of a block. What is in no file but the journal yet is answered from here; after a crash the next start finds it
there (`recovery.py`). Nobody else writes to the file meanwhile, and others read what it held before.
"""

from collections.abc import Iterable, Mapping

import msgspec
from msgspec import Struct

from components.contract import NOT_AT_HAND, Item, StoreKey
from components.state.changes import Deltas, Version, add_all
from components.state.sqlite.group import Group, item_of

_MOST_ITEMS = 2048
_MOST_BYTES = 4 << 20
"""A larger one would hold up those who write while it is brought into the file."""

Expected = dict[StoreKey, str | None]
Record = tuple[Expected, dict[StoreKey, Version | None], Deltas]
"""What a group was based on (etags), what its keys hold now, what it adds to the totals."""
_RECORDS: msgspec.msgpack.Decoder[Record] = msgspec.msgpack.Decoder(Record)


class Epoch(Struct):
    """What the journal has and the file has not. On the loop's thread; on the writer's while that brings it in."""

    number: int
    changed: dict[StoreKey, Version | None] = {}
    """With their values."""
    base: dict[StoreKey, Version | None] = {}
    """What the file holds of these keys."""
    totals: Deltas = {}
    size_bytes: int = 0
    due: bool = False
    """Time to bring it into the file."""

    def take_in(self, group: Group, known: Mapping[StoreKey, Version | None]) -> None:
        """Add a group that is durable; `known`: what its keys held before."""
        for key, version in group.changed.items():
            if key not in self.base:
                self.base[key] = known[key]
            if version is not None:
                self.size_bytes += version.value_bytes
        self.changed.update(group.changed)
        add_all(self.totals, group.totals())
        if len(self.changed) > _MOST_ITEMS or self.size_bytes > _MOST_BYTES:
            self.due = True

    def recall(self, keys: Iterable[StoreKey], known: dict[StoreKey, Version | None]) -> list[StoreKey]:
        """Say what the keys of this epoch hold; return the others."""
        known.update({key: self.changed[key] for key in keys if key in self.changed})
        return [key for key in keys if key not in known]

    def item(self, key: StoreKey) -> Item | None:
        """Return what a key holds, or NOT_AT_HAND."""
        return item_of(self.changed[key]) if key in self.changed else NOT_AT_HAND

    def group(self) -> Group:
        """Return all of it as one group."""
        return Group(self.changed, self.totals, {})


def encode_record(group: Group, known: Mapping[StoreKey, Version | None]) -> bytes:
    """Make the payload of a group's record."""
    expected = {key: None if (before := known[key]) is None else before.etag for key in group.changed}
    return msgspec.msgpack.encode((expected, group.changed, group.totals()))


def decode_record(payload: bytes) -> Record:
    """Read a payload. Raises msgspec.DecodeError."""
    try:
        return _RECORDS.decode(payload)
    except UnicodeDecodeError as error:
        raise msgspec.DecodeError(str(error)) from error
