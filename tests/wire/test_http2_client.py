"""The client side of HTTP/2: streams opened within the peer's limit, responses in, and what a bad server may do."""

import pytest

from noded.wire.http2 import PREFACE, ErrorCode, Http2Connection, Http2Limits, StreamLimitError, encode_block
from noded.wire.http2_frames import (
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    encode_frame,
    encode_goaway,
    encode_reset,
    encode_settings,
)
from tests.wire.http2_peer import (
    REQUEST_BLOCK,
    RESPONSE,
    RESPONSE_BLOCK,
    TRAILERS,
    TRAILERS_BLOCK,
    Frame,
    Recorder,
    deliveries,
    frames,
    open_client,
)

HEAD = END_HEADERS
INTERIM = encode_frame(HEADERS, HEAD, 1, encode_block(((b":status", b"103"), (b"link", b"x"))))


def with_request() -> tuple[Http2Connection, Recorder]:
    """Give a client that sent one complete request on stream 1."""
    connection, recorder = open_client()
    stream_id = connection.open_stream()
    connection.send_headers(stream_id, REQUEST_BLOCK, end_stream=True)
    connection.take_output()
    return connection, recorder


def length(value: bytes) -> bytes:
    return encode_block((*RESPONSE, (b"content-length", value)))


RESPONSES = {
    "head and trailers": (
        encode_frame(HEADERS, HEAD, 1, RESPONSE_BLOCK)
        + encode_frame(DATA, 0, 1, b"abc")
        + encode_frame(HEADERS, HEAD | END_STREAM, 1, TRAILERS_BLOCK),
        [("headers", 1, RESPONSE, False), ("data", 1, b"abc", False), ("trailers", 1, TRAILERS)],
    ),
    "head alone": (
        encode_frame(HEADERS, HEAD | END_STREAM, 1, RESPONSE_BLOCK),
        [("headers", 1, RESPONSE, True)],
    ),
    "interim responses are skipped": (
        INTERIM + INTERIM + encode_frame(HEADERS, HEAD | END_STREAM, 1, RESPONSE_BLOCK),
        [("headers", 1, RESPONSE, True)],
    ),
    "answer to HEAD announces a length and has no body": (
        encode_frame(HEADERS, HEAD | END_STREAM, 1, length(b"100")),
        [("headers", 1, (*RESPONSE, (b"content-length", b"100")), True)],
    ),
    "reset": (encode_reset(1, 7), [("reset", 1, 7)]),
    "GOAWAY that leaves the stream": (
        encode_goaway(1, 0) + encode_frame(HEADERS, HEAD | END_STREAM, 1, RESPONSE_BLOCK),
        [("goaway", 1, 0), ("headers", 1, RESPONSE, True)],
    ),
    "GOAWAY that cuts the stream": (encode_goaway(0, 2), [("goaway", 0, 2), ("reset", 1, ErrorCode.REFUSED_STREAM)]),
}


@pytest.mark.parametrize(("data", "expected"), RESPONSES.values(), ids=RESPONSES.keys())
def test_responses_become_the_same_events_however_they_arrive(data: bytes, expected: list[tuple[object, ...]]) -> None:
    """Whole, byte by byte or cut in two anywhere."""
    for pieces in deliveries(data):
        connection, recorder = with_request()
        for piece in pieces:
            connection.feed(piece)

        assert expected == recorder.events
        assert (connection.open_streams, connection.closed) == (0, False)


STREAM_FAULTS = {
    "DATA before the head": encode_frame(DATA, 0, 1, b"x"),
    "request as a response": encode_frame(HEADERS, HEAD, 1, REQUEST_BLOCK),
    "no status": encode_frame(HEADERS, HEAD, 1, TRAILERS_BLOCK),
    "interim response that ends the stream": (
        encode_frame(HEADERS, HEAD | END_STREAM, 1, encode_block(((b":status", b"100"),)))
    ),
    "101": encode_frame(HEADERS, HEAD, 1, encode_block(((b":status", b"101"),))),
    "body longer than announced": encode_frame(HEADERS, HEAD, 1, length(b"2")) + encode_frame(DATA, 0, 1, b"abc"),
    "body shorter than announced": (
        encode_frame(HEADERS, HEAD, 1, length(b"2")) + encode_frame(DATA, END_STREAM, 1, b"a")
    ),
    "second head": encode_frame(HEADERS, HEAD, 1, RESPONSE_BLOCK) * 2,
}  # fmt: skip


