"""Answers that come before the end of a request's body, and bodies that are too large for one."""

from noded.api_log import with_log
from noded.api_token import with_token
from noded.calls import HttpCall, Reply
from noded.config.http_settings import ApiLogging
from noded.cors import Cors, with_cors
from noded.routes import http_table
from noded.server_http1 import MAX_SKIPPED_BYTES
from tests.wire.recording_link import MAX_BODY_BYTES, Rig
from tests.wire.test_server_http1_answers import GET, UPLOAD, Sink, ok, streamed


def test_an_early_answer_behind_another_leaves_in_its_turn() -> None:
    """An earlier request still waits; the rest of the body is dropped all the same."""
    rig = streamed()
    rig.feed(GET + UPLOAD + b"3\r\none\r\n")
    rig.calls[1].exchange.reply(ok(b"enough"))
    rig.feed(b"3\r\ntwo\r\n0\r\n\r\n" + GET)
    rig.calls[0].exchange.reply(ok(b"first"))
    rig.calls[2].exchange.reply(ok(b"last"))
    assert [answer.body for answer in rig.answers()] == [b"first", b"enough", b"last"]


def test_a_length_over_the_limit_is_told_to_the_handler_at_once() -> None:
    """It need not wait for a body that it may not take."""
    rig = streamed()
    rig.feed(b"POST /up HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\nx" % (MAX_BODY_BYTES + 1))
    assert rig.calls[0].too_large


def over_the_limit(rig: Rig) -> None:
    rig.feed(b"%x\r\n%b\r\n" % (MAX_BODY_BYTES + 1, b"x" * (MAX_BODY_BYTES + 1)))


def test_chunks_over_the_limit_are_answered() -> None:
    """Whoever took the body hears that it is over, its accounts are closed, and the request is handled as too large."""
    rig, sink = streamed(), Sink()
    told: list[tuple[int, int]] = []
    rig.feed(UPLOAD)
    (call,) = rig.calls
    call.exchange.ended = lambda status, size, /: told.append((status, size))
    call.exchange.stream_to(sink)
    over_the_limit(rig)
    assert (sink.heard, told) == (["gone"], [(0, 0)])
    again = rig.calls[1]
    assert again.too_large
    assert not again.body_complete
    again.exchange.reply(Reply(500, b"too large"))
    assert [answer.body for answer in rig.answers()] == [b"too large"]


def test_what_stands_before_dispatch_sees_a_request_over_the_limit_as_it_came() -> None:
    """Its token is still with it, no header is added twice, and both goes of it are accounted for."""
    told: list[int] = []

    def handle(call: HttpCall) -> None:
        call.exchange.ended = lambda status, _size, /: told.append(status)
        if call.too_large:
            call.exchange.reply(Reply(500, b"too large"))

    logged = with_log(ApiLogging(enabled=True), http_table(), handle)
    rig = Rig(with_cors(Cors(("*",)), with_token(b"secret", logged)), lambda _: True)
    rig.feed(UPLOAD.replace(b"Host: h", b"Host: h\r\nDapr-Api-Token: secret"))
    over_the_limit(rig)
    (answer,) = rig.answers()
    assert (answer.status, answer.body) == (500, b"too large")
    assert rig.out.lower().count(b"vary:") == 1
    assert told == [0, 500]


def test_a_request_that_passes_the_limit_while_it_is_held_begins_once() -> None:
    """Its peer reads no answers; when it does, the request is handled as too large, and not before that as it was."""
    rig = streamed()
    rig.wire.hold()
    rig.feed(UPLOAD)
    over_the_limit(rig)
    assert rig.calls == []
    rig.wire.writable()
    assert [call.too_large for call in rig.calls] == [True]


def test_chunks_over_the_limit_break_off_an_answer_that_has_begun() -> None:
    """Nothing else can be told by then."""
    rig = streamed()
    rig.feed(UPLOAD)
    rig.calls[0].exchange.start(200, [])
    over_the_limit(rig)
    assert rig.link.aborted


def test_the_little_that_is_left_of_an_answered_body_is_dropped() -> None:
    """An answer may come before the body's end: the connection is kept, and the next request served."""
    rig = streamed()
    rig.feed(b"POST /up HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n12345")
    rig.calls[0].exchange.reply(ok(b"early"))
    rig.feed(b"67890" + GET)
    rig.calls[1].exchange.reply(ok(b"next"))
    assert [answer.body for answer in rig.answers()] == [b"early", b"next"]
    assert rig.calls[1].path == b"/"


def test_a_body_that_goes_on_after_its_answer_ends_the_connection() -> None:
    """Go drops 256 KiB; a peer that sends more is given time to read its answer, and no other."""
    rig = streamed()
    rig.feed(UPLOAD)
    rig.calls[0].exchange.reply(ok(b"early"))
    chunk = b"400\r\n%b\r\n" % (b"x" * 1024)
    sent = 0
    while not rig.link.shut_down:
        rig.feed(chunk)
        sent += 1024
        assert sent <= MAX_SKIPPED_BYTES + 1024
    assert rig.link.lingers
    assert sent > MAX_SKIPPED_BYTES


def test_much_that_is_left_of_an_answered_body_is_not_read() -> None:
    """The answer says that the connection closes, and the peer has time to read it."""
    rig = streamed()
    rig.feed(b"POST /up HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n1" % (MAX_SKIPPED_BYTES + 2))
    rig.calls[0].exchange.reply(ok(b"early"))
    (answer,) = rig.answers()
    assert answer.headers[b"connection"] == b"close"
    assert rig.link.lingers


def test_a_drain_while_an_answered_body_is_dropped_ends_the_connection_with_it() -> None:
    """Nothing is under way but that body: its end is the end."""
    rig = streamed()
    rig.feed(b"POST /up HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n12345")
    rig.calls[0].exchange.reply(ok(b"early"))
    assert not rig.wire.drain()
    rig.feed(b"67890")
    assert rig.link.shut_down
