"""Ways to cut an input, chosen by its own first byte, so that a finding is one file and cut the same every time."""

from collections.abc import Sequence


def cut(data: bytes, choice: int) -> Sequence[bytes]:
    """Cut into pieces: of one byte for choice 0, else of sizes that the choice draws."""
    if choice == 0:
        return [data[at : at + 1] for at in range(len(data))]
    pieces, at, state = [], 0, choice
    while at < len(data):
        state = (state * 1_103_515_245 + 12_345) & 0x7FFF_FFFF
        size = 1 + (state >> 16) % (choice * 2)
        pieces.append(data[at : at + size])
        at += size
    return pieces


def split_choice(raw: bytes) -> tuple[int, bytes]:
    """The first byte, and the rest."""
    return (raw[0], raw[1:]) if raw else (1, b"")
