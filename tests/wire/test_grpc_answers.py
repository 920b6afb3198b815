"""Reading what a gRPC server answered: statuses in trailers, heads and resets, and messages watched in passing."""

import pytest

from noded.wire.grpc import MessageTooLarge, frame_message
from noded.wire.grpc_answers import GrpcStatus, MessageMeter, not_grpc, own_metadata, reset_status, status_of
from tests.wire.http2_peer import deliveries

MESSAGES = (b"", b"a", bytes(300), b"bc")
STREAM = b"".join(frame_message(each) for each in MESSAGES)


@pytest.mark.parametrize(
    ("trailers", "status"),
    [
        (((b"grpc-status", b"0"),), GrpcStatus(0)),
        (((b"grpc-status", b"5"), (b"grpc-message", b"a%20%C3%A9")), GrpcStatus(5, "a é")),
        (((b"grpc-status", b"0"), (b"grpc-message", b"well")), GrpcStatus(0, "well")),
        (((b"grpc-status", b"99"),), GrpcStatus(99)),
        (((b"grpc-status", b"5"), (b"grpc-status-details-bin", b"AAE")), GrpcStatus(5, "", b"\0\1")),
        (((b"grpc-status", b"5"), (b"grpc-status-details-bin", b"!")), GrpcStatus(5)),
        ((), GrpcStatus(2, "the app ended the call without a grpc-status")),
        (((b"grpc-status", b"five"),), GrpcStatus(2, "the app ended the call without a grpc-status")),
    ],
)
def test_the_status_is_in_the_trailers(trailers: tuple[tuple[bytes, bytes], ...], status: GrpcStatus) -> None:
    """Code, text and details are read; a call that ends without a code is UNKNOWN."""
    assert status_of(trailers) == status


@pytest.mark.parametrize("content_type", [b"application/grpc", b"application/grpc+proto", b"application/grpc;v=1"])
def test_a_grpc_head_is_known_by_its_content_type(content_type: bytes) -> None:
    """Every form of gRPC's content type is gRPC."""
    assert not_grpc(((b":status", b"200"), (b"content-type", content_type))) is None


@pytest.mark.parametrize(
    ("status", "code"),
    [(400, 13), (401, 16), (403, 7), (404, 12), (429, 14), (502, 14), (503, 14), (504, 14), (500, 2), (204, 2)],
)
def test_an_http_answer_has_a_code_too(status: int, code: int) -> None:
    """What answers in plain HTTP is a failure, by the map that gRPC clients share."""
    wrong = not_grpc(((b":status", b"%d" % status),))
    assert wrong is not None
    assert wrong.code == code


def test_another_content_type_is_unknown() -> None:
    """A 200 of something else is UNKNOWN and says what it was."""
    wrong = not_grpc(((b":status", b"200"), (b"content-type", b"text/html")))
    assert wrong == GrpcStatus(2, 'unexpected content-type "text/html" received from the app')


@pytest.mark.parametrize(("reset", "code"), [(0x7, 14), (0x8, 1), (0xB, 8), (0xC, 7), (0x2, 13), (0x0, 13), (999, 13)])
def test_a_reset_has_a_code(reset: int, code: int) -> None:
    """HTTP/2 error codes stand for statuses; what is not named is INTERNAL."""
    assert reset_status(reset) == code


def test_metadata_is_what_is_not_grpcs_own() -> None:
    """Pseudo-headers, statuses and encodings are not the application's."""
    fields = (
        (b":status", b"200"),
        (b"content-type", b"application/grpc"),
        (b"grpc-encoding", b"gzip"),
        (b"grpc-accept-encoding", b"gzip"),
        (b"grpc-status", b"0"),
        (b"grpc-message", b"m"),
        (b"grpc-status-details-bin", b"AA"),
        (b"x-mine", b"1"),
        (b"x-mine-bin", b"AA"),
    )
    assert own_metadata(fields) == [(b"x-mine", b"1"), (b"x-mine-bin", b"AA")]


def test_messages_are_counted_however_they_arrive() -> None:
    """The count is the same whole, byte by byte, and cut in two anywhere."""
    for pieces in deliveries(STREAM):
        meter = MessageMeter(300)
        for piece in pieces:
            meter.feed(piece)
        assert meter.begun == len(MESSAGES)


def test_a_message_over_the_limit_is_refused_by_its_prefix() -> None:
    """One byte too many is refused before any of the message has come, however the prefix arrives."""
    for *before, last in deliveries(frame_message(b"ok") + frame_message(bytes(4))[:5]):
        meter = MessageMeter(3)
        for piece in before:
            meter.feed(piece)
        with pytest.raises(MessageTooLarge, match=r"larger than max \(4 vs\. 3\)"):
            meter.feed(last)