@pytest.mark.parametrize("data", STREAM_FAULTS.values(), ids=STREAM_FAULTS.keys())
def test_malformed_response_resets_its_stream(data: bytes) -> None:
    """PROTOCOL_ERROR on the stream; the connection can still be used."""
    connection, recorder = with_request()
    connection.feed(data)

    assert frames(connection.take_output()) == [Frame(RST_STREAM, 0, 1, b"\0\0\0\1")]
    assert recorder.events[-1] == ("reset", 1, ErrorCode.PROTOCOL_ERROR)
    assert connection.can_open


CONNECTION_FAULTS = {
    "PUSH_PROMISE": encode_frame(PUSH_PROMISE, HEAD, 1, b"\0\0\0\2" + REQUEST_BLOCK),
    "ENABLE_PUSH by a server": encode_settings({2: 1}),
    "HEADERS on a stream not opened": encode_frame(HEADERS, HEAD, 3, RESPONSE_BLOCK),
    "HEADERS on an even stream": encode_frame(HEADERS, HEAD, 2, RESPONSE_BLOCK),
    "DATA on a stream not opened": encode_frame(DATA, 0, 3, b"x"),
    "response after its end": encode_frame(HEADERS, HEAD | END_STREAM, 1, RESPONSE_BLOCK) * 2,
}


@pytest.mark.parametrize("data", CONNECTION_FAULTS.values(), ids=CONNECTION_FAULTS.keys())
def test_breach_by_a_server_ends_the_connection(data: bytes) -> None:
    """The last frame is GOAWAY, and no stream can be opened any more."""
    connection, _ = with_request()
    connection.feed(data)

    assert connection.closed
    assert frames(connection.take_output())[-1].kind == GOAWAY
    assert not connection.can_open


def test_opening_is_preface_settings_and_window() -> None:
    """A client forbids pushes and names its windows."""
    connection = Http2Connection(Recorder(), client=True)
    connection.start()
    output = connection.take_output()

    assert output.startswith(PREFACE)
    settings, window = frames(output[len(PREFACE) :])
    assert (settings.kind, window.kind) == (SETTINGS, WINDOW_UPDATE)
    assert b"\0\2\0\0\0\0" in settings.payload


def test_streams_are_opened_within_the_peers_limit() -> None:
    """`open_stream` gives odd ids in order and raises when the peer's limit is reached; an end makes room."""
    connection, _ = open_client(settings={3: 2})

    assert [connection.open_stream(), connection.open_stream()] == [1, 3]
    assert not connection.can_open
    with pytest.raises(StreamLimitError):
        connection.open_stream()
    connection.feed(encode_reset(1, 7))
    assert connection.open_stream() == 5


def test_streams_are_bounded_by_us_when_the_peer_is_not() -> None:
    """A server that names no limit gets no more streams at a time than ours."""
    connection, _ = open_client(Http2Limits(max_concurrent_streams=1), {3: 100})
    connection.open_stream()

    assert not connection.can_open


def test_ids_are_not_used_twice() -> None:
    """After the last id a new connection is needed (RFC 9113, section 5.1.1)."""
    connection, _ = open_client()
    connection._next_id = 2**31 - 1

    assert connection.open_stream() == 2**31 - 1
    assert not connection.can_open


@pytest.mark.parametrize("side", ["peer", "us"])
def test_no_stream_is_opened_after_goaway(side: str) -> None:
    """Whoever said GOAWAY, new calls go to another connection."""
    connection, _ = open_client()
    if side == "peer":
        connection.feed(encode_goaway(0, 0))
    else:
        connection.goaway(ErrorCode.NO_ERROR)

    assert not connection.can_open


def test_response_before_the_request_ended_leaves_it_open() -> None:
    """A streaming call may be answered while it still sends; it ends when both sides did."""
    connection, recorder = open_client()
    stream_id = connection.open_stream()
    connection.send_headers(stream_id, REQUEST_BLOCK, end_stream=False)
    connection.feed(encode_frame(HEADERS, HEAD | END_STREAM, 1, RESPONSE_BLOCK))

    assert recorder.events == [("headers", 1, RESPONSE, True)]
    assert connection.open_streams == 1
    assert connection.send_data(stream_id, b"x", end_stream=True)
    assert connection.open_streams == 0
