"""Blocks known by what they begin with: whatever the table does meanwhile, each says what it says field by field."""

import hpack as oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from noded.wire.fields import REQUEST
from noded.wire.hpack import Decoder, HpackError, encode_block

ROOM = 1 << 20
Fields = list[tuple[bytes, bytes]]


def call(path: bytes = b"/a.B/C", *tail: tuple[bytes, bytes]) -> Fields:
    """A call's head as grpc-go orders it."""
    return [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", path),
        (b":authority", b"localhost"),
        (b"content-type", b"application/grpc"),
        (b"user-agent", b"grpc-go/1.80.0"),
        (b"te", b"trailers"),
        *tail,
    ]


PATHS = st.sampled_from([b"/a.B/C", b"/a.B/D"])
TAILS = st.lists(
    st.one_of(
        st.tuples(st.just(b"grpc-timeout"), st.sampled_from([b"1S", b"20000000u", b"x", b" bad"])),
        st.tuples(st.just(b"traceparent"), st.text("0123456789abcdef-", min_size=1, max_size=55).map(str.encode)),
        st.sampled_from([(b"x-a", b"1"), (b"content-length", b"3"), (b"content-length", b"4"), (b"TE", b"x")]),
    ),
    max_size=4,
)
CALLS = st.lists(
    st.tuples(PATHS, TAILS, st.sampled_from([None] * 30 + [0, 300, 4096]), st.booleans()), min_size=40, max_size=120
)


@settings(max_examples=60, deadline=None)
@given(CALLS)
def test_a_known_beginning_changes_nothing_of_what_a_block_says(
    calls: list[tuple[bytes, list[tuple[bytes, bytes]], int | None, bool]],
) -> None:
    """Fields, kind and length are those of a decoder that sees the block first; entries come, go and are resized."""
    encoder, decoder = oracle.Encoder(), Decoder(ROOM)
    for path, tail, size, huffman in calls:
        if size is not None:
            encoder.header_table_size = size
        fields = call(path, *tail)
        block = decoder.decode(encoder.encode(fields, huffman=huffman))
        alone = Decoder(ROOM).decode(encode_block(fields))
        assert (block.headers, block.kind, block.content_length) == (tuple(fields), alone.kind, alone.content_length)
        assert (block.kinship is None) == (alone.kinship is None)


def test_calls_with_new_values_are_known_by_their_beginning() -> None:
    """Of a hundred traces, each an entry of its own, all have one kinship: also as entries are evicted."""
    encoder, decoder = oracle.Encoder(), Decoder(ROOM)
    traced = [call(b"/a.B/C", (b"traceparent", b"%055d" % number)) for number in range(100)]
    blocks = [decoder.decode(encoder.encode(fields)) for fields in traced]
    assert [block.headers for block in blocks] == [tuple(fields) for fields in traced]
    assert {block.kind for block in blocks} == {REQUEST}
    assert len({id(block.kinship) for block in blocks}) == 1
    assert decoder._stems.length == 7


def test_entries_a_turn_apart_are_not_taken_for_each_other() -> None:
    """The same bytes mean the same fields only while few enough entries were added since."""
    for added in range(1, 140):
        encoder, decoder = oracle.Encoder(), Decoder(ROOM)
        for tail in ((b"traceparent", b"1"), (b"traceparent", b"2")):
            decoder.decode(encoder.encode(call(b"/a.B/C", tail)))
        for number in range(added):
            decoder.decode(encoder.encode([(b"a", b"%d" % number)]))
        for path in (b"/a.B/D", b"/a.B/C", b"/a.B/D"):
            fields = call(path, (b"traceparent", b"1"))
            assert decoder.decode(encoder.encode(fields)).headers == tuple(fields)


def test_entries_that_are_gone_are_not_remembered() -> None:
    """A block that is known by its indices is an error once the table was emptied."""
    encoder, decoder = oracle.Encoder(), Decoder(ROOM)
    raw = [encoder.encode(call()) for _ in range(2)][-1] + encode_block([(b"traceparent", b"1")])
    for block in (oracle.Encoder().encode(call()), raw, raw):
        assert decoder.decode(block).headers[:7] == tuple(call())
    assert decoder._stems.length == 7
    decoder.decode(b"\x20\x3f\xe1\x1f")
    with pytest.raises(HpackError):
        decoder.decode(raw)


def test_a_list_over_the_limit_is_refused_behind_a_known_beginning_too() -> None:
    """Fields that together are too large are given as none."""
    encoder, decoder = oracle.Encoder(), Decoder(500)
    for value in (b"1", b"2", b"3"):
        assert decoder.decode(encoder.encode(call(b"/a.B/C", (b"traceparent", value)))).headers
    large = decoder.decode(encoder.encode(call(b"/a.B/C", (b"traceparent", b"0" * 150))))
    assert large.headers == ()
    again = call(b"/a.B/C", (b"traceparent", b"4"))
    assert decoder.decode(encoder.encode(again)).headers == tuple(again)


def test_stems_are_forgotten_beyond_a_bound() -> None:
    """A peer whose heads go on ever differently costs a bounded memory."""
    encoder, decoder = oracle.Encoder(), Decoder(ROOM)
    for number in range(500):
        fields = call(b"/a.B/C", (b"traceparent", b"1"), (b"x-n", b"%d" % number))
        assert decoder.decode(encoder.encode(fields)).headers == tuple(fields)
        assert decoder._stems._nodes <= 64 + len(fields)
        assert len(decoder._kinships) <= 64
