"""HTTP/1.1 with `h11` as the other end: as client of our server, and as the server our channel calls."""

import h11
from hypothesis import given, settings
from hypothesis import strategies as st

from noded.calls import Header, HttpCall, Reply
from noded.wire.http1 import CHUNKED, LAST_CHUNK, ResponseReader, chunk, request_head
from tests.wire.recording_link import Rig, cut

PIECES = st.lists(st.binary(max_size=400), max_size=4)
CUTS = st.lists(st.integers(1, 300), min_size=1, max_size=6)
EXTRA = st.lists(
    st.tuples(
        st.sampled_from([b"x-a", b"x-b", b"cookie"]), st.text("abc 09,;=", max_size=20).map(str.strip).map(str.encode)
    ),
    max_size=3,
)
TRAILERS = st.lists(st.tuples(st.sampled_from([b"x-t", b"x-u"]), st.sampled_from([b"1", b"two"])), max_size=2)
FRAMINGS = st.sampled_from(["none", "length", "chunked"])
REQUESTS = st.tuples(
    st.sampled_from(["GET", "POST", "PUT", "DELETE", "HEAD"]), EXTRA, FRAMINGS, PIECES, TRAILERS, st.booleans()
)
ANSWERS = st.tuples(st.sampled_from([200, 204, 304, 404, 500]), FRAMINGS, PIECES, TRAILERS)
Request = tuple[str, list[Header], str, list[bytes], list[Header], bool]
Given = tuple[int, str, list[bytes], list[Header]]
FRAMING: dict[str, list[Header]] = {"none": [], "chunked": [(b"transfer-encoding", b"chunked")]}


def framing(name: str, pieces: list[bytes]) -> list[Header]:
    return [(b"content-length", b"%d" % sum(map(len, pieces)))] if name == "length" else FRAMING[name]


class Answerer:
    """Answers each request, in pieces or whole, once its body is there."""

    def __init__(self, answers: list[Given]) -> None:
        self.left = list(answers)
        self.bodies: list[bytes] = []

    def __call__(self, call: HttpCall) -> None:
        if call.body_complete:
            self.answer(call, call.body)
        else:
            call.exchange.stream_to(Upload(self, call))

    def answer(self, call: HttpCall, body: bytes) -> None:
        self.bodies.append(body)
        status, way, pieces, trailers = self.left.pop(0)
        if way == "none":
            call.exchange.reply(Reply(status, b"" if status in (204, 304) else b"".join(pieces)))
            return
        if status in (204, 304):
            pieces, trailers = [], []
        call.exchange.start(status, [] if status in (204, 304) or way == "chunked" else framing(way, pieces))
        for piece in pieces:
            call.exchange.write(piece)
        call.exchange.end(trailers if way == "chunked" else ())


class Upload:
    """Gathers one streamed body."""

    def __init__(self, answerer: Answerer, call: HttpCall) -> None:
        self.answerer = answerer
        self.call = call
        self.body = b""

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_body_end(self) -> None:
        self.answerer.answer(self.call, self.body)

    def on_writable(self) -> None:
        pass

    def on_peer_gone(self) -> None:
        pass


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.tuples(REQUESTS, ANSWERS), min_size=1, max_size=5), CUTS, st.booleans())
def test_an_h11_client_and_our_server_agree(
    exchanges: list[tuple[Request, Given]],
    cuts: list[int],
    streams: bool,  # noqa: FBT001 - hypothesis gives it
) -> None:
    """One kept connection, one request after another: each body arrives as sent, each answer is read as given."""
    answerer = Answerer([answer for _, answer in exchanges])
    rig = Rig(answerer, streams=lambda _: streams)
    client = h11.Connection(h11.CLIENT)
    for number, ((method, extra, way, body, trailers, expects), answer) in enumerate(exchanges):
        pieces = [] if way == "none" else body
        headers = [(b"host", b"h"), *extra, *framing(way, pieces)]
        if expects and way != "none":
            headers.append((b"expect", b"100-continue"))
        sent = client.send(h11.Request(method=method, target=b"/%d" % number, headers=headers)) or b""
        for piece in pieces:
            sent += client.send(h11.Data(data=piece)) or b""
        sent += client.send(h11.EndOfMessage(headers=trailers if way == "chunked" else [])) or b""
        before = len(rig.out)
        for piece in cut(sent, cuts):
            rig.feed(piece)
        assert not rig.link.shut_down
        call = rig.calls[-1]
        assert (call.method, call.path) == (method.encode(), b"/%d" % number)
        assert [field for field in call.headers if field[0] in {b"x-a", b"x-b", b"cookie"}] == extra
        assert answerer.bodies[-1] == b"".join(pieces)
        _read_answer(client, rig.out[before:], cuts, method, answer)
        client.start_next_cycle()
    assert len(rig.calls) == len(exchanges)


