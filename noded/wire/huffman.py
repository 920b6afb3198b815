"""The Huffman code of HPACK: short texts are decoded a byte at a time, longer ones by zlib. No IO.

The code is canonical, so the symbols in order of their code lengths are the whole table. A state of the decoder is
the path walked into the code tree, written as a number with a leading one bit: 0b1 is the root, 0b1011 the node after
0, 1, 1. What a state makes of a byte is worked out when it is first met and kept: at most 256 states of 256 bytes.

Deflate's codes are canonical too, of up to 15 bits, and a block says its own: one whose literals have the codes of
HPACK's symbols of up to 15 bits, and whose end has the one that is left, fifteen ones, decodes HPACK's text. What it
cannot be sure of, a rarer symbol or wrong padding, goes by bytes.

Source: RFC 7541, section 5.2 and appendix B; RFC 1951, section 3.2.7.
"""

import zlib
from typing import Final

_EOS: Final = 256
_SYMBOLS_BY_LENGTH: Final[tuple[tuple[int, bytes], ...]] = (
    (5, b"012aceiost"),
    (6, b" %-./3456789=A_bdfghlmnpru"),
    (7, b":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz"),
    (8, b"&*,;XZ"),
    (10, b'!"()?'),
    (11, b"'+|"),
    (12, b"#>"),
    (13, b"\x00$@[]~"),
    (14, b"^}"),
    (15, b"<`{"),
    (19, b"\\\xc3\xd0"),
    (20, bytes.fromhex("808283a2b8c2e0e2")),
    (21, bytes.fromhex("99a1a7acb0b1b3d1d8d9e3e5e6")),
    (22, bytes.fromhex("81848586 88929a9c a0a3a4a9 aaadb2b5 b9babbbd bec4c6e4 e8e9")),
    (23, bytes.fromhex("0187898a 8b8c8d8f 93959697 989b9d9e a5a6a8ae afb4b6b7 bcbfc5e7 ef")),
    (24, bytes.fromhex("098e9091 949fabce d7e1eced")),
    (25, bytes.fromhex("c7cfeaeb")),
    (26, bytes.fromhex("c0c1c8c9 cacdd2d5 dadbeef0 f2f3ff")),
    (27, bytes.fromhex("cbccd3d4 d6dddedf f1f4f5f6 f7f8fafb fcfdfe")),
    (28, bytes.fromhex("02030405 0607080b 0c0e0f10 11121314 15171819 1a1b1c1d 1e1f7fdc f9")),
    (30, b"\n\r\x16"),
)
_LONGEST_OF_DEFLATE: Final = 15
_BY_BYTES: Final = 12
"""Bytes of text up to which zlib costs more. Measured: it takes 0.7 us for 39 bytes, which by bytes are 1.6."""
LONGEST_BY_BYTES: Final = 2048
"""Of a text in one go, which takes 0.1 ms; a longer one may have no rarer symbols than `{`."""
_LONGEST_PADDING: Final = 0b1111_1111
"""The path of seven one bits: padding is fewer than eight bits, all ones."""


class HuffmanError(ValueError):
    """The peer's Huffman text holds EOS or wrong padding: a COMPRESSION_ERROR."""


def _paths() -> dict[int, int]:
    """Give the symbol at the end of each path."""
    symbols: dict[int, int] = {}
    code, last_length = 0, 5
    for length, group in _SYMBOLS_BY_LENGTH:
        code <<= length - last_length
        last_length = length
        for symbol in group:
            symbols[1 << length | code] = symbol
            code += 1
    symbols[1 << last_length | code] = _EOS
    return symbols


_SYMBOL_AT: Final = _paths()
_CODE_OF: Final = {symbol: (path.bit_length() - 1, path) for path, symbol in _SYMBOL_AT.items()}


# What a node of the code tree makes of each byte: the symbols completed, as latin-1, and the steps of the node it
# ends on. Has the key _END where text may end. Plain dicts of text: the interpreter is quickest with these.
_Steps = dict[int, tuple[str, "_Steps"]]
_END: Final = -1


def _new_steps(path: int) -> _Steps:
    """Give the steps of a node, none known yet; text may end at the root or within padding."""
    may_end = not path & (path + 1) and path <= _LONGEST_PADDING
    return {_END: ("", {})} if may_end else {}


