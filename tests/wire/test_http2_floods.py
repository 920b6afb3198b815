"""Peers that make work for nothing: each flood ends in ENHANCE_YOUR_CALM, with little kept and little said."""

from collections.abc import Callable

import pytest

from noded.wire.http2 import ErrorCode, Http2Connection, Http2Limits, encode_block
from noded.wire.http2_frames import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    GOAWAY,
    HEADERS,
    PING,
    PRIORITY,
    SETTINGS,
    encode_frame,
    encode_goaway,
    encode_reset,
    encode_settings,
    encode_window_update,
)
from tests.wire.http2_peer import OPENING, REQUEST_BLOCK, frames, open_client, open_server, request

LIMITS = Http2Limits(reset_burst=50, control_burst=50, resets_per_second=10.0, controls_per_second=10.0)
OPEN = encode_frame(HEADERS, END_HEADERS, 1, REQUEST_BLOCK)


def _stream(number: int, then: bytes) -> bytes:
    return encode_frame(HEADERS, END_HEADERS, number, REQUEST_BLOCK) + then


def _rapid_reset(number: int) -> bytes:
    return _stream(number, encode_reset(number, 8))


def _made_reset(number: int) -> bytes:
    """Make the server reset each stream itself: the same attack from the other side."""
    return _stream(number, encode_window_update(number, 0))


FLOODS: dict[str, Callable[[int], bytes]] = {
    "rapid reset": _rapid_reset,
    "streams made to be reset by a bad WINDOW_UPDATE": _made_reset,
    "malformed requests": lambda number: request(number, None, b"\x82"),
    "PING": lambda _: encode_frame(PING, 0, 0, bytes(8)),
    "SETTINGS": lambda _: encode_settings({4: 100}),
    "empty SETTINGS": lambda _: encode_frame(SETTINGS, 0, 0),
    "PRIORITY": lambda _: encode_frame(PRIORITY, 0, 1, b"\0\0\0\5\0"),
    "unknown frames": lambda _: encode_frame(0x99, 0, 0, b"x"),
    "empty DATA": lambda number: (OPEN if number == 1 else b"") + encode_frame(DATA, 0, 1),
    "empty DATA on a dead stream": lambda number: (
        _stream(1, encode_window_update(1, 0)) if number == 1 else encode_frame(DATA, 0, 1)
    ),
    "WINDOW_UPDATE on a dead stream": lambda number: (
        _rapid_reset(1) if number == 1 else encode_window_update(1, 1)
    ),
    "RST_STREAM on a dead stream": lambda number: _rapid_reset(1) if number == 1 else encode_reset(1, 8),
    "GOAWAY": lambda _: encode_goaway(0, 0),
}  # fmt: skip


def _run(connection: Http2Connection, name: str, rounds: int, seconds_between: float) -> int:
    """Flood, the peer reading all along; give the rounds taken."""
    for number in range(rounds):
        connection.feed(FLOODS[name](2 * number + 1), number * seconds_between)
        if connection.closed:
            return number
        connection.take_output()
    return rounds


@pytest.mark.parametrize("name", FLOODS.keys())
def test_flood_ends_the_connection(name: str) -> None:
    """After the burst allowed, ENHANCE_YOUR_CALM."""
    connection, _ = open_server(LIMITS)

    assert 45 <= _run(connection, name, 1000, 0.0) <= 60
    last = frames(connection.take_output())[-1]
    assert (last.kind, int.from_bytes(last.payload[4:8], "big")) == (GOAWAY, ErrorCode.ENHANCE_YOUR_CALM)


@pytest.mark.parametrize("name", FLOODS.keys())
def test_the_same_frames_at_ease_are_no_flood(name: str) -> None:
    """At the rate allowed they may come for ever: keep-alive pings, cancelled calls."""
    connection, _ = open_server(LIMITS)

    assert _run(connection, name, 1000, 0.11) == 1000


@pytest.mark.parametrize("name", FLOODS.keys())
def test_faster_than_allowed_is_a_flood_in_the_end(name: str) -> None:
    """Twice the rate uses up the burst, slowly."""
    connection, _ = open_server(LIMITS)

    assert 90 <= _run(connection, name, 1000, 0.05) <= 120


def test_pings_between_requests_are_no_flood() -> None:
    """grpc-go sends a PING with nearly every answer it reads, to measure the path."""
    connection, _ = open_server(LIMITS)
    for number in range(1000):
        connection.feed(encode_frame(PING, 0, 0, bytes(8)) + request(2 * number + 1))
        connection.send_response(2 * number + 1, b"\x88", b"x", None)
        connection.take_output()

    assert not connection.closed


def test_pings_within_a_streamed_answer_are_no_flood() -> None:
    """grpc-go pings for every piece of a stream that it reads; pings for nothing sent are a flood again."""
    connection, _ = open_server(LIMITS)
    connection.feed(request(1))
    connection.send_headers(1, b"\x88", end_stream=False)
    for _ in range(1000):
        connection.send_data(1, b"x", end_stream=False)
        connection.feed(encode_frame(PING, 0, 0, bytes(8)) + encode_window_update(0, 1))
        connection.take_output()
    assert not connection.closed

    for _ in range(1000):
        connection.feed(encode_frame(PING, 0, 0, bytes(8)) + encode_window_update(0, 1))
        connection.take_output()

    assert connection.closed


