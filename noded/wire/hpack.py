"""HPACK: a decoder with a dynamic table for each connection, and an encoder that keeps no state. No IO.

A block that leaves the dynamic table alone is remembered by its bytes until the table changes; one with fields that
change with every request by what it begins with (`hpack_kin`). Any other is decoded field by field, and its known
fields are references to what was classified before.

Source: RFC 7541.
"""

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from noded.calls import Header
from noded.wire import huffman
from noded.wire.fields import CHANGING, TOO_LARGE, Field, HeaderBlock, Kinship, block_of, field_of, in_common
from noded.wire.hpack_kin import INDICES, TURNED, Stem, Stems
from noded.wire.hpack_static import FIRST_DYNAMIC, LAST_STATIC, STATIC

TABLE_BYTES: Final = 4096
"""Size of the dynamic table we offer: the protocol's default, so no SETTINGS has to be waited for."""
EMPTY_TABLE: Final = b"\x20"
"""A dynamic table size update to nothing: what our blocks begin with once after the peer shrank its table."""

LARGEST_BLOCK_BYTES: Final = 1 << 31
"""More than any block has."""
_REMEMBERED_BLOCKS: Final = 64
_KINSHIPS: Final = 64
"""Kinds of blocks with CHANGING fields known on a connection; beyond, all are forgotten and learnt anew."""
_LONGEST_REMEMBERED_BYTES: Final = 2048
_MOST_FIELDS: Final = 500
"""Of a block, whatever the limit of its size: a field costs a microsecond, and nobody is served meanwhile. Envoy takes
100; a block with more is not decoded to its end, which ends the connection (RFC 9113, section 4.3)."""
_COUNTED_BYTES: Final = 256
"""Of a block, decoded between two counts of its fields."""
_PIECE_BYTES: Final = 512
"""Of a long block, decoded in one go: 40 of the shortest fields that come with their text take 80 us."""
_LONGEST_INTEGER_BYTES: Final = 4
"""Bytes after the prefix: 28 bits, beyond any length or index that fits a frame."""


class HpackError(ValueError):
    """The peer's header block cannot be decoded: a COMPRESSION_ERROR, which ends the connection."""


class BlockPutOff(Exception):
    """A piece of a long header block was decoded: it is to be given again, for the next."""


class UnderWay(Struct):
    """A header block of which some was decoded."""

    position: int
    changed: bool
    fields: list[Field]


