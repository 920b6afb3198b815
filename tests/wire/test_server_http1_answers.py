"""HTTP/1.1 answers on one connection: they leave in the order of the requests, whole or in pieces."""

import random

import pytest

from noded.calls import NO_CONTENT, HttpCall, Reply
from noded.http1_exchange import HIGH_BODY_BYTES
from noded.http1_known import MAX_PIPELINED
from tests.wire.recording_link import Rig

GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
UPLOAD = b"POST /up HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"


def ok(text: bytes) -> Reply:
    return Reply(200, text)


class Sink:
    """Takes a streamed body and notes what becomes of its peer."""

    def __init__(self) -> None:
        self.body = b""
        self.heard: list[str] = []

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_body_end(self) -> None:
        self.heard.append("end")

    def on_writable(self) -> None:
        self.heard.append("writable")

    def on_peer_gone(self) -> None:
        self.heard.append("gone")


@pytest.mark.parametrize("seed", range(8))
def test_answers_leave_in_the_order_of_the_requests(seed: int) -> None:
    """Handlers may end in any order; each answer waits for those before it, and none is lost."""
    rig = Rig()
    rig.feed(GET * 20)
    order = list(enumerate(rig.calls))
    random.Random(seed).shuffle(order)
    for number, call in order:
        call.exchange.reply(ok(b"%d" % number))
    assert [answer.body for answer in rig.answers()] == [b"%d" % number for number in range(20)]


def test_an_answer_in_pieces_waits_for_its_turn() -> None:
    """A streamed answer behind one that waits is kept, and its writer told to wait once it wrote much."""
    rig = Rig()
    rig.feed(GET + GET)
    first, second = (call.exchange for call in rig.calls)
    sink = Sink()
    second.stream_to(sink)
    second.start(200, [(b"content-type", b"text/plain")])
    pieces = 1
    while second.write(b"piece"):
        pieces += 1
        assert pieces < 1000
    assert rig.out == b""
    first.reply(ok(b"first"))
    assert "writable" in sink.heard
    second.end()
    one, two = rig.answers()
    assert (one.body, two.body) == (b"first", b"piece" * pieces)


def test_a_streamed_answer_is_chunked_and_may_have_trailers() -> None:
    """Without a content-length an answer goes in chunks; trailers follow the last."""
    rig = Rig()
    rig.feed(GET + GET)
    exchange = rig.calls[0].exchange
    exchange.start(206, [(b"content-type", b"text/plain")])
    exchange.write(b"one ")
    exchange.write(b"")
    exchange.write(b"two")
    exchange.end([(b"x-sum", b"7")])
    rig.calls[1].exchange.reply(NO_CONTENT)
    streamed, after = rig.answers()
    assert (streamed.status, streamed.body) == (206, b"one two")
    assert streamed.headers[b"transfer-encoding"] == b"chunked"
    assert streamed.trailers == {b"x-sum": b"7"}
    assert after.status == 204


def test_a_streamed_answer_of_known_length_has_no_chunks() -> None:
    """A content-length given by the handler is the framing."""
    rig = Rig()
    rig.feed(GET + GET)
    exchange = rig.calls[0].exchange
    exchange.start(200, [(b"content-length", b"5")])
    exchange.write(b"hello")
    exchange.end()
    rig.calls[1].exchange.reply(ok(b"next"))
    assert [answer.body for answer in rig.answers()] == [b"hello", b"next"]
    assert b"chunked" not in rig.out


def test_a_streamed_answer_to_http_1_0_ends_with_the_connection() -> None:
    """HTTP/1.0 knows no chunks (RFC 9112 7): the body goes bare, and the close is its end."""
    rig = Rig()
    rig.feed(b"GET / HTTP/1.0\r\n\r\n")
    exchange = rig.calls[0].exchange
    exchange.start(200, [])
    exchange.write(b"bare")
    exchange.end()
    assert rig.out.startswith(b"HTTP/1.0 200 OK\r\n")
    assert rig.out.endswith(b"\r\n\r\nbare")
    assert b"chunked" not in rig.out
    assert rig.link.shut_down


