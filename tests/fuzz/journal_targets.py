"""The journal that a start reads after a crash: whatever a torn, stale or foreign file holds."""

from contextlib import suppress

import msgspec

from components.contract import StoreKey
from components.journal.records import BLOCK_BYTES, HEAD_BYTES, head, length_of, read
from components.state.changes import Version
from components.state.sqlite.epoch import decode_record, encode_record
from components.state.sqlite.group import Group
from tests.fuzz.target import Target

_EPOCH = 3


def records(data: bytes) -> None:
    """Records are read back up to the first byte that is not as it was written; any other file has what it has."""
    epoch, payloads = read(data)
    assert epoch == 0 or payloads
    payloads = data[2:].split(b"|")
    journal = bytearray()
    ends = []
    for number, payload in enumerate(payloads):
        record = head(_EPOCH, number, payload) + payload
        ends.append(len(journal) + len(record))
        journal += record + bytes(length_of(len(payload)) - len(record))
    assert read(journal) == (_EPOCH, payloads)
    cut = int.from_bytes(data[:2], "big") % (len(journal) + 1)
    assert read(journal[:cut])[1] == payloads[: sum(end <= cut for end in ends)]
    if cut < len(journal):
        journal[cut] ^= 0x01
        whole = cut // BLOCK_BYTES
        kept = [number for number, end in enumerate(ends) if end <= whole * BLOCK_BYTES or _is_padding(cut, ends)]
        assert read(journal)[1][: len(kept)] == payloads[: len(kept)]


def _is_padding(position: int, ends: list[int]) -> bool:
    """Whether a byte stands behind a payload, where no record begins before the next block."""
    return any(end <= position < -(-end // BLOCK_BYTES) * BLOCK_BYTES for end in ends)


def groups(data: bytes) -> None:
    """A payload is read or refused, never half; what was read is what would be written."""
    with suppress(msgspec.DecodeError):
        expected, changed, totals = decode_record(data)
        known = {key: None if etag is None else Version(etag, None, 0) for key, etag in expected.items()}
        known.update({key: None for key in changed if key not in known})
        again = decode_record(encode_record(Group(changed, totals, {}), known))
        assert again[0] == {key: expected.get(key) for key in changed}
        assert repr(again[1:]) == repr((changed, totals))  # NaN is not equal to itself


_GROUP = Group(
    {
        StoreKey("app||a"): Version("e", None, 1, b"\xff"),
        StoreKey("app||b"): None,
        StoreKey("c"): Version("f", 9.0, 0, b""),
    },
    {"app": (1, 20)},
    {"app": (-1, -9)},
)
_KNOWN: dict[StoreKey, Version | None] = dict.fromkeys(_GROUP.changed) | {StoreKey("app||b"): Version("d", None, 2)}

TARGETS = (
    Target(
        "journal_records",
        records,
        seeds=(
            b"\0\0one|two|three",
            b"\x10\x20" + b"x" * (BLOCK_BYTES - HEAD_BYTES) + b"||y",
            head(1, 0, b"payload") + b"payload",
        ),
        words=(b"NODEDJ01", b"|", b"\0" * 8),
        max_bytes=10_000,
    ),
    Target("journal_groups", groups, seeds=(encode_record(_GROUP, _KNOWN), b"\x93\x80\x80\x80")),
)
