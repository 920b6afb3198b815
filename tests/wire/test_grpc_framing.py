"""gRPC's own layer over HTTP/2: messages, timeouts, status texts, binary metadata."""

import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noded.wire import grpc
from noded.wire.hpack import Decoder
from noded.wire.http2_frames import DATA, END_HEADERS, END_STREAM, HEADERS, encode_frame
from tests.wire.http2_peer import deliveries

LIMIT = 1000


def decoded(block: bytes) -> list[tuple[bytes, bytes]]:
    return list(Decoder(1 << 20).decode(block).headers)


MESSAGES = {
    "none": ([], b""),
    "empty": ([b""], grpc.frame_message(b"")),
    "one": ([b"abc"], grpc.frame_message(b"abc")),
    "several": ([b"a", b"", b"ccc"], b"".join(map(grpc.frame_message, (b"a", b"", b"ccc")))),
    "largest": ([bytes(LIMIT)], grpc.frame_message(bytes(LIMIT))),
    "compressed between plain": (
        [b"a", b"b" * 500, b"c"],
        grpc.frame_message(b"a") + grpc.frame_gzip_message(b"b" * 500) + grpc.frame_message(b"c"),
    ),
}


@pytest.mark.parametrize(("messages", "data"), MESSAGES.values(), ids=MESSAGES.keys())
def test_messages_are_the_same_however_they_arrive(messages: list[bytes], data: bytes) -> None:
    """Whole, byte by byte or cut in two anywhere; at the end nothing is left over."""
    for pieces in deliveries(data):
        reader = grpc.MessageReader(LIMIT, b"gzip")

        assert messages == [message for piece in pieces for message in reader.feed(piece)]
        assert reader.is_empty


def test_cut_off_message_shows() -> None:
    """At the end of a stream the reader tells whether a message was cut off."""
    reader = grpc.MessageReader(LIMIT)
    reader.feed(grpc.frame_message(b"abc")[:-1])

    assert not reader.is_empty


def _feed(reader: grpc.MessageReader, pieces: list[bytes]) -> None:
    for piece in pieces:
        reader.feed(piece)


BREACHES: dict[str, tuple[bytes, bytes, type[grpc.GrpcWireError], int]] = {
    "announced too large": (b"\0\0\0\x03\xe9", b"identity", grpc.MessageTooLarge, 8),
    "too large once decompressed": (grpc.frame_gzip_message(bytes(LIMIT + 1)), b"gzip", grpc.MessageTooLarge, 8),
    "flag 2": (b"\2\0\0\0\0", b"gzip", grpc.GrpcWireError, 13),
    "compressed without an encoding": (grpc.frame_gzip_message(b"a"), b"identity", grpc.GrpcWireError, 13),
    "unknown encoding": (grpc.frame_gzip_message(b"a"), b"snappy", grpc.UnknownEncoding, 12),
    "not gzip": (b"\1\0\0\0\3abc", b"gzip", grpc.GrpcWireError, 13),
    "gzip cut off": (b"\1\0\0\0\x0a" + gzip.compress(b"abc")[:10], b"gzip", grpc.GrpcWireError, 13),
    "bytes after the gzip": (
        b"\1" + (len(gzip.compress(b"a")) + 1).to_bytes(4, "big") + gzip.compress(b"a") + b"x",
        b"gzip",
        grpc.GrpcWireError,
        13,
    ),
}


@pytest.mark.parametrize(("data", "encoding", "error", "status"), BREACHES.values(), ids=BREACHES.keys())
def test_malformed_message_is_an_error(
    data: bytes, encoding: bytes, error: type[grpc.GrpcWireError], status: int
) -> None:
    """Each names the status to answer with, however the bytes arrive."""
    for pieces in deliveries(data):
        with pytest.raises(error) as caught:
            _feed(grpc.MessageReader(LIMIT, encoding), pieces)

        assert (type(caught.value), caught.value.status) == (error, status)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(b"1H", 3600.0), (b"2M", 120.0), (b"10S", 10.0), (b"250m", 0.25), (b"99999999u", 99.999999), (b"5n", 5e-9)],
)
def test_timeout_units(value: bytes, seconds: float) -> None:
    """Hours, minutes, seconds, milli-, micro- and nanoseconds."""
    assert grpc.parse_timeout(value) == pytest.approx(seconds)


