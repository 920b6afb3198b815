"""Flow control of HTTP/2, both ways: nothing is sent beyond a window, nothing more is taken than was allowed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noded.wire.http2 import PREFACE, ErrorCode, Http2Connection, Http2Limits
from noded.wire.http2_frames import (
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PADDED,
    RST_STREAM,
    WINDOW_UPDATE,
    encode_frame,
    encode_settings,
    encode_window_update,
)
from tests.wire.http2_peer import (
    REQUEST_BLOCK,
    RESPONSE_BLOCK,
    TRAILERS_BLOCK,
    Frame,
    Recorder,
    frames,
    open_server,
    request,
)

LIMITS = Http2Limits(stream_window_bytes=70_000, connection_window_bytes=100_000, auto_consume_bytes=10_000)


def server_with_window(window: int) -> tuple[Http2Connection, Recorder]:
    """Give a server with streams 1 and 3 open, whose client set INITIAL_WINDOW_SIZE."""
    connection, recorder = open_server(opening=PREFACE + encode_settings({4: window}))
    connection.feed(request(1) + request(3))
    recorder.events.clear()
    return connection, recorder


def sent_data(connection: Http2Connection) -> list[tuple[int, bytes, int]]:
    return [(f.stream_id, f.payload, f.flags) for f in frames(connection.take_output()) if f.kind == DATA]


def test_body_waits_for_the_stream_window() -> None:
    """What fits is sent, the rest when WINDOW_UPDATE comes; `on_writable` says that all is out."""
    connection, recorder = server_with_window(4)

    assert not connection.send_data(1, b"abcdefg", end_stream=True)
    assert (sent_data(connection), connection.pending(1)) == ([(1, b"abcd", 0)], 3)
    connection.feed(encode_window_update(1, 2))
    assert (sent_data(connection), recorder.events) == ([(1, b"ef", 0)], [])
    connection.feed(encode_window_update(1, 9))
    assert sent_data(connection) == [(1, b"g", END_STREAM)]
    assert (connection.pending(1), recorder.events) == (0, [("writable", 1)])


def test_body_that_fits_is_sent_at_once() -> None:
    """`send_data` is True and `on_writable` silent while the windows allow, however many frames it takes."""
    connection, recorder = open_server()
    connection.feed(request(1))
    recorder.events.clear()

    assert connection.send_data(1, b"v" * 60_000, end_stream=False)
    assert [len(payload) for _, payload, _ in sent_data(connection)] == [16_384, 16_384, 16_384, 10_848]
    assert recorder.events == []


def test_connection_window_is_shared_in_turns() -> None:
    """When the connection's window grows, waiting streams get a frame each in turn."""
    connection, _ = open_server(opening=PREFACE + encode_settings({4: 2**20}))
    connection.feed(request(1) + request(3))
    connection.send_data(1, b"x" * 65_535, end_stream=False)
    connection.send_data(1, b"1" * 40_000, end_stream=True)
    connection.send_data(3, b"3" * 40_000, end_stream=True)
    connection.take_output()
    connection.feed(encode_window_update(0, 40_000))

    assert [(stream, len(payload)) for stream, payload, _ in sent_data(connection)] == [
        (1, 16_384),
        (3, 16_384),
        (1, 7_232),
    ]


def test_unary_answer_beyond_the_window_keeps_its_order() -> None:
    """Head at once, body as windows allow, trailers last."""
    connection, _ = server_with_window(3)
    connection.send_response(1, RESPONSE_BLOCK, b"abcd", TRAILERS_BLOCK)

    assert [frame.kind for frame in frames(connection.take_output())] == [HEADERS, DATA]
    connection.feed(encode_window_update(1, 1))
    assert frames(connection.take_output()) == [
        Frame(DATA, 0, 1, b"d"),
        Frame(HEADERS, END_HEADERS | END_STREAM, 1, TRAILERS_BLOCK),
    ]
    assert connection.open_streams == 1


def test_initial_window_changes_open_streams_and_may_turn_negative() -> None:
    """A smaller INITIAL_WINDOW_SIZE takes back window already given (RFC 9113, section 6.9.2)."""
    connection, _ = server_with_window(10)
    connection.send_data(1, b"12345678", end_stream=False)
    connection.feed(encode_settings({4: 3}))
    connection.send_data(1, b"x", end_stream=False)
    connection.feed(encode_window_update(1, 5))
    assert sent_data(connection) == [(1, b"12345678", 0)]

    connection.feed(encode_settings({4: 4}))
    assert sent_data(connection) == [(1, b"x", 0)]


def test_initial_window_overflowing_a_stream_ends_the_connection() -> None:
    """FLOW_CONTROL_ERROR (RFC 9113, section 6.9.2)."""
    connection, _ = server_with_window(10)
    connection.feed(encode_window_update(1, 2**31 - 100) + encode_settings({4: 1000}))

    last = frames(connection.take_output())[-1]
    assert (last.kind, last.payload[4:8]) == (GOAWAY, b"\0\0\0\3")


def test_reset_drops_what_waited() -> None:
    """A stream the peer broke off holds no bytes and no turn."""
    connection, recorder = server_with_window(0)
    connection.send_data(1, b"abc", end_stream=True)
    connection.feed(encode_frame(RST_STREAM, 0, 1, b"\0\0\0\x08"))

    assert (connection.pending(1), connection.statistics().backlogged_streams) == (0, 0)
    connection.feed(encode_window_update(0, 100))
    assert sent_data(connection) == []
    assert recorder.events == [("reset", 1, 8)]