@pytest.mark.parametrize("status", [204, 304])
def test_an_answer_that_may_have_no_body_has_no_framing(status: int) -> None:
    """204 and 304 end with their head (RFC 9112 6.3): a chunk would be read as the next answer."""
    rig = Rig()
    rig.feed(GET + GET)
    rig.calls[0].exchange.start(status, [])
    rig.calls[0].exchange.end()
    rig.calls[1].exchange.reply(ok(b"next"))
    assert [answer.status for answer in rig.answers()] == [status, 200]


def test_an_answer_that_breaks_off_closes_the_connection_at_once() -> None:
    """HTTP/1.1 has no other sign for a body that will never be whole."""
    rig = Rig()
    rig.feed(GET)
    exchange = rig.calls[0].exchange
    exchange.start(200, [])
    exchange.write(b"half")
    exchange.abort()
    assert rig.link.aborted


def test_a_second_answer_to_one_request_is_not_sent() -> None:
    """The first answer counts: what a handler says after it goes nowhere."""
    rig = Rig()
    rig.feed(GET + GET)
    first, second = (call.exchange for call in rig.calls)
    first.reply(ok(b"one"))
    first.reply(ok(b"two"))
    first.start(200, [])
    first.write(b"three")
    first.end()
    second.reply(ok(b"next"))
    assert [answer.body for answer in rig.answers()] == [b"one", b"next"]


def test_a_connection_with_many_requests_under_way_is_not_read() -> None:
    """At MAX_PIPELINED waiting requests reading stops; it goes on when some were answered, and none is lost."""
    rig = Rig()
    rig.wire.feed(GET * MAX_PIPELINED)
    assert rig.link.stalls == 1
    rig.calls[1].exchange.reply(ok(b"out of order"))
    assert rig.link.stalls == 1
    rig.calls[0].exchange.reply(ok(b"first"))
    assert rig.link.stalls == 0
    for call in rig.calls[2:]:
        call.exchange.reply(ok(b"more"))
    assert len(rig.answers()) == MAX_PIPELINED


def test_requests_answered_within_one_read_stall_nothing() -> None:
    """Whoever answers at once may pipeline without end: stalls and unstalls stay even."""
    held: list[HttpCall] = []

    def every_hundredth_frees_the_rest(call: HttpCall) -> None:
        held.append(call)
        if len(held) == 100:
            for each in held:
                each.exchange.reply(ok(b"x"))
            held.clear()

    rig = Rig(every_hundredth_frees_the_rest)
    rig.wire.feed(GET * 1000)
    assert rig.link.stalls == 0
    assert len(rig.answers()) == 1000


# Bodies that are streamed to the handler.


def streamed(handler: object = None) -> Rig:
    del handler
    return Rig(streams=lambda call: call.path == b"/up")


def test_a_streamed_body_reaches_its_handler_piece_by_piece() -> None:
    """What came before the handler took the body comes first; then each piece as it arrives, then the end."""
    rig, sink = streamed(), Sink()
    rig.feed(UPLOAD + b"3\r\none\r\n")
    (call,) = rig.calls
    assert not call.body_complete
    call.exchange.stream_to(sink)
    assert sink.body == b"one"
    rig.feed(b"3\r\ntwo\r\n")
    assert (sink.body, sink.heard) == (b"onetwo", [])
    rig.feed(b"0\r\n\r\n")
    assert sink.heard == ["end"]
    call.exchange.reply(ok(b"done"))
    assert not rig.link.shut_down
    assert [answer.body for answer in rig.answers()] == [b"done"]


def test_a_streamed_body_that_ended_before_it_was_taken_is_given_whole() -> None:
    """A handler may take the body late: nothing of it, nor its end, is lost."""
    rig, sink = streamed(), Sink()
    rig.feed(UPLOAD + b"3\r\none\r\n")
    rig.feed(b"3\r\ntwo\r\n0\r\n\r\n")
    rig.calls[0].exchange.stream_to(sink)
    assert (sink.body, sink.heard) == (b"onetwo", ["end"])


