"""Long header blocks: a server decodes them in pieces, one each time it is fed; others are served in between."""

import pytest

from noded.wire.http2 import Http2Limits, encode_block
from noded.wire.http2_frames import (
    CONTINUATION,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PING,
    ErrorCode,
    encode_frame,
    encode_reset,
)
from tests.wire.http2_peer import REQUEST, feed_all, frames, open_server, request
from tests.wire.recording_link import PIECES, pieces

SOME = 37
"""Of all the ways to cut in two: each takes a millisecond."""
LIMITS = Http2Limits(whole_block_bytes=1000)
MORE = tuple((b"x-%d" % number, b"%d" % number * 20) for number in range(60))
LONG = (*REQUEST, *MORE)
BLOCK = encode_block(LONG)
CUT_BLOCK = (
    encode_frame(HEADERS, END_STREAM, 3, BLOCK[:700])
    + encode_frame(CONTINUATION, 0, 3, BLOCK[700:900])
    + encode_frame(CONTINUATION, END_HEADERS, 3, BLOCK[900:])
)
EVERYTHING = (
    request(1, b"first", BLOCK)
    + CUT_BLOCK
    + encode_frame(PING, 0, 0, b"12345678")
    + request(5)
    + encode_frame(HEADERS, END_HEADERS, 7, BLOCK)
    + encode_reset(7, 8)
    + encode_frame(HEADERS, END_HEADERS, 9, encode_block(REQUEST))
    + encode_frame(HEADERS, END_HEADERS | END_STREAM, 9, encode_block(MORE))
    + request(11, b"last", BLOCK)
)
EVENTS = [
    ("headers", 1, LONG, False),
    ("data", 1, b"first", True),
    ("headers", 3, LONG, True),
    ("headers", 5, REQUEST, True),
    ("headers", 7, LONG, False),
    ("reset", 7, 8),
    ("headers", 9, REQUEST, False),
    ("trailers", 9, MORE),
    ("headers", 11, LONG, False),
    ("data", 11, b"last", True),
]


@pytest.mark.parametrize("how", PIECES)
def test_what_a_long_head_says_comes_in_its_place_however_it_arrives(how: str) -> None:
    """Requests, trailers and blocks over CONTINUATION; before what is behind them, and after what is before."""
    for cut in pieces(EVERYTHING, how)[::SOME]:
        connection, recorder = open_server(LIMITS)
        for piece in cut:
            feed_all(connection, piece)
        assert recorder.events == EVENTS
        assert not connection.closed


def test_each_feeding_decodes_a_piece() -> None:
    """Bytes that come meanwhile wait behind it, and tell nothing."""
    connection, recorder = open_server(LIMITS)
    connection.feed(request(1, b"body", BLOCK) + request(3))
    assert connection.put_off
    assert connection.unfinished
    connection.put_off = False
    connection.feed(request(5))
    assert recorder.events == []
    assert connection.put_off
    assert feed_all(connection, b"") >= len(BLOCK) // 512 - 2
    assert [event[:2] for event in recorder.events] == [("headers", 1), ("data", 1), ("headers", 3), ("headers", 5)]
    assert not connection.unfinished


def test_a_head_that_is_known_is_not_put_off() -> None:
    """One of less than 2 KiB that leaves the table alone."""
    block = encode_block((*REQUEST, *MORE[:40]))
    assert 1000 < len(block) < 2048
    connection, recorder = open_server(LIMITS)
    assert feed_all(connection, request(1, b"x", block)) > 0
    assert feed_all(connection, request(3, b"x", block)) == 0
    assert [event[1] for event in recorder.events] == [1, 1, 3, 3]


def test_a_fault_in_a_later_piece_ends_the_connection() -> None:
    """As in a short block; nothing behind it is taken."""
    connection, recorder = open_server(LIMITS)
    feed_all(connection, request(1, None, BLOCK + b"\x80") + request(3))
    assert connection.closed
    assert recorder.events == []
    assert frames(connection.take_output())[-1].payload[4:8] == ErrorCode.COMPRESSION_ERROR.to_bytes(4, "big")


def test_a_client_decodes_in_one_go() -> None:
    """Its limits ask for nothing else: nobody would feed it again."""
    connection, recorder = open_server(Http2Limits())
    connection.feed(request(1, None, BLOCK))
    assert not connection.put_off
    assert recorder.events == [("headers", 1, LONG, True)]