class Decoder:
    """The receiving side of one connection's header compression."""

    __slots__ = (
        "_added",
        "_blocks",
        "_capacity",
        "_entries",
        "_kinships",
        "_max_list_bytes",
        "_stems",
        "_under_way",
        "_used",
        "_whole_bytes",
        "known",
    )

    def __init__(self, max_list_bytes: int, whole_bytes: int = LARGEST_BLOCK_BYTES) -> None:
        """Decode blocks of up to `whole_bytes` in one go, longer ones in pieces."""
        self._max_list_bytes = max_list_bytes
        self._whole_bytes = whole_bytes
        self._under_way: UnderWay | None = None
        self._capacity = TABLE_BYTES
        self._used = 0
        self._entries: list[Field] = []  # the newest last, so index 62 is [-1]
        self._added = 0  # entries, ever
        self._blocks: dict[bytes, HeaderBlock] = {}
        self._kinships: dict[tuple[Header | bytes, ...], Kinship] = {}
        self._stems = Stems()
        self.known = self._blocks.get
        """What a block stands for that was decoded before and means the same still, or None."""

    def decode(self, raw: bytes) -> HeaderBlock:
        """Decode one whole header block.

        A list over the limit is given as TOO_LARGE with no headers; the table stays in step with the peer's.
        Raises HpackError for everything RFC 7541 calls an error, and for a block of too many fields; BlockPutOff.
        """
        return self._blocks.get(raw) or self.decode_new(raw)

    def decode_new(self, raw: bytes) -> HeaderBlock:
        """As `decode`, for what is not `known`."""
        stems, added = self._stems, self._added
        stem = stems.find(raw[: stems.length].translate(TURNED[added % INDICES]))
        try:
            if (
                stem is not None
                and stem.oldest >= added - INDICES
                and stem.oldest >= added - len(self._entries)
                and len(raw) <= _COUNTED_BYTES
            ):
                return self._decode_kin(stem, raw)
            return self._decode(raw) if len(raw) <= self._whole_bytes else self._decode_piece(raw)
        except IndexError:
            raise HpackError("header block ends early or refers to no entry") from None
        except huffman.HuffmanError as error:
            raise HpackError(str(error)) from error

    def _decode_kin(self, stem: Stem, raw: bytes) -> HeaderBlock:
        """Decode what follows a stem; what the whole block is was judged when its like came first."""
        tail: list[Field] = []
        _, grown = self._take_fields(raw, self._stems.length, len(raw), tail)
        if grown and self._blocks:
            self._blocks.clear()
        kin, headers, size = stem.kin, stem.headers, stem.size
        for header, kind, field_bytes in tail:
            following = kin.following.get(header[0] if kind == CHANGING else header)
            if following is None:
                break
            kin = following
            headers += (header,)
            size += field_bytes
        else:
            like = kin.block
            if like is not None and size <= self._max_list_bytes:
                return HeaderBlock(headers, like.kind, like.content_length, None, None, like.kinship)
        block = self._block_of([*stem.fields, *tail])
        if block.kinship is not None:
            self._stems.follow(stem, tail, block)
        return block

    def _decode(self, raw: bytes) -> HeaderBlock:
        fields: list[Field] = []
        added = self._added
        position, end = 0, len(raw)
        if raw[:1] < b"\x40":
            position = self._size_updates(raw)
        changed = position > 0
        while position < end:
            if len(fields) > _MOST_FIELDS:
                raise HpackError("more fields than any head has")
            position, grown = self._take_fields(raw, position, min(end, position + _COUNTED_BYTES), fields)
            changed = changed or grown
        block = self._block_of(fields)
        self._note(raw, block, changed=changed)
        if block.kinship is not None and end <= _COUNTED_BYTES:
            self._stems.learn(raw, fields, added, block)
        return block

    def _decode_piece(self, raw: bytes) -> HeaderBlock:
        """Give a block whose last piece this is."""
        block = self._under_way
        if block is None:
            position = self._size_updates(raw)
            block = self._under_way = UnderWay(position, position > 0, [])
        end = len(raw)
        fields = block.fields
        block.position, grown = self._take_fields(raw, block.position, min(end, block.position + _PIECE_BYTES), fields)
        block.changed = block.changed or grown
        if len(fields) > _MOST_FIELDS:
            raise HpackError("more fields than any head has")
        if block.position < end:
            raise BlockPutOff
        self._under_way = None
        decoded = self._block_of(fields)
        self._note(raw, decoded, changed=block.changed)
        return decoded

    def _note(self, raw: bytes, block: HeaderBlock, *, changed: bool) -> None:
        """Remember what was decoded, if it means the same next time."""
        if changed:
            if self._blocks:
                self._blocks.clear()
        elif len(raw) <= _LONGEST_REMEMBERED_BYTES and block.kinship is None:
            self._remember(raw, block)

    def _take_fields(self, raw: bytes, position: int, stop: int, fields: list[Field]) -> tuple[int, bool]:
        """Decode the fields that begin before `stop`; give the position after them, and whether the table grew."""
        entries = self._entries
        take = fields.append
        grown = False
        while position < stop:
            first = raw[position]
            position += 1
            if first >= 0xBE:
                if first != 0xFF:
                    take(entries[0xBD - first])
                else:
                    index, position = _integer(raw, position, 0x7F)
                    take(self._entry(index))
            elif first > 0x80:
                take(STATIC[first - 0x80])
            else:
                field, position = self._literal(first, raw, position)
                take(field)
                grown = grown or first >= 0x40
        return position, grown

    def _block_of(self, fields: list[Field]) -> HeaderBlock:
        if not fields:
            return block_of((), b"")
        headers, kinds, sizes = zip(*fields, strict=True)
        if sum(sizes) > self._max_list_bytes:
            return HeaderBlock((), TOO_LARGE)
        block = block_of(headers, bytes(kinds))
        if CHANGING in kinds:
            block.kinship = self._kinship(in_common(fields))
        return block

    def _kinship(self, common: tuple[Header | bytes, ...]) -> Kinship:
        kinship = self._kinships.get(common)
        if kinship is None:
            if len(self._kinships) >= _KINSHIPS:
                self._kinships.clear()
            kinship = self._kinships[common] = Kinship()
        return kinship

    def _remember(self, raw: bytes, block: HeaderBlock) -> None:
        if len(self._blocks) >= _REMEMBERED_BLOCKS:
            self._blocks.clear()
        self._blocks[raw] = block

    def _entry(self, index: int) -> Field:
        return STATIC[index] if index < FIRST_DYNAMIC else self._entries[LAST_STATIC - index]

    def _literal(self, first: int, raw: bytes, position: int) -> tuple[Field, int]:
        """Read a literal field; `position` is after its first byte."""
        if 0x20 <= first < 0x40:
            raise HpackError("dynamic table size update after a field")
        if first == 0x80:
            raise HpackError("index 0")
        mask = 0x3F if first >= 0x40 else 0x0F
        index = first & mask
        if index == mask:
            index, position = _integer(raw, position, mask)
        if index:
            name = (STATIC[index] if index < FIRST_DYNAMIC else self._entries[LAST_STATIC - index])[0][0]
        else:
            name, position = _string(raw, position)
        length = raw[position] & 0x7F
        end = position + 1 + length
        if length == 0x7F or end > len(raw):
            value, end = _string(raw, position)
        elif raw[position] >= 0x80:
            value = huffman.decode(raw[position + 1 : end])
        else:
            value = raw[position + 1 : end]
        field = field_of(name, value)
        if first >= 0x40:
            self._entries.append(field)
            self._added += 1
            self._used += field[2]
            if self._used > self._capacity:
                self._evict()
        return field, end

    def _evict(self) -> None:
        """Drop the oldest entries until the rest fits; one larger than the table empties it."""
        entries, count = self._entries, 0
        while self._used > self._capacity:
            self._used -= entries[count][2]
            count += 1
        del entries[:count]

    def _size_updates(self, raw: bytes) -> int:
        """Take the size updates a block may begin with; give the position after them."""
        position = 0
        while position < len(raw) and raw[position] & 0xE0 == 0x20:
            size = raw[position] & 0x1F
            position += 1
            if size == 0x1F:
                size, position = _integer(raw, position, size)
            if size > TABLE_BYTES:
                raise HpackError("dynamic table size above what SETTINGS allow")
            self._capacity = size
            self._evict()
        return position


