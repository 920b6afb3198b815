"""Header compression: what RFC 7541 asks of a decoder, held against the `hpack` package."""

import importlib.util
import sys
import types
from collections.abc import Callable
from contextlib import suppress

import hpack as oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st

from noded.wire import huffman
from noded.wire.fields import MALFORMED, REQUEST, RESPONSE, TOO_LARGE, TRAILERS, HeaderBlock
from noded.wire.hpack import TABLE_BYTES, BlockPutOff, Decoder, HpackError, encode_block, encode_integer

ROOM = 1 << 20
NAMES = st.sampled_from([b"grpc-timeout", b"traceparent", b"user-agent", b"x-a", b"accept", b"cookie"])
VALUES = st.one_of(
    st.sampled_from([b"", b"gzip, deflate", b"1", b"application/grpc"]),
    st.text(st.characters(min_codepoint=0x21, max_codepoint=0xFF), max_size=300).map(
        lambda text: text.encode("latin-1")
    ),
)
BLOCKS = st.lists(st.lists(st.tuples(NAMES, VALUES), max_size=12), max_size=12)


def literal(name: bytes, value: bytes, first: int = 0x40) -> bytes:
    """Build a literal field with a literal name."""
    return bytes((first,)) + encode_integer(len(name), 0x7F, 0) + name + encode_integer(len(value), 0x7F, 0) + value


@given(BLOCKS, st.lists(st.sampled_from([0, 60, 200, 4096]), min_size=12, max_size=12), st.booleans())
def test_decodes_what_a_stateful_encoder_sends(
    blocks: list[list[tuple[bytes, bytes]]],
    sizes: list[int],
    huffman_coded: bool,  # noqa: FBT001
) -> None:
    """A connection's blocks decode to what was encoded, with an encoder that indexes, resizes and Huffman-codes."""
    encoder, decoder = oracle.Encoder(), Decoder(ROOM)
    for block, size in zip(blocks, sizes, strict=False):
        encoder.header_table_size = size
        raw = encoder.encode(block, huffman=huffman_coded)

        assert tuple(block) == decoder.decode(raw).headers


@given(BLOCKS, st.booleans())
def test_a_block_in_pieces_is_what_it_is_whole(
    blocks: list[list[tuple[bytes, bytes]]],
    huffman_coded: bool,  # noqa: FBT001
) -> None:
    """Asked again until the last piece, which is as often as it has pieces; the table stays in step."""
    encoder, whole, in_pieces = oracle.Encoder(), Decoder(ROOM), Decoder(ROOM, 100)
    for block in blocks:
        raw = encoder.encode(block, huffman=huffman_coded)
        decoded, times = _asked_again(in_pieces, raw)
        assert decoded.headers == whole.decode(raw).headers
        assert times <= len(raw) // 512
        assert times > 0 or len(raw) <= 512 + 2 * 300


def _asked_again(decoder: Decoder, raw: bytes) -> tuple[HeaderBlock, int]:
    for times in range(1000):
        with suppress(BlockPutOff):
            return decoder.decode(raw), times
    raise AssertionError("without end")


@given(st.binary(max_size=60))
def test_random_bytes_are_refused_in_pieces_as_whole(raw: bytes) -> None:
    """What is behind a first piece may be anything."""
    filler = b"".join(literal(b"x-%d" % number, b"v" * 90, 0) for number in range(6))
    assert _taken(Decoder(ROOM, 0), filler + raw) == _taken(Decoder(ROOM), filler + raw)


def _taken(decoder: Decoder, raw: bytes) -> object:
    try:
        return _asked_again(decoder, raw)[0].headers
    except HpackError as error:
        return str(error)


