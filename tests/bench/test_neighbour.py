"""What the neighbours' load generators make of bytes, and what of figures."""

import socket

import pytest

from bench.flood import Pipe
from bench.neighbour_chart import draw
from bench.neighbour_records import Latency, Pair, Row
from bench.probe import http1, http2, probe, stream_request

GOOD = b"HTTP/1.1 204 No Content\r\n\r\n"
BAD = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 2\r\n\r\n{}"


@pytest.mark.parametrize("size", [1, 7, 9, 10, 11, 1000])
def test_a_flood_counts_every_answer_once(size: int) -> None:
    """However the reads cut them; and what was bad is shown."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        pipe = Pipe(ours, memoryview(b"x"), memoryview(b"x"))
        answers = GOOD * 5 + BAD + GOOD
        for start in range(0, len(answers), size):
            theirs.sendall(answers[start : start + size])
            pipe.read()
    assert (pipe.answers, pipe.good) == (7, 6)


def test_a_flood_that_is_hung_up_on_says_so() -> None:
    """A closed connection is no flood any more."""
    ours, theirs = socket.socketpair()
    with ours:
        theirs.close()
        with pytest.raises(ConnectionError):
            Pipe(ours, memoryview(b"x"), memoryview(b"x")).read()


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_probe_reads_a_whole_answer(cut: int) -> None:
    """Head and body, however they come."""
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ask = http1(ours, b"GET /")
        theirs.sendall(answer[:cut])
        theirs.sendall(answer[cut:])
        assert ask() == answer
        assert theirs.recv(100) == b"GET /"


def test_a_probe_reads_its_stream_to_the_end() -> None:
    """Frames of the connection are passed over, and each question is a stream of its own."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ask = http2(ours, stream_request({":method": "GET"}))
        for stream_id in (1, 3):
            head = b"\0\0\1\1\4" + stream_id.to_bytes(4, "big") + b"\x88"
            body = b"\0\0\2\0\1" + stream_id.to_bytes(4, "big") + b"ok"
            theirs.sendall(b"\0\0\0\4\0\0\0\0\0" + head + body)
            assert ask() == b"\x88ok"


def test_a_wrong_answer_is_counted() -> None:
    """A fast error is no good answer."""
    said = probe(lambda: b"HTTP/1.1 500", b"HTTP/1.1 2", 0.01)
    assert said["failed"] == said["answers"]


def _row(p50: float, p99: float, apart: float | None, failed: int = 0) -> Row:
    quiet, flooded = Latency(100, 200, 300, 10, 0), Latency(100 * p50, 200 * p99, 9000, 10, failed)
    return Row("x", "gets & puts", (Pair(quiet, flooded, 1000.0, 0),), p50, p99, apart)


@pytest.mark.parametrize(
    ("row", "passed"),
    [
        (_row(4, 10, 0.05), True),
        (_row(4, 10, None), True),
        (_row(4.1, 1, None), False),
        (_row(1, 10.1, None), False),
        (_row(1, 1, 0.06), False),
        (_row(1, 1, None, failed=1), False),
    ],
)
def test_every_goal_counts(row: Row, passed: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """Median, 99th percentile and shares; and a wrong answer is never good enough."""
    assert row.passed is passed


def test_the_chart_shows_every_question() -> None:
    """One label and two bars each, in well-formed text."""
    drawn = draw([_row(2, 3, 0.01), _row(20, 30, None)])
    assert drawn.count("gets &amp; puts") == 2
    assert drawn.count("shares 1.0% apart") == 1