def test_answers_nobody_reads_do_not_pile_up() -> None:
    """A peer that asks and never reads is cut off while the queue is small."""
    connection, _ = open_server(Http2Limits(control_burst=10**6, max_control_output=20))
    for _ in range(1000):
        connection.feed(encode_frame(PING, 0, 0, bytes(8)))

    assert connection.closed
    assert connection.output_pending < 1000


def test_continuation_flood_ends_the_connection() -> None:
    """Neither many CONTINUATION frames nor large ones are kept; empty ones count too."""
    for piece in (b"", b"\x00\x01a\x01b", bytes(16_384)):
        connection, _ = open_server()
        connection.feed(encode_frame(HEADERS, 0, 1, REQUEST_BLOCK))
        rounds = 0
        while not connection.closed and rounds < 100:
            connection.feed(encode_frame(CONTINUATION, 0, 1, piece))
            rounds += 1

        assert rounds <= 17
        assert b"header block too large" in connection.take_output()


@pytest.mark.parametrize(("references", "ends"), [(400, False), (10_000, True)])
def test_header_bomb_is_never_unfolded(references: int, *, ends: bool) -> None:
    """One large field referred to again and again is answered 431 and reaches nobody; thousands of times, it ends."""
    connection, recorder = open_server()
    bomb = REQUEST_BLOCK + b"\x40\x01a\x7f\xa1\x1e" + b"v" * 4000 + b"\xbe" * references
    connection.feed(request(1, None, bomb))

    assert recorder.events == []
    assert connection.closed is ends


@pytest.mark.parametrize(("size", "ends"), [(1500, False), (2100, True)])
def test_a_block_twice_as_long_as_a_header_list_is_not_decoded(size: int, *, ends: bool) -> None:
    """It ends the connection, as with Go's server; up to that a head that is too large is answered 431."""
    connection, recorder = open_server(Http2Limits(max_header_list_bytes=1024))
    connection.feed(request(1, None, REQUEST_BLOCK + encode_block([(b"a", b"v" * size)])))

    assert recorder.events == []
    assert connection.closed is ends
    assert frames(connection.take_output())[0].kind == (GOAWAY if ends else HEADERS)


def test_interim_responses_are_a_flood_too() -> None:
    """A server that says 100 for ever is cut off by the client."""
    connection, recorder = open_client(LIMITS)
    stream_id = connection.open_stream()
    connection.send_headers(stream_id, REQUEST_BLOCK, end_stream=True)
    for _ in range(60):
        connection.feed(encode_frame(HEADERS, END_HEADERS, stream_id, b"\x08\x03100"))

    assert connection.closed
    assert recorder.events == []


def test_partial_frame_is_all_that_is_kept() -> None:
    """A peer that trickles bytes holds no more of them than one frame."""
    connection, _ = open_server()
    part = OPEN + encode_frame(DATA, 0, 1, bytes(16_384))[:-1]
    for at in range(len(part)):
        connection.feed(part[at : at + 1])

    assert len(connection._partial) <= 16_384 + 9


def test_window_by_single_bytes_costs_one_frame_each() -> None:
    """A peer that opens its window a byte at a time gets a byte at a time, and all of them."""
    connection, _ = open_server(opening=OPENING + encode_settings({4: 0}))
    connection.feed(request(1))
    connection.send_response(1, b"\x88", bytes(range(200)), None)
    connection.take_output()
    got = b""
    for _ in range(200):
        connection.feed(encode_window_update(1, 1))
        (frame,) = frames(connection.take_output())
        got += frame.payload

    assert got == bytes(range(200))


KEEPALIVE = Http2Limits(min_ping_seconds=8.0)
PING_FRAME = encode_frame(PING, 0, 0, bytes(8))


def test_who_pings_too_often_is_cut_off() -> None:
    """Three pings sooner than allowed after the one before, and nothing sent between them: GOAWAY too_many_pings."""
    connection, _ = open_server(KEEPALIVE)
    for number in range(3):
        connection.feed(PING_FRAME, number * 1.0)
        assert not connection.closed
    connection.feed(PING_FRAME, 3.0)
    connection.feed(PING_FRAME, 4.0)

    assert connection.closed
    last = frames(connection.take_output())[-1]
    assert last.kind == GOAWAY
    assert last.payload[4:8] == int(ErrorCode.ENHANCE_YOUR_CALM).to_bytes(4, "big")
    assert last.payload.endswith(b"too_many_pings")


def test_pings_at_the_pace_allowed_may_come_for_ever() -> None:
    """Also where no stream is open, as daprd permits."""
    connection, _ = open_server(KEEPALIVE)
    for number in range(100):
        connection.feed(PING_FRAME, number * 8.0)
        connection.take_output()

    assert not connection.closed


def test_a_ping_for_what_was_sent_is_none_too_many() -> None:
    """A client may measure the path with every answer, and with every piece of one."""
    connection, _ = open_server(KEEPALIVE)
    for number in range(20):
        connection.feed(request(2 * number + 1), number * 0.1)
        connection.send_response(2 * number + 1, b"\x88", b"x", None)
        connection.feed(encode_window_update(0, 1) + PING_FRAME, number * 0.1)
        connection.take_output()

    assert not connection.closed
