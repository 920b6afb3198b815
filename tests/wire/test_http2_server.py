"""The server side of HTTP/2: requests in, answers out, and every rule whose breach ends a stream or a connection."""

from collections.abc import Callable

import pytest

from noded.wire.http2 import DEFAULT_LIMITS, PREFACE, ErrorCode, Http2Connection, Http2Limits, encode_block
from noded.wire.http2_frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HAS_PRIORITY,
    HEADERS,
    PADDED,
    PING,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    encode_frame,
    encode_goaway,
    encode_reset,
    encode_settings,
    encode_window_update,
)
from tests.wire.http2_peer import (
    OPENING,
    REQUEST,
    REQUEST_BLOCK,
    RESPONSE_BLOCK,
    TRAILERS,
    TRAILERS_BLOCK,
    Frame,
    Recorder,
    deliveries,
    frames,
    open_server,
    request,
)

HEAD = END_HEADERS
WORD = b"\0\0\0\1"


def padded(payload: bytes, padding: int) -> bytes:
    return bytes((padding,)) + payload + b"\0" * padding


def length(value: bytes) -> bytes:
    return encode_block((*REQUEST, (b"content-length", value)))


EXCHANGES = {
    "request without a body": (request(1), [("headers", 1, REQUEST, True)]),
    "request with a body": (request(1, b"abc"), [("headers", 1, REQUEST, False), ("data", 1, b"abc", True)]),
    "request with an empty end": (request(1, b""), [("headers", 1, REQUEST, False), ("data", 1, b"", True)]),
    "two streams interleaved": (
        encode_frame(HEADERS, HEAD, 1, REQUEST_BLOCK) + request(3) + encode_frame(DATA, END_STREAM, 1, b"x"),
        [("headers", 1, REQUEST, False), ("headers", 3, REQUEST, True), ("data", 1, b"x", True)],
    ),
    "padding is not part of the body": (
        encode_frame(HEADERS, HEAD | PADDED, 1, padded(REQUEST_BLOCK, 7))
        + encode_frame(DATA, PADDED | END_STREAM, 1, padded(b"abc", 200)),
        [("headers", 1, REQUEST, False), ("data", 1, b"abc", True)],
    ),
    "priority is skipped": (
        encode_frame(PRIORITY, 0, 1, b"\0\0\0\3\x10")
        + encode_frame(HEADERS, HEAD | HAS_PRIORITY | END_STREAM, 1, b"\x80\0\0\0\xff" + REQUEST_BLOCK),
        [("headers", 1, REQUEST, True)],
    ),
    "block over CONTINUATION frames": (
        encode_frame(HEADERS, END_STREAM, 1, REQUEST_BLOCK[:3])
        + encode_frame(CONTINUATION, 0, 1, REQUEST_BLOCK[3:9])
        + encode_frame(CONTINUATION, END_HEADERS, 1, REQUEST_BLOCK[9:]),
        [("headers", 1, REQUEST, True)],
    ),
    "trailers": (
        encode_frame(HEADERS, HEAD, 1, REQUEST_BLOCK)
        + encode_frame(DATA, 0, 1, b"x")
        + encode_frame(HEADERS, HEAD | END_STREAM, 1, TRAILERS_BLOCK),
        [("headers", 1, REQUEST, False), ("data", 1, b"x", False), ("trailers", 1, TRAILERS)],
    ),
    "body of the announced length": (
        request(1, b"12345", length(b"5")),
        [("headers", 1, (*REQUEST, (b"content-length", b"5")), False), ("data", 1, b"12345", True)],
    ),
    "unknown frames are ignored": (
        encode_frame(0x77, 0xFF, 0, b"?") + request(1) + encode_frame(0x10, 0, 1, b"u=1"),
        [("headers", 1, REQUEST, True)],
    ),
    "reserved bit is ignored": (
        encode_frame(HEADERS, HEAD | END_STREAM, 0x8000_0001, REQUEST_BLOCK),
        [("headers", 1, REQUEST, True)],
    ),
    "reset of an open stream": (
        encode_frame(HEADERS, HEAD, 1, REQUEST_BLOCK) + encode_reset(1, 8) + encode_reset(1, 8),
        [("headers", 1, REQUEST, False), ("reset", 1, 8)],
    ),
    "GOAWAY of the client": (encode_goaway(0, 0) + request(1), [("goaway", 0, 0), ("headers", 1, REQUEST, True)]),
}