@pytest.mark.parametrize("value", [b"", b"S", b"10", b"-1S", b"1.5S", b"123456789S", b"10s", b" 1S", b"1S\n"])
def test_malformed_timeout_is_an_error(value: bytes) -> None:
    """At most eight digits and one unit."""
    with pytest.raises(grpc.GrpcWireError):
        grpc.parse_timeout(value)


@given(st.floats(1e-9, 1e11))
def test_timeout_is_written_as_it_is_read(seconds: float) -> None:
    """At least five digits of it are kept, and anything above half a nanosecond."""
    assert grpc.parse_timeout(grpc.encode_timeout(seconds)) == pytest.approx(seconds, rel=1e-5, abs=6e-10)


def test_timeout_of_the_past_is_zero() -> None:
    """A deadline already over is sent as one that is."""
    assert grpc.parse_timeout(grpc.encode_timeout(-1.0)) == 0.0


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_status_text_survives(text: str) -> None:
    """Any text goes through grpc-message as printable ASCII."""
    value = grpc.encode_message(text)

    assert all(0x20 <= byte <= 0x7E for byte in value)
    assert text == grpc.decode_message(value)


@pytest.mark.parametrize(
    ("value", "text"), [(b"100%", "100%"), (b"%zz%2", "%zz%2"), (b"%C3%28", "\ufffd("), (b"%41", "A")]
)
def test_malformed_status_text_is_still_shown(value: bytes, text: str) -> None:
    """What is no escape stays as it is; what is no UTF-8 is replaced."""
    assert text == grpc.decode_message(value)


@given(st.binary())
def test_binary_metadata_survives(value: bytes) -> None:
    """We send base64 without padding and take it with and without."""
    coded = grpc.encode_binary(value)

    assert b"=" not in coded
    assert value == grpc.decode_binary(coded)
    assert value == grpc.decode_binary(coded + b"=" * (-len(coded) % 4))


@pytest.mark.parametrize("value", [b"a", b"!!!!", b"ab=c", b"a b="])
def test_malformed_binary_metadata_is_an_error(value: bytes) -> None:
    """It is the caller's fault, and said so."""
    with pytest.raises(grpc.GrpcWireError):
        grpc.decode_binary(value)


def test_trailers_carry_status_text_details_and_metadata() -> None:
    """Text and details only when there are any; metadata behind them, binary values as base64."""
    block = grpc.encode_trailers(5, "no such key: é", b"\x08\x05", [(b"a", b"1"), (b"b-bin", b"\xff")])

    assert decoded(block) == [
        (b"grpc-status", b"5"),
        (b"grpc-message", b"no such key: %C3%A9"),
        (b"grpc-status-details-bin", b"CAU"),
        (b"a", b"1"),
        (b"b-bin", b"/w"),
    ]
    assert grpc.encode_trailers(0) is grpc.OK_TRAILERS
    assert decoded(grpc.OK_TRAILERS) == [(b"grpc-status", b"0")]


def test_response_head_takes_metadata_behind_it() -> None:
    """Blocks without indexing can be joined."""
    block = grpc.RESPONSE_HEAD + grpc.encode_metadata([(b"k-bin", b"\0")])

    assert decoded(block) == [(b":status", b"200"), (b"content-type", b"application/grpc"), (b"k-bin", b"AA")]


def test_request_head() -> None:
    """Pseudo-headers first, `te: trailers`, the deadline if there is one, then metadata."""
    block = grpc.encode_request_head(b"/p.S/M", b"localhost", 1.5, [(b"dapr-app-id", b"a")])

    assert decoded(block) == [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", b"/p.S/M"),
        (b":authority", b"localhost"),
        (b"te", b"trailers"),
        (b"grpc-timeout", b"1500000u"),
        (b"content-type", b"application/grpc"),
        (b"dapr-app-id", b"a"),
    ]


@pytest.mark.parametrize("size", [0, 1, 255, 256, 16_379])
def test_a_whole_answer_is_head_message_and_trailers(size: int) -> None:
    """One piece of bytes, of three frames, whatever the message's size."""
    payload = b"x" * size
    head = encode_frame(HEADERS, END_HEADERS, 7, grpc.RESPONSE_HEAD)
    message = encode_frame(DATA, 0, 7, grpc.frame_message(payload))
    trailers = encode_frame(HEADERS, END_HEADERS | END_STREAM, 7, grpc.OK_TRAILERS)
    assert grpc.frame_answer(7, payload) == head + message + trailers
