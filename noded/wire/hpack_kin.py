"""Header blocks that differ in CHANGING fields only, known by what they begin with. No IO.

Clients such as grpc-go put every field into the dynamic table, a new deadline or trace context too. Each one shifts
the indices of all that was there before, so no block comes again byte for byte. A stem is the indices that a block
begins with, counted not from the table's newest entry but from its first one ever: the same bytes for the same fields,
however much was added since. What follows a stem is decoded field by field, and leads through a tree to its kinship.

Source: RFC 7541, sections 2.3.3 and 6.1.
"""

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from noded.calls import Header
from noded.wire.fields import CHANGING, Field, HeaderBlock

_NEWEST: Final = 0xBE
"""The byte that stands for the newest entry of the dynamic table."""
INDICES: Final = 0xFF - _NEWEST
"""How many entries have an index of one byte."""
_SHORTEST: Final = 4
_LONGEST: Final = 64
"""Fields of a stem."""
_SHORTER: Final = 16
"""Blocks with shorter stems, one after the other, until these are learnt in the place of the longer ones."""
_NODES: Final = 64
"""Stems, and fields behind them, known on a connection; beyond, all are forgotten and learnt anew."""

_INDEX_BYTES: Final = bytes(range(_NEWEST, 0xFF))
TURNED: Final = tuple(
    bytes.maketrans(_INDEX_BYTES, _INDEX_BYTES[-added % INDICES :] + _INDEX_BYTES[: -added % INDICES])
    for added in range(INDICES)
)
"""Translates indices of one byte so that an entry keeps its own, by how many were ever added (modulo `INDICES`)."""


class Kin(Struct):
    """A place in the tree of the fields that follow a stem."""

    following: dict[Header | bytes, "Kin"]
    """By the next field; of one that is CHANGING only the name."""
    block: HeaderBlock | None = None
    """The first one that ended here."""


class Stem(Struct):
    """What blocks begin with."""

    fields: Sequence[Field]
    headers: tuple[Header, ...]
    size: int
    """Of the fields, in bytes, as header lists count it."""
    oldest: int
    """The entry added first of those it refers to, counted from 0; it holds as long as that has an index of a byte."""
    kin: Kin


class Stems:
    """The stems of one connection, all equally long."""

    __slots__ = ("_nodes", "_shorter", "_stems", "find", "length")

    def __init__(self) -> None:
        self._stems: dict[bytes, Stem] = {}
        self._nodes = 0
        self._shorter = 0
        self.length = 0
        """Bytes, and fields, of a stem; 0: none is known."""
        self.find = self._stems.get
        """The stem of so many bytes, `TURNED`, or None; whether it still holds is to be asked."""

    def learn(self, raw: bytes, fields: Sequence[Field], added: int, block: HeaderBlock) -> None:
        """Remember what `raw` begins with, which came when so many entries had been added, and where it leads."""
        length = _length(raw, fields)
        if length < _SHORTEST:
            return
        if length < self.length and self._shorter < _SHORTER:
            self._shorter += 1
            return
        if length != self.length:
            self._forget()
            self.length = length
        self._shorter = 0
        indices = raw[:length]
        oldest = min([added, *[added + _NEWEST - 1 - byte for byte in indices if byte >= _NEWEST]])
        headers = tuple(field[0] for field in fields[:length])
        stem = Stem(fields[:length], headers, sum(field[2] for field in fields[:length]), oldest, Kin({}))
        self._stems[indices.translate(TURNED[added % INDICES])] = stem
        self._nodes += 1
        self.follow(stem, fields[length:], block)

    def follow(self, stem: Stem, tail: Sequence[Field], block: HeaderBlock) -> None:
        """Remember that these fields, behind the stem, make a block like this."""
        if self._nodes >= _NODES:
            self._forget()
        kin = stem.kin
        for header, kind, _ in tail:
            key = header[0] if kind == CHANGING else header
            following = kin.following.get(key)
            if following is None:
                following = kin.following[key] = Kin({})
                self._nodes += 1
            kin = following
        kin.block = block

    def _forget(self) -> None:
        self._stems.clear()
        self._nodes = 0


def _length(raw: bytes, fields: Sequence[Field]) -> int:
    length = 0
    for byte, (_, kind, _) in zip(raw, fields[:_LONGEST], strict=False):
        if not 0x80 < byte < 0xFF or kind == CHANGING:
            break
        length += 1
    return length
