"""HTTP/1.1 requests on one connection: however the bytes are cut, the same requests are served, once each, in order."""

import pytest

from noded.calls import HttpCall, Reply
from noded.server_http1 import READ_BUFFER_BYTES
from noded.wire.http1_rules import HEAD_SLACK_BYTES
from tests.wire.recording_link import MAX_BODY_BYTES, PIECES, Rig, echo, pieces

pytestmark = pytest.mark.parametrize("how", PIECES)

GET = b"GET /a?x=1 HTTP/1.1\r\nHost: h\r\n\r\n"
POST = b"POST /b HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = (
    b"POST /c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\nT: z\r\n\r\n"
)


def served(data: bytes, how: str) -> list[Rig]:
    """What becomes of `data` with a handler that echoes, for every such cutting."""
    rigs = []
    for cutting in pieces(data, how):
        rig = Rig(echo)
        for piece in cutting:
            rig.feed(piece)
        rigs.append(rig)
    return rigs


def bodies(rig: Rig, *methods: bytes) -> list[bytes]:
    return [answer.body for answer in rig.answers(*methods)]


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (GET, [b"GET /a?x=1 "]),
        (POST, [b"POST /b? hello"]),
        (CHUNKED, [b"POST /c? hello"]),
        (GET + POST + CHUNKED + GET, [b"GET /a?x=1 ", b"POST /b? hello", b"POST /c? hello", b"GET /a?x=1 "]),
        (b"\r\n\r\n" + GET, [b"GET /a?x=1 "]),
        (b"PUT /d HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n" + GET, [b"PUT /d? ", b"GET /a?x=1 "]),
    ],
    ids=["get", "length", "chunked", "pipelined", "blank lines first", "empty body"],
)
def test_requests_are_served_in_order_however_they_are_cut(data: bytes, told: list[bytes], how: str) -> None:
    """A request's method, path, query and body arrive whole, and its connection stays open for the next."""
    for rig in served(data, how):
        assert bodies(rig) == told
        assert not rig.link.shut_down


def test_headers_arrive_in_lower_case_with_their_values_as_sent(how: str) -> None:
    """Names in lower case, values untouched, in order; a chunked body's trailers are no headers."""
    for cutting in pieces(CHUNKED, how):
        rig = Rig(echo)
        for piece in cutting:
            rig.feed(piece)
        assert rig.calls[0].headers == [(b"host", b"h"), (b"transfer-encoding", b"chunked")]


def test_the_answer_to_head_has_a_length_and_no_body(how: str) -> None:
    """HEAD is told what GET would be told, the body left out, and the next request is served."""
    for rig in served(b"HEAD /a HTTP/1.1\r\nHost: h\r\n\r\n" + GET, how):
        head, after = rig.answers(b"HEAD", b"GET")
        assert head.headers[b"content-length"] == b"9"
        assert head.body == b""
        assert after.body == b"GET /a?x=1 "


@pytest.mark.parametrize(
    "head",
    [
        b"GET /a HTTP/1.0\r\n",
        b"GET /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\n",
    ],
    ids=["1.0", "close"],
)
def test_the_connection_closes_after_the_answer_where_it_is_not_kept(head: bytes, how: str) -> None:
    """Connection: close, and HTTP/1.0, end the connection after the answer; what follows is unread."""
    for rig in served(head + b"\r\n" + GET, how):
        (answer,) = rig.answers()
        assert rig.out.startswith(b"HTTP/1.0" if b"1.0" in head else b"HTTP/1.1")
        assert answer.headers.get(b"connection") == (None if b"1.0" in head else b"close")
        assert len(rig.calls) == 1
        assert rig.link.shut_down


def test_http_1_0_is_kept_where_it_asks_for_that(how: str) -> None:
    """Keep-alive is asked for and granted by a header; the answer is of the version that asked."""
    old = b"GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
    for rig in served(old + old + GET, how):
        one, two, three = rig.answers()
        assert (one.headers[b"connection"], two.headers[b"connection"]) == (b"keep-alive", b"keep-alive")
        assert b"connection" not in three.headers
        assert rig.out.count(b"HTTP/1.0 200 OK") == 2
        assert not rig.link.shut_down


@pytest.mark.parametrize(
    "junk", [b"garbage\r\n\r\n", b"FOO / HTTP/1.1\r\n\r\n", b"GET /%2 HTTP/1.1\r\n\r\n", b"\0\0\0"]
)
def test_what_is_no_http_is_answered_400_after_the_requests_before_it(junk: bytes, how: str) -> None:
    """A peer's garbage ends its connection, not the answers it was owed."""
    for rig in served(GET + junk, how):
        good, bad = rig.answers()
        assert good.body == b"GET /a?x=1 "
        assert (bad.status, bad.body, bad.headers[b"connection"]) == (400, b"400 Bad Request", b"close")
        assert rig.link.shut_down


