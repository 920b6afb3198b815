"""Header compression against the `hpack` package: its encoder against our decoder, our encoder against its decoder."""

import hpack
from hypothesis import given, settings
from hypothesis import strategies as st

from noded.wire.hpack import Decoder, encode_block

NAMES = st.sampled_from([b":path", b"x-a", b"traceparent", b"cookie", b"content-type"]) | st.binary(
    min_size=1, max_size=9
)
VALUES = st.sampled_from([b"", b"/", b"application/grpc", b"v" * 5000]) | st.binary(max_size=60)
FIELDS = st.lists(st.tuples(NAMES, VALUES, st.booleans()), max_size=8)
BLOCKS = st.lists(st.tuples(FIELDS, st.booleans(), st.none() | st.sampled_from([0, 50, 300, 4096])), max_size=12)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(BLOCKS)
def test_our_decoder_keeps_in_step_with_its_encoder(
    blocks: list[tuple[list[tuple[bytes, bytes, bool]], bool, int | None]],
) -> None:
    """Sensitive fields, Huffman codes or none, table sizes up and down: the same headers, and the same table."""
    theirs, ours = hpack.Encoder(), Decoder(1 << 20)
    for fields, huffman, size in blocks:
        if size is not None:
            theirs.header_table_size = size
        block = theirs.encode(
            [
                hpack.HeaderTuple(*field[:2]) if not field[2] else hpack.NeverIndexedHeaderTuple(*field[:2])
                for field in fields
            ],
            huffman=huffman,
        )
        assert ours.decode(block).headers == tuple((name, value) for name, value, _ in fields)
        assert [entry[0] for entry in reversed(ours._entries)] == list(theirs.header_table.dynamic_entries)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(FIELDS, max_size=6))
def test_its_decoder_reads_our_blocks_in_any_order(blocks: list[list[tuple[bytes, bytes, bool]]]) -> None:
    """Each block stands alone: read backwards they are the same."""
    theirs = hpack.Decoder(1 << 20)
    for fields in [*blocks, *reversed(blocks)]:
        headers = [field[:2] for field in fields]
        assert [(bytes(n), bytes(v)) for n, v in theirs.decode(encode_block(headers), raw=True)] == headers