def _read_answer(client: h11.Connection, out: bytes, cuts: list[int], method: str, answer: Given) -> None:
    status, way, pieces, trailers = answer
    body, seen, ended = b"", 0, None
    for piece in cut(out, cuts):
        client.receive_data(piece)
        while (event := client.next_event()) is not h11.NEED_DATA and event is not h11.PAUSED:
            if isinstance(event, h11.Response):
                seen = event.status_code
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                ended = event
                break
    assert seen == status
    assert ended is not None
    silent = method == "HEAD" or status in (204, 304)
    assert body == (b"" if silent else b"".join(pieces))
    assert list(ended.headers) == (trailers if way == "chunked" and not silent else [])
    assert client.trailing_data[0] == b""


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.tuples(REQUESTS, ANSWERS, st.booleans()), min_size=1, max_size=5), CUTS)
def test_our_client_and_an_h11_server_agree(exchanges: list[tuple[Request, Given, bool]], cuts: list[int]) -> None:
    """Requests written by us are what h11 reads; what it answers, interim answers and trailers too, is what we read."""
    server, reader = h11.Connection(h11.SERVER), ResponseReader()
    for (method, extra, way, sent_body, _, _), (status, answer_way, parts, given_trailers), interim in exchanges:
        pieces = [] if way == "none" else sent_body
        line = {"none": b"", "chunked": CHUNKED, "length": b"content-length: %d\r\n" % sum(map(len, pieces))}[way]
        sent = request_head(method.encode(), b"/a?b=c", b"h", extra, line)
        for piece in pieces:
            sent += b"".join(chunk(piece)) if way == "chunked" and piece else piece
        sent += LAST_CHUNK if way == "chunked" else b""
        request, body = _read_request(server, sent, cuts)
        assert (request.method, request.target) == (method.encode(), b"/a?b=c")
        assert [field for field in request.headers if field[0] in {b"x-a", b"x-b", b"cookie"}] == extra
        assert body == b"".join(pieces)

        silent = method == "HEAD" or status in (204, 304)
        answer_pieces = [] if silent else parts
        trailers = given_trailers if answer_way == "chunked" and not silent else []
        out = server.send(h11.InformationalResponse(status_code=103, headers=[])) or b"" if interim else b""
        out += (
            server.send(
                h11.Response(
                    status_code=status, headers=framing(answer_way if answer_way != "none" else "length", answer_pieces)
                )
            )
            or b""
        )
        for piece in answer_pieces:
            out += server.send(h11.Data(data=piece)) or b""
        out += server.send(h11.EndOfMessage(headers=trailers)) or b""
        reader.expect(method.encode())
        got = b""
        for piece in cut(out, cuts):
            assert not reader.complete
            reader.feed(piece)
            got += reader.take_body()
        assert (reader.complete, reader.keep_alive, reader.status) == (True, True, status)
        assert got == b"".join(answer_pieces)
        server.start_next_cycle()


def _read_request(server: h11.Connection, data: bytes, cuts: list[int]) -> tuple[h11.Request, bytes]:
    request, body = None, b""
    for piece in cut(data, cuts):
        server.receive_data(piece)
        while (event := server.next_event()) is not h11.NEED_DATA and event is not h11.PAUSED:
            if isinstance(event, h11.Request):
                request = event
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                assert request is not None
                return request, body
    raise AssertionError("h11 waits for more of the request")