def _integer(raw: bytes, position: int, prefix: int) -> tuple[int, int]:
    """Read what follows a full prefix (RFC 7541, section 5.1); give the value and the position after it."""
    byte = raw[position]
    if byte < 0x80:
        return prefix + byte, position + 1
    value, shift = prefix, 0
    for _ in range(_LONGEST_INTEGER_BYTES):
        byte = raw[position]
        position += 1
        value += (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
    raise HpackError("integer too large")


def _string(raw: bytes, position: int) -> tuple[bytes, int]:
    """Read a string literal; give it and the position after it."""
    first = raw[position]
    position += 1
    length = first & 0x7F
    if length == 0x7F:
        length, position = _integer(raw, position, length)
    end = position + length
    if end > len(raw):
        raise HpackError("string longer than its header block")
    text = raw[position:end]
    return (huffman.decode(text) if first >= 0x80 else text), end


_STATIC_INDEX: Final = {field[0]: index for index, field in reversed(tuple(enumerate(STATIC))) if index}
_STATIC_NAME: Final = {field[0][0]: index for index, field in reversed(tuple(enumerate(STATIC))) if index}


def encode_block(headers: Sequence[Header]) -> bytes:
    """Encode headers into a block any connection can send at any time.

    Only the static table is referred to and nothing is indexed, so the result may be made once and sent for ever.
    """
    return b"".join([_encode_field(header) for header in headers])


def _encode_field(header: Header) -> bytes:
    index = _STATIC_INDEX.get(header)
    if index is not None:
        return bytes((0x80 | index,))
    name, value = header
    index = _STATIC_NAME.get(name)
    head = b"\0" + _encode_string(name) if index is None else encode_integer(index, 0x0F, 0)
    return head + _encode_string(value)


def _encode_string(text: bytes) -> bytes:
    return encode_integer(len(text), 0x7F, 0) + text


def encode_integer(value: int, prefix: int, flags: int) -> bytes:
    """Encode an integer of RFC 7541, section 5.1; `prefix` is the mask of its bits in the first byte."""
    if value < prefix:
        return bytes((flags | value,))
    encoded = bytearray((flags | prefix,))
    value -= prefix
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