def test_a_long_text_of_rare_symbols_is_refused() -> None:
    """It would be decoded a byte at a time; one of 2 KiB is taken, and a longer one of usual symbols."""
    text = b"\\" * (huffman.LONGEST_BY_BYTES * 8 // 19)
    assert huffman.decode(huffman.encode(text)) == text
    with pytest.raises(huffman.HuffmanError, match="rare"):
        huffman.decode(huffman.encode(text + b"aaaaaa"))
    usual = b"0123456789abcdef" * 1000
    assert huffman.decode(huffman.encode(usual)) == usual


@given(BLOCKS)
def test_encoded_blocks_need_no_state(blocks: list[list[tuple[bytes, bytes]]]) -> None:
    """A block of ours decodes to the same headers in a new decoder and in a used one."""
    used = oracle.Decoder(ROOM)
    for block in blocks:
        raw = encode_block(block)

        assert [tuple(header) for header in used.decode(raw, raw=True)] == block
        assert [tuple(header) for header in oracle.Decoder(ROOM).decode(raw, raw=True)] == block


@given(st.binary(max_size=60))
def test_random_bytes_end_as_headers_or_as_an_error(raw: bytes) -> None:
    """A decoder accepts and refuses what the oracle does, and raises nothing but HpackError."""
    theirs = oracle.Decoder(ROOM)
    try:
        expected: object = tuple(tuple(header) for header in theirs.decode(raw, raw=True))
    except (oracle.HPACKError, IndexError):
        expected = None
    try:
        got: object = Decoder(ROOM).decode(raw).headers
    except HpackError:
        got = None

    assert expected == got


@given(st.binary(max_size=200))
def test_huffman_decodes_what_it_encodes(text: bytes) -> None:
    """Every string survives the Huffman code, and a new peer's table gives the same bits."""
    coded = huffman.encode(text)

    assert text == huffman.decode(coded)
    assert coded == (oracle.huffman.HuffmanEncoder(*_oracle_table()).encode(text) if text else b"")


@given(st.text("0123456789abcdef-{<~XZ^\xff\n", min_size=10, max_size=60), st.integers(0, 0xFFFF), st.integers(0, 16))
def test_long_huffman_text_is_taken_or_refused_as_short_text_is(text: str, wrong: int, bits: int) -> None:
    """Whatever the last two bytes of a text become, it is decoded, or refused, as another implementation does."""
    coded = bytearray(huffman.encode(text.encode("latin-1")))
    coded[-2] ^= wrong >> bits >> 8
    coded[-1] ^= wrong >> bits & 0xFF
    assert _decoded(huffman.decode, bytes(coded)) == _decoded(oracle.huffman_table.decode_huffman, bytes(coded))


def _decoded(decode: Callable[[bytes], bytes], coded: bytes) -> bytes | None:
    try:
        return decode(coded)
    except (huffman.HuffmanError, oracle.HPACKDecodingError):
        return None


def _oracle_table() -> tuple[list[int], list[int]]:
    from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH  # noqa: PLC0415 - only here

    return REQUEST_CODES, REQUEST_CODES_LENGTH


def test_huffman_steps_are_worked_out_once() -> None:
    """A text that differs from a known one in its last byte costs one step: each may be made to hold a new one."""
    spec = importlib.util.spec_from_file_location("fresh_huffman", huffman.__file__)
    assert spec is not None
    assert spec.loader is not None
    fresh = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fresh)
    walks: list[str] = []

    def count(frame: types.FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_name == "_walk":
            walks.append(event)

    sys.setprofile(count)
    fresh.decode(huffman.encode(b"\xff" + b"0" * 3000 + b"1" * 8))
    first = len(walks)
    fresh.decode(huffman.encode(b"\xff" + b"0" * 3000 + b"2" * 8))
    sys.setprofile(None)
    assert first
    assert first < 100
    assert len(walks) - first < 10


MALFORMED_TEXTS = {
    "EOS in full": b"\xff\xff\xff\xff",
    "padding of eight ones": huffman.encode(b"0") + b"\xff",
    "padding of zeros": b"\x00",
    "EOS followed by text": b"\xff\xff\xff\xfc\x00",
}
MALFORMED_TEXTS |= {f"{name}, after text": huffman.encode(b"8" * 20) + text for name, text in MALFORMED_TEXTS.items()}


@pytest.mark.parametrize("text", MALFORMED_TEXTS.values(), ids=MALFORMED_TEXTS.keys())
def test_huffman_text_must_be_padded_right_and_hold_no_eos(text: bytes) -> None:
    """Wrong padding and EOS are errors, also inside a block (RFC 7541, section 5.2)."""
    with pytest.raises(huffman.HuffmanError):
        huffman.decode(text)
    with pytest.raises(HpackError):
        Decoder(ROOM).decode(b"\x40\x01a" + bytes((0x80 | len(text),)) + text)


MALFORMED_BLOCKS = {
    "index 0": b"\x80",
    "index after the static table, nothing inserted": b"\xbe",
    "long index beyond the table": b"\xff\x20",
    "literal naming an entry that is not there": b"\x7f\x10\x01a",
    "string longer than the block": b"\x40\x05ab",
    "block that ends before a value": b"\x40\x01a",
    "block that ends inside an integer": b"\xff\x80",
    "integer of six bytes": b"\xff\x80\x80\x80\x80\x80\x01",
    "table size above ours": b"\x3f\xe2\x1f",
    "table size after a field": b"\x82\x20",
}


@pytest.mark.parametrize("raw", MALFORMED_BLOCKS.values(), ids=MALFORMED_BLOCKS.keys())
def test_malformed_block_is_an_error(raw: bytes) -> None:
    """Each decoding error of RFC 7541 raises, whatever stands before it."""
    with pytest.raises(HpackError):
        Decoder(ROOM).decode(raw)
    if raw[0] & 0xE0 != 0x20:
        with pytest.raises(HpackError):
            Decoder(ROOM).decode(b"\x83" + raw)


@pytest.mark.parametrize("length", range(40))
def test_block_cut_short_is_never_accepted_whole(length: int) -> None:
    """A block that ends early either raises or has fewer fields: nothing is made up."""
    raw = oracle.Encoder().encode([(b"traceparent", b"00-4bf92f35-00f067aa-01"), (b"x-a", b"b"), (b"accept", b"*")])
    try:
        block = Decoder(ROOM).decode(raw[: min(length, len(raw) - 1)])
    except HpackError:
        return

    assert len(block.headers) < 3


def test_oldest_entries_leave_a_full_table() -> None:
    """Entries are evicted oldest first, and one larger than the table empties it (RFC 7541, section 4.4)."""
    decoder = Decoder(ROOM)
    half = b"v" * (TABLE_BYTES // 2 - 33)
    for name in (b"a", b"b", b"c"):
        decoder.decode(literal(name, half))

    assert decoder.decode(b"\xbe\xbf").headers == ((b"c", half), (b"b", half))
    with pytest.raises(HpackError):
        decoder.decode(b"\xc0")
    decoder.decode(literal(b"d", b"v" * TABLE_BYTES))
    with pytest.raises(HpackError):
        decoder.decode(b"\xbe")


def test_equal_blocks_are_one_object_until_the_table_changes() -> None:
    """A block that leaves the table alone is decoded once; an insertion, which moves indices, forgets it."""
    decoder = Decoder(ROOM)
    decoder.decode(literal(b"a", b"1"))
    first = decoder.decode(b"\xbe")

    assert decoder.decode(b"\xbe") is first
    decoder.decode(literal(b"b", b"2"))
    assert decoder.decode(b"\xbe").headers == ((b"b", b"2"),)


def test_table_size_update_forgets_decoded_blocks() -> None:
    """A block remembered before the table was emptied is an error after it."""
    decoder = Decoder(ROOM)
    decoder.decode(literal(b"a", b"1"))
    decoder.decode(b"\xbe")
    decoder.decode(b"\x20")

    with pytest.raises(HpackError):
        decoder.decode(b"\xbe")


def test_remembered_blocks_are_bounded() -> None:
    """A peer whose every block differs does not grow the memory of blocks."""
    decoder = Decoder(ROOM)
    for number in range(1000):
        decoder.decode(literal(b"a", b"%d" % number, first=0))

    assert len(decoder._blocks) <= 64


def test_header_list_above_the_limit_is_dropped_and_the_table_kept_in_step() -> None:
    """A bomb of references costs no memory, and the next block still decodes (RFC 9113, section 10.5.1)."""
    decoder = Decoder(10_000)
    bomb = literal(b"a", b"v" * 2000) + b"\xbe" * 400 + literal(b"b", b"2")

    block = decoder.decode(bomb)

    assert (block.kind, block.headers) == (TOO_LARGE, ())
    assert decoder.decode(b"\xbe").headers == ((b"b", b"2"),)


@pytest.mark.parametrize("field", [b"\x82", literal(b"a", b""), b"\0\1a\0"], ids=["known", "indexed", "literal"])
def test_a_block_of_more_fields_than_any_head_has_is_not_decoded_to_its_end(field: bytes) -> None:
    """However small they are: nobody is served while a block is decoded."""
    assert Decoder(1 << 20).decode(field * 500).kind != TOO_LARGE
    with pytest.raises(HpackError, match="more fields"):
        Decoder(1 << 20).decode(field * 2000)


M, S, P, A, X = ((b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"a"), (b"x", b"1"))
OK, CONNECT = (b":status", b"200"), (b":method", b"CONNECT")
LENGTH = (b"content-length", b"5")
KINDS = [
    ((M, S, P), REQUEST),
    ((P, A, S, M, X), REQUEST),
    ((M, S, P, (b"te", b"trailers")), REQUEST),
    ((M, S, P, LENGTH, LENGTH), REQUEST),
    ((CONNECT, A), REQUEST),
    ((OK, X), RESPONSE),
    ((X,), TRAILERS),
    ((), TRAILERS),
    ((CONNECT, A, S, P), MALFORMED),
    ((M, S), MALFORMED),
    ((M, P), MALFORMED),
    ((S, P), MALFORMED),
    ((M, M, S, P), MALFORMED),
    ((M, CONNECT, S, P), MALFORMED),
    ((M, S, P, P), MALFORMED),
    ((M, S, P, A, A), MALFORMED),
    ((M, S, X, P), MALFORMED),
    ((M, S, P, OK), MALFORMED),
    ((OK, OK), MALFORMED),
    (((b":status", b"20"),), MALFORMED),
    (((b":status", b"101"),), MALFORMED),
    ((M, S, (b":path", b"")), MALFORMED),
    ((M, S, P, (b":protocol", b"websocket")), MALFORMED),
    ((M, S, P, (b"X", b"1")), MALFORMED),
    ((M, S, P, (b"", b"1")), MALFORMED),
    ((M, S, P, (b"x y", b"1")), MALFORMED),
    ((M, S, P, (b"x", b"1\n2")), MALFORMED),
    ((M, S, P, (b"x", b"1\r")), MALFORMED),
    ((M, S, P, (b"x", b"\0")), MALFORMED),
    ((M, S, P, (b"x", b" 1")), MALFORMED),
    ((M, S, P, (b"x", b"1\t")), MALFORMED),
    ((M, S, P, (b"te", b"gzip")), MALFORMED),
    ((M, S, P, (b"connection", b"close")), MALFORMED),
    ((M, S, P, (b"keep-alive", b"1")), MALFORMED),
    ((M, S, P, (b"proxy-connection", b"1")), MALFORMED),
    ((M, S, P, (b"transfer-encoding", b"chunked")), MALFORMED),
    ((M, S, P, (b"upgrade", b"h2c")), MALFORMED),
    ((M, S, P, LENGTH, (b"content-length", b"6")), MALFORMED),
    ((M, S, P, (b"content-length", b"+5")), MALFORMED),
    ((M, S, P, (b"content-length", b"")), MALFORMED),
    (((b":method", b"G T"), S, P), MALFORMED),
]


@pytest.mark.parametrize(("headers", "kind"), KINDS)
def test_block_is_judged_by_its_fields(headers: tuple[tuple[bytes, bytes], ...], kind: int) -> None:
    """Requests, responses and trailers are told apart; what RFC 9113, section 8.2 and 8.3, forbids is malformed."""
    raw = b"".join(literal(*header) for header in headers)
    decoder = Decoder(ROOM)

    assert decoder.decode(raw).kind == kind
    assert decoder.decode(raw).headers == headers


def test_content_length_is_read() -> None:
    """A block tells the size of the body it announces, or that it announces none."""
    decoder = Decoder(ROOM)

    assert decoder.decode(encode_block((M, S, P, LENGTH))).content_length == 5
    assert decoder.decode(encode_block((M, S, P))).content_length is None
