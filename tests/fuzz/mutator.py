"""Random changes to bytes, from a seed: the engine where libFuzzer is absent, and in CI."""

from collections.abc import Sequence
from random import Random

from tests.fuzz.target import Target

_NUMBERS = (b"0", b"1", b"-1", b"255", b"4294967296", b"9223372036854775808", b"1e999", b"0.1")
_BYTES = (0, 1, 0x0A, 0x0D, 0x20, 0x22, 0x25, 0x2F, 0x3A, 0x7F, 0x80, 0xFE, 0xFF)


class Mutator:
    """An endless stream of inputs near a corpus, the same for the same seed."""

    def __init__(self, target: Target, corpus: Sequence[bytes], seed: int) -> None:
        self._random = Random(seed)
        self._target = target
        self._corpus = list(corpus) or [b""]

    def keep(self, data: bytes) -> None:
        """Take an input into the corpus."""
        self._corpus.append(data)

    def next(self) -> bytes:
        """One more input: one to eight changes to one of the corpus."""
        random = self._random
        data = bytearray(random.choice(self._corpus))
        for _ in range(random.choice((1, 1, 1, 2, 3, 5, 8))):
            self._change(data)
        return bytes(data[: self._target.max_bytes])

    def _change(self, data: bytearray) -> None:
        random = self._random
        at = random.randint(0, len(data))
        end = min(len(data), at + random.choice((1, 1, 2, 4, 8, 32)))
        match random.randrange(9):
            case 0 if data:
                data[min(at, len(data) - 1)] ^= 1 << random.randrange(8)
            case 1 if data:
                data[min(at, len(data) - 1)] = random.choice(_BYTES)
            case 2:
                del data[at:end]
            case 3:
                data[at:at] = data[at:end] * random.choice((1, 1, 2, 16))
            case 4:
                data[at:at] = random.randbytes(random.choice((1, 2, 4)))
            case 5:
                data[at:end] = random.choice(_NUMBERS)
            case 6:
                other = random.choice(self._corpus)
                begin = random.randint(0, len(other))
                data[at:] = other[begin:]
            case 7:
                other = random.choice(self._corpus)
                begin = random.randint(0, len(other))
                data[at:at] = other[begin : begin + random.choice((4, 16, 64))]
            case _ if self._target.words:
                data[at : random.choice((at, end))] = random.choice(self._target.words)