_STEPS_AT: Final[dict[int, _Steps]] = {1: _new_steps(1)}
_PATH_OF: Final[dict[int, int]] = {id(_STEPS_AT[1]): 1}
"""The path of each node's steps, by their identity: all of them live for ever."""
_ROOT: Final = _STEPS_AT[1]


_REVERSED: Final = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
"""Every byte with its bits in deflate's order, the first one lowest."""
_DEFLATE_END: Final = b"\xff\x7f"
"""Fifteen ones, in that order, and a nought: after text that ends well they are, or end, the block's end."""


def _block_head() -> bytes:
    """What begins the last block of a deflate stream that has HPACK's codes, with three empty ones that fill bytes."""
    lengths = [0] * 258  # 256 ends the block; the last is for distances, of which there are none
    lengths[256] = _LONGEST_OF_DEFLATE
    for length, group in _SYMBOLS_BY_LENGTH:
        for symbol in group if length <= _LONGEST_OF_DEFLATE else b"":
            lengths[symbol] = length
    lowest_first = [(1, 1), (2, 2), (0, 5), (0, 5), (15, 4), *[(0, 3)] * 3, *[(4, 3)] * 16]
    bits = "0100000000" * 3 + "".join(f"{value:0{size}b}"[::-1] for value, size in lowest_first)
    bits += "".join(f"{length:04b}" for length in lengths)  # their own codes are themselves, in four bits each
    return int(bits[::-1], 2).to_bytes(len(bits) // 8, "little")


_INFLATE: Final = zlib.decompressobj(-9)
_INFLATE.decompress(_block_head())
_new_inflate: Final = _INFLATE.copy


def decode(text: bytes) -> bytes:
    """Decode one Huffman string.

    Raises HuffmanError on EOS, on padding that is not ones, on eight or more bits of padding, and where a text longer
    than LONGEST_BY_BYTES has symbols whose codes are longer than 15 bits.
    """
    if len(text) > _BY_BYTES:
        inflate = _new_inflate()
        plain = inflate.decompress(text.translate(_REVERSED) + _DEFLATE_END)
        if inflate.eof and (not inflate.unused_data or (len(inflate.unused_data) == 1 and text[-1] != 0xFF)):
            return plain
        if len(text) > LONGEST_BY_BYTES:
            raise HuffmanError("wrong padding, or rare symbols, in a long Huffman text")
    return _decode_by_bytes(text)


def _decode_by_bytes(text: bytes) -> bytes:
    steps = _ROOT
    plain = ""
    try:
        for byte in text:
            symbols, steps = steps[byte]
            plain += symbols
    except KeyError:
        _learn(text)
        return _decode_by_bytes(text)
    if _END not in steps:
        raise HuffmanError("wrong padding after Huffman text")
    return plain.encode("latin-1")


def _learn(text: bytes) -> None:
    """Work out each step of decoding `text` that was never met: walking them all anew would cost twenty times more."""
    steps = _ROOT
    for byte in text:
        step = steps.get(byte)
        if step is None:
            symbols, path = _walk(_PATH_OF[id(steps)], byte)
            step = steps[byte] = symbols, _steps_at(path)
        steps = step[1]


def _steps_at(path: int) -> _Steps:
    steps = _STEPS_AT.get(path)
    if steps is None:
        steps = _STEPS_AT[path] = _new_steps(path)
        _PATH_OF[id(steps)] = path
    return steps


def _walk(path: int, byte: int) -> tuple[str, int]:
    """Walk eight bits from a node; give the symbols completed and the node reached."""
    symbols = ""
    for shift in range(7, -1, -1):
        path = path << 1 | byte >> shift & 1
        symbol = _SYMBOL_AT.get(path)
        if symbol is None:
            continue
        if symbol == _EOS:
            raise HuffmanError("EOS inside Huffman text")
        symbols += chr(symbol)
        path = 1
    return symbols, path


def encode(text: bytes) -> bytes:
    """Encode one string, padded with ones. For tests and blocks made once: not tuned for speed."""
    bits = 1
    for symbol in text:
        length, path = _CODE_OF[symbol]
        bits = bits << length | path ^ 1 << length
    padding = -(bits.bit_length() - 1) % 8
    bits = bits << padding | (1 << padding) - 1
    return bits.to_bytes(bits.bit_length() // 8 + 1, "big")[1:]
