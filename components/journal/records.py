"""The bytes of a journal: records one after another, each padded to whole blocks, so that none shares a block. No IO.

    0   8   b"NODEDJ01"
    8   8   epoch: which use of the file it belongs to; what an older use left behind it has a smaller one
    16  4   number in its epoch, from 0
    20  4   payload's length in bytes
    24  4   CRC-32 of bytes 8 to 24 and the payload
    28      payload

Numbers are little-endian. A journal is read up to the first record that is not the next one of its epoch, or whose
checksum is wrong: that one was being written when the machine stopped, and nobody was told of it.
"""

import struct
from collections.abc import Iterator
from zlib import crc32

BLOCK_BYTES = 4096
"""What every disk of today writes as one, and what a write past the page cache is aligned to (open(2), O_DIRECT)."""

_MAGIC = b"NODEDJ01"
_HEAD = struct.Struct("<8sQIII")
_COUNTED = struct.Struct("<QII")
HEAD_BYTES = _HEAD.size

Buffer = bytes | bytearray | memoryview


def length_of(payload_bytes: int) -> int:
    """Return what a record takes in the file: whole blocks."""
    return -(-(HEAD_BYTES + payload_bytes) // BLOCK_BYTES) * BLOCK_BYTES


def head(epoch: int, number: int, payload: bytes) -> bytes:
    """Return what stands before a payload."""
    counted = _COUNTED.pack(epoch, number, len(payload))
    return _HEAD.pack(_MAGIC, epoch, number, len(payload), crc32(payload, crc32(counted)))


def read(journal: Buffer) -> tuple[int, list[bytes]]:
    """Return the epoch of the records at the start, 0 where there is none, and their payloads in order."""
    payloads = list(_payloads(memoryview(journal)))
    return (_HEAD.unpack_from(journal)[1] if payloads else 0), payloads


def _payloads(journal: memoryview) -> Iterator[bytes]:
    position = 0
    epoch = None
    number = 0
    while position + HEAD_BYTES <= len(journal):
        magic, found, found_number, length, checksum = _HEAD.unpack_from(journal, position)
        if magic != _MAGIC or found_number != number or epoch not in {None, found}:
            return
        start = position + HEAD_BYTES
        payload = bytes(journal[start : start + length])
        if len(payload) != length or crc32(payload, crc32(_COUNTED.pack(found, number, length))) != checksum:
            return
        yield payload
        epoch = found
        number += 1
        position += length_of(length)