@given(
    st.integers(0, 40),
    st.lists(st.integers(0, 30), max_size=8),
    st.lists(st.tuples(st.sampled_from([0, 1, 3]), st.integers(1, 50)), max_size=20),
)
def test_windows_are_never_exceeded(window: int, sizes: list[int], updates: list[tuple[int, int]]) -> None:
    """Whatever is sent and granted, no stream sends beyond its window, and in the end all bytes arrive in order."""
    connection, _ = server_with_window(window)
    allowed = {1: window, 3: window}
    bodies = {1: b"", 3: b""}
    got = {1: b"", 3: b""}
    for number, size in enumerate(sizes):
        stream_id = 1 + number % 2 * 2
        chunk = bytes((number,)) * size
        bodies[stream_id] += chunk
        connection.send_data(stream_id, chunk, end_stream=False)
    for stream_id, growth in [*updates, (1, 1000), (3, 1000)]:
        if stream_id:
            allowed[stream_id] += growth
        connection.feed(encode_window_update(stream_id, growth))
        for sent_on, payload, _ in sent_data(connection):
            got[sent_on] += payload
        assert all(len(got[each]) <= allowed[each] for each in got)

    assert got == bodies


def data(stream_id: int, size: int, flags: int = 0) -> bytes:
    """Build DATA frames of `size` bytes in all."""
    full, rest = divmod(size, 16_384)
    return encode_frame(DATA, 0, stream_id, bytes(16_384)) * full + encode_frame(DATA, flags, stream_id, bytes(rest))


def open_body(stream_id: int) -> bytes:
    return encode_frame(HEADERS, END_HEADERS, stream_id, REQUEST_BLOCK)


def test_data_beyond_the_stream_window_resets_the_stream() -> None:
    """FLOW_CONTROL_ERROR on the stream; the connection goes on."""
    connection, recorder = open_server(LIMITS)
    connection.feed(open_body(1) + data(1, 70_001))

    assert recorder.events[-1] == ("reset", 1, ErrorCode.FLOW_CONTROL_ERROR)
    assert not connection.closed


def test_data_beyond_the_connection_window_ends_the_connection() -> None:
    """FLOW_CONTROL_ERROR, when all streams together hold more than allowed."""
    connection, _ = open_server(LIMITS)
    connection.feed(open_body(1) + open_body(3) + data(1, 69_000) + data(3, 69_000))

    last = frames(connection.take_output())[-1]
    assert (last.kind, last.payload[4:8]) == (GOAWAY, b"\0\0\0\3")


def window_updates(connection: Http2Connection) -> dict[int, int]:
    """Sum what the peer was given back, by stream; 0 is the connection."""
    given: dict[int, int] = {}
    for frame in frames(connection.take_output()):
        if frame.kind == WINDOW_UPDATE:
            given[frame.stream_id] = given.get(frame.stream_id, 0) + int.from_bytes(frame.payload, "big")
    return given


def test_bytes_nobody_took_are_not_given_back() -> None:
    """A body is given back to the peer only as the application takes it, in few updates."""
    connection, _ = open_server(LIMITS)
    connection.feed(open_body(1) + data(1, 69_000))
    assert window_updates(connection) == {}

    connection.consumed(1, 30_000)
    assert window_updates(connection) == {}
    connection.consumed(1, 39_000)
    assert set(window_updates(connection)) == {0, 1}


def test_body_longer_than_the_windows_flows_as_it_is_taken() -> None:
    """What was given back can be sent again, for as long as the body is."""
    connection, recorder = open_server(LIMITS)
    connection.feed(open_body(1))
    for _ in range(20):
        connection.feed(data(1, 60_000))
        connection.consumed(1, 60_000)

    assert not connection.closed
    assert len(recorder.body(1)) == 1_200_000


def test_small_bodies_need_no_report() -> None:
    """A connection of small requests never stalls, though the application reports nothing taken."""
    connection, recorder = open_server(LIMITS)
    for stream_id in range(1, 401, 2):
        connection.feed(request(stream_id, bytes(9_000)))
        connection.send_response(stream_id, RESPONSE_BLOCK, b"", None)

    assert not connection.closed
    assert len([event for event in recorder.events if event[0] == "data"]) == 200


@pytest.mark.parametrize("end", ["answer", "reset by us", "reset by the peer"])
def test_end_of_a_stream_gives_its_bytes_back(end: str) -> None:
    """However a stream ends, what nobody took of it does not stay lost to the connection's window."""
    connection, _ = open_server(LIMITS)
    for stream_id in range(1, 41, 2):
        connection.feed(open_body(stream_id) + data(stream_id, 60_000, END_STREAM if end == "answer" else 0))
        if end == "answer":
            connection.send_response(stream_id, RESPONSE_BLOCK, b"", None)
        elif end == "reset by us":
            connection.reset(stream_id, ErrorCode.CANCEL)
        else:
            connection.feed(encode_frame(RST_STREAM, 0, stream_id, b"\0\0\0\x08"))

    assert not connection.closed
    assert connection.open_streams == 0


def test_padding_and_data_for_dead_streams_are_given_back() -> None:
    """Bytes the application never sees count as taken."""
    connection, _ = open_server(LIMITS)
    connection.feed(open_body(1))
    connection.reset(1, ErrorCode.CANCEL)
    connection.feed(data(1, 90_000) * 3)
    assert not connection.closed

    connection.feed(open_body(3))
    for _ in range(2000):
        connection.feed(encode_frame(DATA, PADDED, 3, b"\xf0x" + bytes(240)))
        connection.consumed(3, 1)
    assert not connection.closed


def test_reporting_too_much_gives_no_more_than_was_taken() -> None:
    """An owner that counts wrong cannot open a window beyond its size."""
    connection, _ = open_server(LIMITS)
    connection.feed(open_body(1) + data(1, 60_000))
    connection.consumed(1, 10**9)

    assert window_updates(connection) == {0: 60_000, 1: 60_000}