@pytest.mark.parametrize(("data", "expected"), EXCHANGES.values(), ids=EXCHANGES.keys())
def test_frames_become_the_same_events_however_they_arrive(data: bytes, expected: list[tuple[object, ...]]) -> None:
    """Whole, byte by byte or cut in two anywhere, preface included: the events are the same."""
    for pieces in deliveries(OPENING + data):
        recorder = Recorder()
        connection = Http2Connection(recorder, client=False)
        for piece in pieces:
            connection.feed(piece)

        assert not connection.closed
        assert expected == recorder.events


CONNECTION_FAULTS: dict[str, tuple[bytes, ErrorCode]] = {
    "DATA on stream 0": (encode_frame(DATA, 0, 0, b"x"), ErrorCode.PROTOCOL_ERROR),
    "DATA on an idle stream": (encode_frame(DATA, 0, 1, b"x"), ErrorCode.PROTOCOL_ERROR),
    "DATA on an even stream": (encode_frame(DATA, 0, 2, b"x"), ErrorCode.PROTOCOL_ERROR),
    "DATA after the client's own reset": (
        encode_frame(HEADERS, HEAD, 1, REQUEST_BLOCK) + encode_reset(1, 8) + encode_frame(DATA, 0, 1, b"x"),
        ErrorCode.STREAM_CLOSED,
    ),
    "padding as long as DATA": (
        encode_frame(HEADERS, HEAD, 1, REQUEST_BLOCK) + encode_frame(DATA, PADDED, 1, b"\4abc"),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "padded DATA without a length": (
        encode_frame(HEADERS, HEAD, 1, REQUEST_BLOCK) + encode_frame(DATA, PADDED, 1),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "HEADERS on stream 0": (encode_frame(HEADERS, HEAD, 0, REQUEST_BLOCK), ErrorCode.PROTOCOL_ERROR),
    "HEADERS on an even stream": (encode_frame(HEADERS, HEAD, 2, REQUEST_BLOCK), ErrorCode.PROTOCOL_ERROR),
    "HEADERS on a skipped id": (request(5) + request(3), ErrorCode.PROTOCOL_ERROR),
    "HEADERS after the client's own reset": (
        encode_frame(HEADERS, HEAD, 1, REQUEST_BLOCK) + encode_reset(1, 8) + request(1),
        ErrorCode.STREAM_CLOSED,
    ),
    "HEADERS that depend on themselves": (
        encode_frame(HEADERS, HEAD | HAS_PRIORITY, 1, WORD + b"\0" + REQUEST_BLOCK),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "HEADERS too short for a priority": (
        encode_frame(HEADERS, HEAD | HAS_PRIORITY, 1, b"\0\0"),
        ErrorCode.FRAME_SIZE_ERROR,
    ),
    "block that does not decode": (encode_frame(HEADERS, HEAD, 1, b"\x80"), ErrorCode.COMPRESSION_ERROR),
    "DATA inside a header block": (
        encode_frame(HEADERS, 0, 1, REQUEST_BLOCK) + encode_frame(DATA, 0, 1, b"x"),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "PING inside a header block": (
        encode_frame(HEADERS, 0, 1, REQUEST_BLOCK) + encode_frame(PING, 0, 0, bytes(8)),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "CONTINUATION of another stream": (
        encode_frame(HEADERS, 0, 1, REQUEST_BLOCK) + encode_frame(CONTINUATION, END_HEADERS, 3),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "CONTINUATION after the block": (
        request(1) + encode_frame(CONTINUATION, END_HEADERS, 1),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "PRIORITY on stream 0": (encode_frame(PRIORITY, 0, 0, WORD + b"\0"), ErrorCode.PROTOCOL_ERROR),
    "RST_STREAM on stream 0": (encode_reset(0, 8), ErrorCode.PROTOCOL_ERROR),
    "RST_STREAM on an idle stream": (encode_reset(1, 8), ErrorCode.PROTOCOL_ERROR),
    "RST_STREAM of three bytes": (request(1) + encode_frame(RST_STREAM, 0, 1, b"abc"), ErrorCode.FRAME_SIZE_ERROR),
    "SETTINGS on a stream": (encode_frame(SETTINGS, 0, 1), ErrorCode.PROTOCOL_ERROR),
    "SETTINGS of five bytes": (encode_frame(SETTINGS, 0, 0, b"abcde"), ErrorCode.FRAME_SIZE_ERROR),
    "SETTINGS acknowledgement with a payload": (
        encode_frame(SETTINGS, ACK, 0, bytes(6)),
        ErrorCode.FRAME_SIZE_ERROR,
    ),
    "ENABLE_PUSH 2": (encode_settings({2: 2}), ErrorCode.PROTOCOL_ERROR),
    "INITIAL_WINDOW_SIZE 2^31": (encode_settings({4: 2**31}), ErrorCode.FLOW_CONTROL_ERROR),
    "MAX_FRAME_SIZE 16383": (encode_settings({5: 16383}), ErrorCode.PROTOCOL_ERROR),
    "MAX_FRAME_SIZE 2^24": (encode_settings({5: 2**24}), ErrorCode.PROTOCOL_ERROR),
    "PUSH_PROMISE": (request(1) + encode_frame(PUSH_PROMISE, HEAD, 1, b"\0\0\0\2"), ErrorCode.PROTOCOL_ERROR),
    "PING on a stream": (encode_frame(PING, 0, 1, bytes(8)), ErrorCode.PROTOCOL_ERROR),
    "PING of seven bytes": (encode_frame(PING, 0, 0, bytes(7)), ErrorCode.FRAME_SIZE_ERROR),
    "GOAWAY on a stream": (encode_frame(GOAWAY, 0, 1, bytes(8)), ErrorCode.PROTOCOL_ERROR),
    "GOAWAY of seven bytes": (encode_frame(GOAWAY, 0, 0, bytes(7)), ErrorCode.FRAME_SIZE_ERROR),
    "WINDOW_UPDATE by 0": (encode_window_update(0, 0), ErrorCode.PROTOCOL_ERROR),
    "WINDOW_UPDATE of three bytes": (encode_frame(WINDOW_UPDATE, 0, 0, b"abc"), ErrorCode.FRAME_SIZE_ERROR),
    "WINDOW_UPDATE on an idle stream": (encode_window_update(1, 1), ErrorCode.PROTOCOL_ERROR),
    "connection window above 2^31-1": (encode_window_update(0, 2**31 - 1), ErrorCode.FLOW_CONTROL_ERROR),
    "frame above MAX_FRAME_SIZE": (encode_frame(DATA, 0, 1, bytes(16385)), ErrorCode.FRAME_SIZE_ERROR),
}


@pytest.mark.parametrize(("data", "code"), CONNECTION_FAULTS.values(), ids=CONNECTION_FAULTS.keys())
def test_breach_that_ends_the_connection(data: bytes, code: ErrorCode) -> None:
    """The peer is told the code in a GOAWAY that is the last frame; `feed` raises nothing, then or later."""
    connection, recorder = open_server()

    connection.feed(data)

    assert connection.closed
    last = frames(connection.take_output())[-1]
    assert (GOAWAY, code) == (last.kind, int.from_bytes(last.payload[4:8], "big"))
    seen = len(recorder.events)
    connection.feed(request(7))
    assert seen == len(recorder.events)
    assert connection.take_output() == b""


def _opened(data: bytes) -> bytes:
    return encode_frame(HEADERS, HEAD, 1, REQUEST_BLOCK) + data


STREAM_FAULTS: dict[str, tuple[bytes, ErrorCode]] = {
    "DATA after the end": (request(1) + encode_frame(DATA, 0, 1, b"x"), ErrorCode.STREAM_CLOSED),
    "HEADERS after the end": (request(1) + request(1), ErrorCode.STREAM_CLOSED),
    "body longer than announced": (request(1, b"123456", length(b"5")), ErrorCode.PROTOCOL_ERROR),
    "body shorter than announced": (request(1, b"1234", length(b"5")), ErrorCode.PROTOCOL_ERROR),
    "body announced and none sent": (request(1, None, length(b"5")), ErrorCode.PROTOCOL_ERROR),
    "trailers before the announced length": (
        encode_frame(HEADERS, HEAD, 1, length(b"5")) + encode_frame(HEADERS, HEAD | END_STREAM, 1, TRAILERS_BLOCK),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "trailers that do not end the stream": (_opened(encode_frame(HEADERS, HEAD, 1, TRAILERS_BLOCK)), ErrorCode(1)),
    "pseudo-header in trailers": (_opened(request(1)), ErrorCode.PROTOCOL_ERROR),
    "response sent as a request": (request(1, None, RESPONSE_BLOCK), ErrorCode.PROTOCOL_ERROR),
    "trailers sent as a request": (request(1, None, TRAILERS_BLOCK), ErrorCode.PROTOCOL_ERROR),
    "WINDOW_UPDATE by 0": (_opened(encode_window_update(1, 0)), ErrorCode.PROTOCOL_ERROR),
    "stream window above 2^31-1": (_opened(encode_window_update(1, 2**31 - 1)), ErrorCode.FLOW_CONTROL_ERROR),
    "PRIORITY of four bytes": (_opened(encode_frame(PRIORITY, 0, 1, bytes(4))), ErrorCode.FRAME_SIZE_ERROR),
    "PRIORITY on itself": (_opened(encode_frame(PRIORITY, 0, 1, WORD + b"\0")), ErrorCode.PROTOCOL_ERROR),
}


@pytest.mark.parametrize(("data", "code"), STREAM_FAULTS.values(), ids=STREAM_FAULTS.keys())
def test_breach_that_ends_its_stream(data: bytes, code: ErrorCode) -> None:
    """The stream is reset with the code, the owner told if it knew the stream, and the next request is served."""
    connection, recorder = open_server()

    connection.feed(data)

    assert not connection.closed
    assert [Frame(RST_STREAM, 0, 1, int(code).to_bytes(4, "big"))] == frames(connection.take_output())
    known = any(event[0] == "headers" for event in recorder.events)
    assert known == (("reset", 1, code) in recorder.events)
    connection.feed(request(3))
    assert recorder.events[-1] == ("headers", 3, REQUEST, True)


@pytest.mark.parametrize(
    "late", [encode_frame(DATA, 0, 1, b"x"), encode_window_update(1, 9), encode_reset(1, 8), request(1)]
)
def test_frames_under_way_when_we_reset_are_forgiven(late: bytes) -> None:
    """What the peer sent before it saw our RST_STREAM is ignored (RFC 9113, section 5.1, closed)."""
    connection, recorder = open_server()
    connection.feed(encode_frame(HEADERS, HEAD, 1, REQUEST_BLOCK))
    connection.reset(1, ErrorCode.CANCEL)
    connection.feed(late)

    assert not connection.closed
    assert [event[0] for event in recorder.events] == ["headers"]


@pytest.mark.parametrize("opening", [b"GET / HTTP/1.1\r\n", b"PRI * HTTP/2.0\r\n\r\nXX", PREFACE + request(1)])
def test_connection_must_open_with_preface_and_settings(opening: bytes) -> None:
    """Anything else ends it with PROTOCOL_ERROR, as soon as it can be told."""
    for pieces in deliveries(opening):
        connection = Http2Connection(Recorder(), client=False)
        for piece in pieces:
            connection.feed(piece)

        assert connection.closed
        assert frames(connection.take_output())[-1].kind == GOAWAY


def test_opening_names_our_limits() -> None:
    """The first frames are SETTINGS with the limits and the connection's window."""
    connection = Http2Connection(Recorder(), client=False, limits=Http2Limits(max_concurrent_streams=7))
    connection.start()
    settings, window = frames(connection.take_output())

    assert (settings.kind, settings.flags, settings.stream_id) == (SETTINGS, 0, 0)
    assert b"\0\3\0\0\0\7" in settings.payload
    assert window == Frame(WINDOW_UPDATE, 0, 0, (DEFAULT_LIMITS.connection_window_bytes - 65_535).to_bytes(4, "big"))


def test_settings_and_ping_are_answered_in_order() -> None:
    """Each SETTINGS is acknowledged, each PING returned with its bytes; their acknowledgements are not."""
    connection, _ = open_server()
    connection.feed(encode_frame(PING, 0, 0, b"12345678") + encode_settings({4: 1}) + encode_frame(SETTINGS, ACK, 0))

    assert frames(connection.take_output()) == [Frame(PING, ACK, 0, b"12345678"), Frame(SETTINGS, ACK, 0, b"")]


def test_our_ping_is_unanswered_until_the_peer_answers() -> None:
    """An owner can tell a dead peer by pings left unanswered."""
    connection, _ = open_server()
    connection.ping()
    (ping,) = frames(connection.take_output())

    assert (ping.kind, ping.flags, connection.statistics().unanswered_pings) == (PING, 0, 1)
    connection.feed(encode_frame(PING, ACK, 0, ping.payload))
    assert connection.statistics().unanswered_pings == 0


def test_stream_above_the_limit_is_refused_and_the_rest_served() -> None:
    """One stream more than MAX_CONCURRENT_STREAMS is answered REFUSED_STREAM; an answer makes room."""
    connection, recorder = open_server(Http2Limits(max_concurrent_streams=2))
    connection.feed(request(1) + request(3) + request(5))

    assert frames(connection.take_output()) == [Frame(RST_STREAM, 0, 5, b"\0\0\0\7")]
    connection.send_response(1, RESPONSE_BLOCK, b"", None)
    connection.feed(request(7))
    assert [event[1] for event in recorder.events] == [1, 3, 7]


def test_unary_answer_is_head_data_and_trailers() -> None:
    """`send_response` ends the stream and frees its place."""
    connection, _ = open_server()
    connection.feed(request(1, b"x"))
    connection.send_response(1, RESPONSE_BLOCK, b"body", TRAILERS_BLOCK)

    assert connection.output_pending > 0
    assert frames(connection.take_output()) == [
        Frame(HEADERS, END_HEADERS, 1, RESPONSE_BLOCK),
        Frame(DATA, 0, 1, b"body"),
        Frame(HEADERS, END_HEADERS | END_STREAM, 1, TRAILERS_BLOCK),
    ]
    assert (connection.open_streams, connection.output_pending) == (0, 0)


def _send_empty_end(connection: Http2Connection) -> None:
    connection.send_headers(1, RESPONSE_BLOCK, end_stream=False)
    connection.send_data(1, b"", end_stream=True)


ANSWERS: dict[str, tuple[Callable[[Http2Connection], None], list[Frame]]] = {
    "body without trailers": (
        lambda c: c.send_response(1, RESPONSE_BLOCK, b"x", None),
        [Frame(HEADERS, END_HEADERS, 1, RESPONSE_BLOCK), Frame(DATA, END_STREAM, 1, b"x")],
    ),
    "head alone": (
        lambda c: c.send_response(1, RESPONSE_BLOCK, b"", None),
        [Frame(HEADERS, END_HEADERS | END_STREAM, 1, RESPONSE_BLOCK)],
    ),
    "head and trailers": (
        lambda c: c.send_response(1, RESPONSE_BLOCK, b"", TRAILERS_BLOCK),
        [Frame(HEADERS, END_HEADERS, 1, RESPONSE_BLOCK), Frame(HEADERS, END_HEADERS | END_STREAM, 1, TRAILERS_BLOCK)],
    ),
    "head that ends": (
        lambda c: c.send_headers(1, RESPONSE_BLOCK, end_stream=True),
        [Frame(HEADERS, END_HEADERS | END_STREAM, 1, RESPONSE_BLOCK)],
    ),
    "empty end": (
        _send_empty_end,
        [Frame(HEADERS, END_HEADERS, 1, RESPONSE_BLOCK), Frame(DATA, END_STREAM, 1, b"")],
    ),
}


@pytest.mark.parametrize(("answer", "expected"), ANSWERS.values(), ids=ANSWERS.keys())
def test_answers_end_their_stream(answer: Callable[[Http2Connection], None], expected: list[Frame]) -> None:
    """Whatever an answer is made of, its last frame carries END_STREAM and later calls do nothing."""
    connection, _ = open_server()
    connection.feed(request(1))
    answer(connection)

    assert expected == frames(connection.take_output())
    assert connection.send_data(1, b"more", end_stream=False)
    connection.send_trailers(1, TRAILERS_BLOCK)
    connection.send_response(1, RESPONSE_BLOCK, b"x", None)
    connection.reset(1, ErrorCode.CANCEL)
    connection.consumed(1, 5)
    assert connection.take_output() == b""


def test_answer_before_the_request_ended_asks_for_no_more() -> None:
    """After an early answer comes RST_STREAM with NO_ERROR, and what the peer still sends is dropped (section 8.1)."""
    connection, recorder = open_server()
    connection.feed(encode_frame(HEADERS, HEAD, 1, REQUEST_BLOCK))
    connection.send_response(1, RESPONSE_BLOCK, b"", None)

    assert frames(connection.take_output())[-1] == Frame(RST_STREAM, 0, 1, bytes(4))
    connection.feed(encode_frame(DATA, END_STREAM, 1, b"late"))
    assert not connection.closed
    assert [event[0] for event in recorder.events] == ["headers"]


def test_long_blocks_are_sent_over_continuation_frames() -> None:
    """No frame is larger than the peer's MAX_FRAME_SIZE, and only the last has END_HEADERS."""
    block = encode_block(((b":status", b"200"), (b"x", b"v" * 40_000)))
    connection, _ = open_server()
    connection.feed(request(1))
    connection.send_response(1, block, b"", None)
    sent = frames(connection.take_output())

    assert [(frame.kind, frame.flags) for frame in sent] == [
        (HEADERS, END_STREAM),
        (CONTINUATION, 0),
        (CONTINUATION, END_HEADERS),
    ]
    assert max(len(frame.payload) for frame in sent) == 16_384
    assert b"".join(frame.payload for frame in sent) == block


def test_table_size_shrunk_by_the_peer_is_confirmed_once() -> None:
    """The first block after a smaller HEADER_TABLE_SIZE begins with a size update (RFC 7541, section 4.2)."""
    connection, _ = open_server(opening=PREFACE + encode_settings({1: 100}))
    connection.feed(request(1) + request(3))
    connection.send_response(1, RESPONSE_BLOCK, b"", None)
    connection.send_response(3, RESPONSE_BLOCK, b"", None)

    assert [frame.payload for frame in frames(connection.take_output())] == [b"\x20" + RESPONSE_BLOCK, RESPONSE_BLOCK]


def test_goaway_lets_open_streams_end_and_takes_no_new_ones() -> None:
    """A draining server names the last stream it serves; requests above are ignored, so a client may retry them."""
    connection, recorder = open_server()
    connection.feed(request(1))
    connection.goaway(ErrorCode.NO_ERROR)
    connection.goaway(ErrorCode.NO_ERROR)
    connection.feed(request(3, b"dropped"))
    connection.send_response(1, RESPONSE_BLOCK, b"", None)

    assert not connection.closed
    assert [event[1] for event in recorder.events] == [1]
    assert [frame.kind for frame in frames(connection.take_output())] == [GOAWAY, HEADERS]


def test_header_list_above_the_limit_is_answered_431() -> None:
    """The request never reaches the owner; the connection and its compression state live on."""
    connection, recorder = open_server(Http2Limits(max_header_list_bytes=1000))
    connection.feed(request(1, None, encode_block((*REQUEST, (b"x", b"v" * 1000)))))
    head, reset = frames(connection.take_output())

    assert b"431" in head.payload
    assert (reset.kind, reset.payload) == (RST_STREAM, bytes(4))
    connection.feed(request(3))
    assert recorder.events == [("headers", 3, REQUEST, True)]


def test_equal_requests_share_one_block() -> None:
    """The owner may keep what it parsed on the block and find it there at the next equal request."""
    connection, recorder = open_server()
    connection.feed(request(1) + request(3))
    recorder.blocks[0].parsed = "route"

    assert recorder.blocks[1].parsed == "route"