def test_garbage_behind_a_request_that_waits_costs_it_nothing(how: str) -> None:
    """The request's answer leaves when it is ready, then the 400, then the connection closes."""
    for cutting in pieces(GET + b"garbage\r\n\r\n", how):
        rig = Rig()
        for piece in cutting:
            rig.feed(piece)
        assert rig.out == b""
        assert not rig.link.shut_down
        rig.calls[0].exchange.reply(Reply(200, b"late"))
        assert [(answer.status, answer.body) for answer in rig.answers()] == [(200, b"late"), (400, b"400 Bad Request")]
        assert rig.link.shut_down


def test_a_body_with_length_and_chunks_at_once_is_refused(how: str) -> None:
    """Two framings in one request are how requests are smuggled (RFC 9112 6.3): 400, and no handler runs."""
    data = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    for rig in served(data, how):
        assert [answer.status for answer in rig.answers()] == [400]
        assert rig.calls == []


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_body_over_the_limit_is_told_to_the_handler_and_not_kept(how: str, framing: str) -> None:
    """The handler is given `too_large` and answers; what little is left of the body is dropped."""
    body = b"x" * (MAX_BODY_BYTES + 1)
    framed = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if framing == "chunked" else body
    field = b"Transfer-Encoding: chunked" if framing == "chunked" else b"Content-Length: %d" % len(body)
    request = b"POST /b HTTP/1.1\r\nHost: h\r\n%b\r\n\r\n" % field + framed
    if how == "cut in two":
        request = request[: len(request) - len(framed)] + framed
    cuttings = pieces(request, how)
    for cutting in cuttings[:: max(1, len(cuttings) // 50)]:
        rig = Rig(lambda call: call.exchange.reply(Reply(400 if call.too_large else 200)))
        for piece in cutting:
            rig.feed(piece)
        (answer,) = rig.answers()
        assert answer.status == 400
        assert len(rig.calls) == 1
        assert len(rig.calls[0].body) <= MAX_BODY_BYTES
        rig.feed(GET)
        assert [each.status for each in rig.answers()] == [400, 200]


def test_a_body_of_exactly_the_limit_is_served(how: str) -> None:
    """The limit itself is allowed."""
    request = b"POST /b HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % MAX_BODY_BYTES + b"x" * MAX_BODY_BYTES
    cuttings = pieces(request, how)
    for cutting in cuttings[:: max(1, len(cuttings) // 50)]:
        rig = Rig(echo)
        for piece in cutting:
            rig.feed(piece)
        assert rig.calls[0].body == b"x" * MAX_BODY_BYTES
        assert not rig.calls[0].too_large
        assert not rig.link.shut_down


@pytest.mark.parametrize(
    "start",
    [
        b"GET /" + b"a" * (2 * READ_BUFFER_BYTES),
        b"GET / HTTP/1.1\r\nX: " + b"a" * (2 * READ_BUFFER_BYTES),
        b"GET / HTTP/1.1\r\n" + b"X: 1\r\n" * READ_BUFFER_BYTES,
        b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nT: " + b"a" * (2 * READ_BUFFER_BYTES),
        b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1;e=" + b"a" * (2 * READ_BUFFER_BYTES),
        b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n"
        + b"T: 1\r\n" * (READ_BUFFER_BYTES * 6),
    ],
    ids=["target", "header", "headers", "trailer", "chunk extension", "trailers"],
)
def test_a_head_without_end_is_refused_431(start: bytes, how: str) -> None:
    """Target, headers, trailers and chunk extensions are bounded; beyond, the answer is 431 and the end."""
    cuttings = pieces(start, "byte by byte") if how == "byte by byte" else [[start], [start[:99], start[99:]]]
    for cutting in cuttings:
        rig = Rig(echo)
        for piece in cutting:
            rig.feed(piece)
        assert [answer.status for answer in rig.answers()] == [431]
        assert rig.calls == []
        assert rig.link.shut_down


@pytest.mark.parametrize("body", [b"", b"hello"], ids=["no body", "body"])
def test_an_upgrade_that_is_asked_for_is_ignored(body: bytes, how: str) -> None:
    """`Upgrade: h2c`, which Java's client sends by default, is served as HTTP/1.1, body and all; the next one too."""
    upgrade = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"
    request = b"POST /u HTTP/1.1\r\nHost: h\r\n%bContent-Length: %d\r\n\r\n%b" % (upgrade, len(body), body)
    for rig in served(request + GET, how):
        assert bodies(rig) == [b"POST /u? " + body, b"GET /a?x=1 "]
        assert not rig.link.shut_down


def test_after_connect_nothing_more_is_read(how: str) -> None:
    """CONNECT asks for a tunnel: it gets its answer, and the connection closes."""
    for rig in served(b"CONNECT x:1 HTTP/1.1\r\nHost: h\r\n\r\n" + GET, how):
        assert len(rig.calls) == 1
        assert rig.link.shut_down


def test_100_continue_is_sent_once_when_the_body_is_waited_for(how: str) -> None:
    """A client that asks with Expect is told to go on before its body came, and is answered after it."""
    head = b"POST /b HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
    for cutting in pieces(head, how):
        rig = Rig(echo)
        for piece in cutting:
            rig.feed(piece)
        assert rig.out == b"HTTP/1.1 100 Continue\r\n\r\n"
        rig.feed(b"hello")
        assert [answer.body for answer in rig.answers()] == [b"POST /b? hello"]


def test_a_request_cut_off_by_the_peers_end_reaches_no_handler(how: str) -> None:
    """Half a request never becomes whole: nothing runs, nothing is answered, nothing is left waiting."""
    for cutting in pieces(POST[:-1], how):
        rig = Rig(echo)
        for piece in cutting:
            rig.feed(piece)
        assert rig.wire.eof()
        assert rig.calls == []


def test_a_half_closed_peer_gets_the_answers_it_waits_for(how: str) -> None:
    """A peer that ends its side, as `nc -N` does, is answered, and then the connection closes."""

    def answer_later(call: HttpCall) -> None:
        waiting.append(call)

    waiting: list[HttpCall] = []
    for cutting in pieces(GET + POST, how):
        waiting.clear()
        rig = Rig(answer_later)
        for piece in cutting:
            rig.feed(piece)
        assert not rig.wire.eof()
        for call in waiting:
            assert not rig.link.shut_down
            echo(call)
        assert bodies(rig) == [b"GET /a?x=1 ", b"POST /b? hello"]
        assert rig.link.shut_down


def test_a_body_that_looks_like_a_request_is_a_body(how: str) -> None:
    """Bytes inside a body, however they are cut, are never read as a request, though their headers were met before."""
    request = b"POST /b HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%b" % (2 * len(GET), GET + GET)
    for cutting in pieces(request, how):
        rig = Rig(echo)
        rig.feed(GET + GET)
        for piece in cutting:
            rig.feed(piece)
        assert bodies(rig) == [b"GET /a?x=1 "] * 2 + [b"POST /b? " + GET + GET]


def test_a_header_that_looks_like_a_request_is_a_header(how: str) -> None:
    """The same inside a head."""
    request = b"GET /h HTTP/1.1\r\nX: y" + GET
    for cutting in pieces(request, how):
        rig = Rig(echo)
        rig.feed(GET + GET)
        for piece in cutting:
            rig.feed(piece)
        assert bodies(rig) == [b"GET /a?x=1 "] * 2 + [b"GET /h? "]
        assert rig.calls[2].headers == [(b"x", b"yGET /a?x=1 HTTP/1.1"), (b"host", b"h")]


def test_the_headers_of_a_streamed_request_are_not_taken_for_those_of_the_next(how: str) -> None:
    """A section of headers always means what it meant when it was parsed, whatever was streamed in between."""
    head = b"POST /b HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n"
    for cutting in pieces(head + b"hello" + GET, how):
        rig = Rig(lambda call: call.exchange.stream_to(Collected(call)), streams=lambda call: call.path == b"/b")
        for piece in cutting:
            rig.feed(piece)
        rig.feed(head + b"again" + GET)
        assert [(call.method, call.path) for call in rig.calls] == [(b"POST", b"/b"), (b"GET", b"/a")] * 2


class Collected:
    """Answers a streamed request with its body once that is whole, and one with no body at once."""

    def __init__(self, call: HttpCall) -> None:
        self._exchange = call.exchange
        self._body = call.body
        if call.body_complete:
            self._exchange.reply(Reply(200, self._body))

    def on_body(self, data: bytes) -> None:
        self._body += data

    def on_body_end(self) -> None:
        self._exchange.reply(Reply(200, self._body))

    def on_writable(self) -> None:
        """Never slow here."""

    def on_peer_gone(self) -> None:
        """Never gone here."""


def test_a_request_that_names_no_host_is_refused(how: str) -> None:
    """HTTP/1.1 must say whom it is for, with a body on its way too; what follows is not read."""
    for request in (b"GET /a HTTP/1.1\r\nX: 1\r\n\r\n", b"POST /b HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello"):
        for rig in served(request + GET, how):
            assert not rig.calls
            assert [answer.status for answer in rig.answers()] == [400]
            assert rig.link.shut_down


REFUSED = {
    "no such version": (b"GET / HTTP/9.1\r\nHost: h\r\n\r\n", b"505 HTTP Version Not Supported"),
    "version 2 without its preface": (b"GET / HTTP/2.0\r\nHost: h\r\n\r\n", b"505 HTTP Version Not Supported"),
    "version 0.9": (b"GET / HTTP/0.9\r\n\r\n", b"400 Bad Request"),
    "two hosts": (b"GET / HTTP/1.1\r\nHost: h\r\nHost: i\r\n\r\n", b"400 Bad Request"),
    "a host with a space": (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", b"400 Bad Request: malformed Host header"),
    "half an escape": (b"GET /a%2 HTTP/1.1\r\nHost: h\r\n\r\n", b"400 Bad Request"),
    "coding": (
        b"PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"501 Not Implemented",
    ),
    "no coding": (b"PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: identity\r\n\r\n", b"501 Not Implemented"),
    "an expectation": (b"PUT / HTTP/1.1\r\nHost: h\r\nExpect: tea\r\n\r\n", b"417 Expectation Failed"),
}


@pytest.mark.parametrize("wrong", REFUSED)
def test_a_head_that_http_does_not_allow_is_refused_as_go_does(wrong: str, how: str) -> None:
    """No handler runs, the answer says why in Go's words, and the connection ends."""
    request, said = REFUSED[wrong]
    for rig in served(GET + request + GET, how):
        assert len(rig.calls) == 1
        good, refused = rig.out.split(b"\r\n\r\n", 1)[0], rig.out.rpartition(b"HTTP/1.1 ")[2]
        assert good.startswith(b"HTTP/1.1 200 OK")
        assert refused.startswith(said)
        assert b"\r\nConnection: close\r\n" in refused
        assert rig.link.shut_down


def test_a_bad_escape_in_a_query_is_the_handlers_matter(how: str) -> None:
    """Only the path must be decodable; Go leaves out what it cannot decode of a query."""
    for rig in served(b"GET /a?b=%zz HTTP/1.1\r\nHost: h\r\n\r\n" * 2, how):
        assert [call.query for call in rig.calls] == [b"b=%zz"] * 2


def test_an_absolute_target_is_its_path_at_its_own_host(how: str) -> None:
    """A server must take the absolute form; its host counts, not the header's (RFC 9112 3.2.2)."""
    absolute = b"GET http://other:80/a?x=1 HTTP/1.1\r\nHost: h\r\n\r\n"
    bare = b"GET http://other HTTP/1.1\r\nHost: h\r\n\r\n"
    for rig in served(absolute + bare + GET, how):
        first, second, third = rig.calls
        assert (first.path, first.query, first.header(b"host")) == (b"/a", b"x=1", b"other:80")
        assert (second.path, second.header(b"host")) == (b"/", b"other")
        assert third.header(b"host") == b"h"


def test_options_of_the_whole_server_are_none(how: str) -> None:
    """`OPTIONS *` is answered by the server itself: 200 with no body."""
    for rig in served(b"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n" + GET, how):
        nothing, after = rig.answers()
        assert (nothing.status, nothing.body, nothing.headers[b"content-length"]) == (200, b"", b"0")
        assert b"content-type" not in nothing.headers
        assert (after.status, len(rig.calls)) == (200, 1)


@pytest.mark.parametrize("over", [0, 1])
def test_a_head_may_be_as_long_as_the_read_buffer_and_go_s_slack(over: int, how: str) -> None:
    """One byte more is refused with 431."""
    bare = b"GET / HTTP/1.1\r\nHost: h\r\nX: \r\n\r\n"
    fill = READ_BUFFER_BYTES + HEAD_SLACK_BYTES - len(bare) + over
    request = bare.replace(b"X: ", b"X: " + b"a" * fill)
    cuttings = pieces(request, how)
    for cutting in cuttings[:: max(1, len(cuttings) // 20)]:
        rig = Rig(echo)
        for piece in cutting:
            rig.feed(piece)
        assert [answer.status for answer in rig.answers()] == [431 if over else 200]