def test_a_body_nobody_takes_is_not_read_without_end() -> None:
    """Beyond HIGH_BODY_BYTES the connection is not read, until somebody takes the body."""
    rig, sink = streamed(), Sink()
    rig.link.app = Rig().link.app.__class__(rig.link.app.spec, rig.link.app.tenant, rig.link.app.node, None, 1 << 30)
    chunk = b"8000\r\n" + b"x" * 0x8000 + b"\r\n"
    rig.feed(UPLOAD)
    fed = 0
    while not rig.link.stalls:
        rig.wire.feed(chunk)
        fed += 0x8000
        assert fed <= HIGH_BODY_BYTES + 0x8000
    rig.calls[0].exchange.stream_to(sink)
    assert rig.link.stalls == 0
    assert len(sink.body) == fed


def test_a_peer_that_goes_is_told_to_every_request_under_way() -> None:
    """Streams hear it once; answers that come later go nowhere, and accounts are closed."""
    rig, sink = streamed(), Sink()
    told: list[tuple[int, int]] = []
    rig.feed(GET + UPLOAD + b"3\r\none\r\n")
    waiting, upload = (call.exchange for call in rig.calls)
    upload.ended = lambda status, size, /: told.append((status, size))
    upload.stream_to(sink)
    rig.wire.lost()
    assert sink.heard == ["gone"]
    assert told == [(0, 0)]
    assert waiting.closed
    waiting.reply(ok(b"late"))
    upload.reply(ok(b"late"))
    assert rig.out == b""
    assert told == [(0, 0)]


def test_a_slow_reader_is_heard_by_who_streams_to_it() -> None:
    """`write` says that the peer reads slowly; `writable` reaches the answer that is being sent."""
    rig, sink = Rig(), Sink()
    rig.feed(GET)
    exchange = rig.calls[0].exchange
    exchange.stream_to(sink)
    exchange.start(200, [])
    assert exchange.write(b"fast")
    rig.link.slow = True
    assert not exchange.write(b"slow")
    rig.wire.writable()
    assert sink.heard == ["writable"]


def test_what_is_under_way_is_finished_when_the_daemon_drains() -> None:
    """No further request is served; the last answer says close, and the connection ends with it."""
    rig = Rig()
    rig.feed(GET + GET)
    assert not rig.wire.drain()
    rig.feed(GET)
    for number, call in enumerate(rig.calls):
        call.exchange.reply(ok(b"%d" % number))
    assert [answer.body for answer in rig.answers()] == [b"0", b"1"]
    assert rig.answers()[1].headers[b"connection"] == b"close"
    assert rig.link.shut_down


def test_a_request_half_here_when_the_daemon_drains_is_served() -> None:
    """Its body may still come; after its answer the connection closes."""
    rig = Rig(lambda call: call.exchange.reply(ok(call.body)))
    rig.feed(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nha")
    assert not rig.wire.drain()
    rig.feed(b"lf" + GET)
    assert [answer.body for answer in rig.answers()] == [b"half"]
    assert len(rig.calls) == 1
    assert rig.link.shut_down


def test_an_idle_connection_is_drained_at_once() -> None:
    """Nothing is under way: whoever drains may close it."""
    assert Rig().wire.drain()


def test_100_continue_never_comes_between_other_answers() -> None:
    """While earlier answers wait, it is left out: the client goes on by itself (RFC 9110 10.1.1)."""
    rig = Rig()
    rig.feed(GET + b"POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n")
    assert rig.out == b""
    rig.feed(b"x")
    for call in rig.calls:
        call.exchange.reply(ok(call.method))
    assert [answer.body for answer in rig.answers()] == [b"GET", b"POST"]
    assert b"100 Continue" not in rig.out


def test_a_streamed_answer_is_accounted_with_its_bytes() -> None:
    """Whoever keeps the books is told the bytes of the body, not those of its chunks."""
    rig = Rig()
    rig.feed(GET)
    told: list[tuple[int, int]] = []
    exchange = rig.calls[0].exchange
    exchange.ended = lambda status, size, /: told.append((status, size))
    exchange.start(200, ())
    exchange.write(b"seven b")
    exchange.write(b"ytes")
    exchange.end()
    assert told == [(200, 11)]
