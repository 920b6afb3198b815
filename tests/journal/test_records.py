"""The bytes of a journal: what was written is read back in order, up to the first record that is not whole."""

import pytest

from components.journal.records import BLOCK_BYTES, HEAD_BYTES, head, length_of, read

PAYLOADS = [b"", b"first", b"x" * (BLOCK_BYTES - HEAD_BYTES), b"y" * (BLOCK_BYTES - HEAD_BYTES + 1), b"last"]


def record(epoch: int, number: int, payload: bytes) -> bytes:
    whole = head(epoch, number, payload) + payload
    return whole + bytes(length_of(len(payload)) - len(whole))


def journal(epoch: int, payloads: list[bytes]) -> bytes:
    return b"".join(record(epoch, number, payload) for number, payload in enumerate(payloads))


@pytest.mark.parametrize("after", [b"", bytes(3 * BLOCK_BYTES), b"\xff" * BLOCK_BYTES], ids=["end", "zeros", "ones"])
def test_what_was_written_is_read(after: bytes) -> None:
    """Records of any size, one after another, whatever stands behind the last."""
    assert read(journal(7, PAYLOADS) + after) == (7, PAYLOADS)


@pytest.mark.parametrize("nothing", [b"", b"\0", bytes(BLOCK_BYTES), b"\xff" * BLOCK_BYTES])
def test_nothing_is_no_record(nothing: bytes) -> None:
    """An empty journal, one that was never written to, and something else altogether have no records."""
    assert read(nothing) == (0, [])


def test_a_record_takes_whole_blocks() -> None:
    """None shares a block with another, so a torn write harms the last one only."""
    assert length_of(0) == BLOCK_BYTES
    assert length_of(BLOCK_BYTES - HEAD_BYTES) == BLOCK_BYTES
    assert length_of(BLOCK_BYTES - HEAD_BYTES + 1) == 2 * BLOCK_BYTES


def test_a_record_is_whole_or_absent() -> None:
    """Cut anywhere, the journal gives those records that are whole, never a part of one."""
    payloads = [b"first", b"second" * 1000, b"third"]
    whole = journal(3, payloads)
    ends = [BLOCK_BYTES, 3 * BLOCK_BYTES, 3 * BLOCK_BYTES + HEAD_BYTES + len(b"third")]
    starts = [0, BLOCK_BYTES, 3 * BLOCK_BYTES]
    lengths = [start + HEAD_BYTES + len(payload) for start, payload in zip(starts, payloads, strict=True)]
    for cut in {0, 1, HEAD_BYTES, *lengths, *ends, *(length - 1 for length in lengths), *(end - 1 for end in ends)}:
        expected = payloads[: sum(length <= cut for length in lengths)]
        assert read(whole[:cut])[1] == expected, cut


def test_a_changed_bit_ends_the_journal() -> None:
    """A record any of whose bytes was changed is not taken, nor any behind it."""
    whole = bytearray(journal(3, [b"first", b"second", b"third"]))
    for position in (*range(HEAD_BYTES), HEAD_BYTES + 2, HEAD_BYTES + 5):
        damaged = bytearray(whole)
        damaged[BLOCK_BYTES + position] ^= 0x10
        assert read(damaged)[1] == [b"first"], position


def test_what_an_older_epoch_left_behind_is_not_read() -> None:
    """The journal is written from its start again and again: the records of before end where the new ones do."""
    before = journal(4, [b"a", b"b", b"c", b"d"])
    now = journal(5, [b"e", b"f"])
    assert read(now + before[len(now) :]) == (5, [b"e", b"f"])


def test_records_out_of_order_are_not_read() -> None:
    """A record stands where its number says, or the journal ends there."""
    assert read(record(5, 0, b"a") + record(5, 2, b"c")) == (5, [b"a"])
    assert read(record(5, 1, b"b")) == (0, [])
