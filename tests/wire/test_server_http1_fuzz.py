"""HTTP/1.1 against anything: no bytes raise, and every request gets at most one answer, in order."""

import h11
from hypothesis import given, settings
from hypothesis import strategies as st

from noded.calls import HttpCall, Reply
from tests.wire.recording_link import Rig, cut, echo, read_answers

TOKENS = st.sampled_from(
    [
        b"GET ", b"POST ", b"HEAD ", b"CONNECT ", b"OPTIONS ", b"PRI * HTTP/2.0", b"/", b"/up", b"/v1.0/state/s/k",
        b" HTTP/1.1", b" HTTP/1.0", b"\r\n", b"\r\n\r\n", b"\n", b"Host: h", b"Content-Length: ", b"5", b"0", b"-1",
        b"99999999999999999999", b"hello", b"Transfer-Encoding: chunked", b"Connection: close", b"Connection: upgrade",
        b"Upgrade: h2c", b"Expect: 100-continue", b": ", b"\0", b"\xff", b"a\r\n", b"0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", b"POST /up HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n",
    ]
)  # fmt: skip
STREAMS = st.lists(TOKENS | st.binary(max_size=40), max_size=40).map(b"".join)
CUTS = st.lists(st.integers(1, 60), min_size=1, max_size=8)


class Uploads:
    """Answers streamed requests once their body is whole."""

    def __init__(self, call: HttpCall) -> None:
        self.call = call
        self.body = call.body

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_body_end(self) -> None:
        self.call.exchange.reply(Reply(200, self.body))

    def on_writable(self) -> None:
        pass

    def on_peer_gone(self) -> None:
        pass


def serve(call: HttpCall) -> None:
    if call.body_complete:
        echo(call)
    else:
        call.exchange.stream_to(Uploads(call))


def run(pieces: list[bytes]) -> Rig:
    rig = Rig(serve, streams=lambda call: call.path == b"/up")
    for piece in pieces:
        rig.feed(piece)
    return rig


@settings(deadline=None, max_examples=400, derandomize=True)
@given(STREAMS, CUTS)
def test_no_bytes_raise_and_no_request_is_answered_twice(data: bytes, sizes: list[int]) -> None:
    """Whatever is sent, what comes back are whole HTTP answers: one per request, and one refusal at most."""
    rig = run(cut(data, sizes))
    methods = tuple(call.method for call in rig.calls)
    answers = read_answers(rig.out, methods, ended=rig.link.shut_down)
    whole = [answer for answer in answers if answer.status == 200]
    refusals = [answer.status for answer in answers if answer.status != 200]
    assert len(whole) <= len(rig.calls)
    assert refusals in ([], [400], [431])
    assert not refusals or rig.link.shut_down


@settings(deadline=None, max_examples=400, derandomize=True)
@given(STREAMS, CUTS)
def test_the_same_bytes_are_the_same_requests_however_they_are_cut(data: bytes, sizes: list[int]) -> None:
    """A cut changes nothing: the same requests, with the same bodies and the same answers."""
    whole, pieces = Rig(echo), Rig(echo)
    whole.feed(data)
    for piece in cut(data, sizes):
        pieces.feed(piece)
    assert [(c.method, c.path, c.query, c.body, list(c.headers)) for c in whole.calls] == [
        (c.method, c.path, c.query, c.body, list(c.headers)) for c in pieces.calls
    ]
    assert whole.out == pieces.out.replace(b"HTTP/1.1 100 Continue\r\n\r\n", b"")
    assert whole.link.shut_down == pieces.link.shut_down


REQUESTS = st.lists(
    st.tuples(
        st.sampled_from(["GET", "POST", "PUT", "DELETE", "HEAD"]),
        st.sampled_from(["/", "/v1.0/state/s/k", "/a?b=c"]),
        st.none() | st.lists(st.binary(max_size=300), max_size=4),
        st.booleans(),
    ),
    min_size=1,
    max_size=8,
)


@settings(deadline=None, max_examples=200, derandomize=True)
@given(REQUESTS, CUTS)
def test_h11_and_we_agree(requests: list[tuple[str, str, list[bytes] | None, bool]], sizes: list[int]) -> None:
    """What h11 sends arrives as it was meant, and h11 reads every answer."""
    sent = b""
    for method, target, parts, chunked in requests:
        client = h11.Connection(h11.CLIENT)
        headers = [("Host", "h")]
        if parts is not None:
            size = str(sum(map(len, parts)))
            headers.append(("Transfer-Encoding", "chunked") if chunked else ("Content-Length", size))
        sent += client.send(h11.Request(method=method, target=target, headers=headers)) or b""
        for part in parts or ():
            sent += client.send(h11.Data(data=part)) or b""
        sent += client.send(h11.EndOfMessage()) or b""
    rig = run(cut(sent, sizes))
    assert [
        (call.method.decode(), call.path + (b"?" + call.query if call.query else b""), call.body) for call in rig.calls
    ] == [(method, target.encode(), b"".join(parts or ())) for method, target, parts, _ in requests]
    answers = rig.answers(*(method.encode() for method, *_ in requests))
    assert [answer.status for answer in answers] == [200] * len(requests)
