"""HTTP/1.1: requests to the daemon, and apps' answers to it. Known heads and lines must mean what parsed ones mean."""

import re
from collections.abc import Sequence

from noded.calls import Header
from noded.channel_connection import Connection
from noded.channel_contract import ChannelError
from noded.channel_exchange import AppExchange, AppRequest
from noded.wire.http1 import MalformedRequest, MalformedResponse, ResponseReader, header_lines, request_head
from noded.wire.known_answers import KnownAnswers
from tests.fuzz.cuts import cut, split_choice
from tests.fuzz.lone_node import LoneNode, carry, without_etags
from tests.fuzz.target import Target

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_REFUSED = re.compile(
    rb"HTTP/1\.1 4[^\r]*\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: \d+\r\n"
    rb"Connection: close\r\n\r\n4[^\r]*\Z"
)
"""The end of a connection that sent what is no HTTP; which of two faults is told depends on where it was cut."""
HEADERS = (
    b"Host: h\r\n", b"Content-Length: 2\r\n", b"Content-Length: 22\r\n", b"Content-Type: application/json\r\n",
    b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n", b"Connection: keep-alive\r\n",
    b"Expect: 100-continue\r\n",
    b"traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n", b"dapr-app-id: b\r\n",
    b"If-Match: 1\r\n",
    b"Upgrade: h2c\r\nConnection: upgrade\r\n", b"X-A: \t b \r\n", b"host:h\r\n", b" folded\r\n",
)  # fmt: skip
LINES = (
    b"GET /v1.0/state/s/k HTTP/1.1\r\n", b"POST /v1.0/state/s HTTP/1.1\r\n", b"POST /v1.0/state/s/bulk HTTP/1.1\r\n",
    b"DELETE /v1.0/state/s/k HTTP/1.1\r\n", b"GET /v1.0/metadata HTTP/1.1\r\n", b"PUT /v1.0/metadata/k HTTP/1.1\r\n",
    b"POST /v1.0/publish/p/t HTTP/1.1\r\n", b"GET /v1.0/healthz HTTP/1.0\r\n", b"OPTIONS * HTTP/1.1\r\n",
    b"GET /v1.0/invoke/b/method/m?q=/x HTTP/1.1\r\n", b"GET /v1.0/state/s/%2e%2E HTTP/1.1\r\n", b"HEAD / HTTP/1.1\r\n",
    b"GET /v1.0/state/s/k/../l HTTP/1.1\r\n", b"GET http://h/v1.0/healthz HTTP/1.1\r\n", b"CONNECT h:1 HTTP/1.1\r\n",
    b"POST /v1.0/state/s/transaction HTTP/1.1\r\n", b"POST /v1.0/publish/bulk/p/t/u HTTP/1.1\r\n",
)  # fmt: skip
BODIES = (b"[]", b'[{"key":"k","value":1}]', b"2\r\n[]\r\n0\r\n\r\n", b"0\r\nx: y\r\n\r\n", b"\r\n", b"{}")


def requests(raw: bytes) -> None:
    """The same bytes give the same requests and answers: heads known or not, lines known or not, cut or whole."""
    choice, data = split_choice(raw)
    knowing, forgetful = LoneNode(), LoneNode(forgetful=True)
    assert _twice(knowing, [data], streams=True) == _twice(forgetful, [data], streams=True)
    assert knowing.seen == forgetful.seen
    whole, pieces = LoneNode(forgetful=True), LoneNode()
    assert _twice(whole, [data], streams=False) == _twice(pieces, cut(data, choice), streams=False)
    assert whole.seen == pieces.seen


def _twice(node: LoneNode, pieces: Sequence[bytes], *, streams: bool) -> list[tuple[object, ...]]:
    """Send it on one connection, then twice on another: what the first teaches, the second uses."""
    outcomes: list[tuple[object, ...]] = []
    for times in (1, 2):
        wire, link = node.http1(streams=streams)
        carry(wire, link, [*pieces] * times)
        answers = _REFUSED.sub(b"refused", without_etags(bytes(link.sent)).replace(CONTINUE, b""))
        outcomes.append((answers, link.shut_down, link.aborted))
        wire.lost()
    return outcomes


class Transport:
    """asyncio's side of a connection to an app."""

    def __init__(self) -> None:
        self.closed = False

    def write(self, _: bytes) -> None:
        """Sent."""

    def set_write_buffer_limits(self, _: int) -> None:
        """As it likes."""

    def is_closing(self) -> bool:
        """Whether it was closed."""
        return self.closed

    def abort(self) -> None:
        """Close."""
        self.closed = True

    def get_extra_info(self, _: str) -> None:
        """There is no socket."""


class Answers:
    """A channel with one connection, and who takes its answers: everything is written down."""

    host = b"h"
    abandoned = False

    def __init__(self, answers: KnownAnswers) -> None:
        self.answers = answers
        self.told: list[tuple[object, ...]] = []
        self.transport = Transport()
        self.connection = Connection(self)
        self.connection.connection_made(self.transport)  # type: ignore[arg-type]
        self._pieces = b""

    def made(self, connection: Connection) -> None:
        """Open."""

    def released(self, connection: Connection) -> None:
        """Free."""
        self.told.append(("free",))

    def lost(self, connection: Connection) -> None:
        """Gone."""

    def resend(self, exchange: AppExchange) -> None:
        """Sent again elsewhere."""
        self.told.append(("resent",))

    def on_answer(self, status: int, headers: list[Header], body: bytes) -> None:
        """Whole."""
        self.told.append((status, tuple(headers), body))

    def on_head(self, status: int, headers: list[Header]) -> None:
        """In pieces."""
        self.told.append((status, tuple(headers)))

    def on_piece(self, piece: bytes) -> None:
        """One of them."""
        self._pieces += piece

    def on_end(self) -> None:
        """The last."""
        head, self._pieces, pieces = self.told.pop(), b"", self._pieces
        self.told.append((*head, pieces))

    def on_error(self, error: ChannelError) -> None:
        """None."""
        self.told.append(("error",))

    def on_drained(self) -> None:
        """Nothing is written in pieces."""


METHODS = (b"GET", b"POST", b"HEAD", b"PUT", b"DELETE")


def answers(raw: bytes) -> None:
    """Reads of answers, 0xff between them: what is told does not depend on whether their heads are known."""
    choice, data = split_choice(raw)
    reads = [read for read in data.split(b"\xff") if read][:32]
    method = METHODS[choice % len(METHODS)]
    known = KnownAnswers()
    first = _answered(reads, method, known)
    assert first == _answered(reads, method, known)
    _read_in_pieces(data, choice, method)


def _answered(reads: Sequence[bytes], method: bytes, known: KnownAnswers) -> list[tuple[object, ...]]:
    told: list[tuple[object, ...]] = []
    channel = Answers(known)
    for read in reads:
        if channel.transport.closed:
            told += channel.told
            channel = Answers(known)
        if channel.connection.exchange is None:
            channel.connection.carry(AppExchange(AppRequest(method, b"/", ()), channel, 0.0))
        channel.connection.data_received(read)
    channel.connection.connection_lost(None)
    return told + channel.told


def _read_in_pieces(data: bytes, choice: int, method: bytes) -> None:
    """One answer, cut: the same status, headers and body as whole, or no answer either way."""
    whole, pieces = _read([data], method), _read(cut(data, choice), method)
    if whole is not None and len(data) < 4096:
        assert pieces is None or pieces == whole


def _read(pieces: Sequence[bytes], method: bytes) -> tuple[object, ...] | None:
    reader = ResponseReader()
    reader.expect(method)
    body = b""
    try:
        for piece in pieces:
            reader.feed(piece)
            body += reader.take_body()
    except MalformedResponse:
        return None
    reader.feed_eof()
    return reader.status, reader.headers, body, reader.complete, reader.keep_alive


def request_heads(raw: bytes) -> None:
    """Whatever the parts of a head hold, it is refused or is exactly one head: nothing can add a line."""
    parts = (*raw.split(b"\xff"), b"", b"", b"")
    method, target, *rest = parts
    headers = list(zip(rest[::2], rest[1::2], strict=False))
    try:
        head = request_head(method, target, b"h", headers)
        assert header_lines(headers).count(b"\r\n") == len(headers)
    except MalformedRequest:
        return
    assert head.count(b"\r\n\r\n") == 1
    assert head.endswith(b"\r\n\r\n")
    assert head.count(b"\n") == head.count(b"\r") == head.count(b"\r\n") == len(headers) + 3
    assert head.startswith(b"%b %b HTTP/1.1\r\n" % (method, target))
    assert b" " not in target


_SEEDS = tuple(
    bytes((choice,)) + line + HEADERS[0] + header + b"\r\n" + body
    for choice, line in enumerate(LINES)
    for header, body in (
        (b"", b""),
        (HEADERS[1], BODIES[0]),
        (HEADERS[2], BODIES[1]),
        (HEADERS[4], BODIES[2]),
        (HEADERS[4], BODIES[3]),
    )
)
_PIPELINED = b"\x03" + (LINES[0] + HEADERS[0] + b"\r\n") * 2 + LINES[1] + HEADERS[0] + HEADERS[1] + b"\r\n[]"
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"

TARGETS = (
    Target("http1_requests", requests, (*_SEEDS, _PIPELINED), (*HEADERS, *LINES, *BODIES, b"\r\n\r\n", b" HTTP/1.1")),
    Target(
        "http1_answers",
        answers,
        (
            b"\0" + ANSWER + b"\xff" + ANSWER,
            b"\1HTTP/1.1 204 No Content\r\n\r\n\xff" + ANSWER,
            b"\2HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n\xff" + ANSWER,
            b"\3HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\na: b\r\n\r\n",
            b"\4HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 No\r\nconnection: close\r\n\r\nrest",
            b"\5HTTP/1.0 200 OK\r\n\r\nuntil the end",
            b"\0HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nin\xfftwo",
        ),
        (*HEADERS, ANSWER, b"\xff", b"HTTP/1.1 ", b"304 Not Modified\r\n", b"101 Switching Protocols\r\n", b"\r\n"),
    ),
    Target(
        "http1_request_heads",
        request_heads,
        (b"GET\xff/", b"POST\xff/a?b=c\xffx-a\xffb\xffx-c\xff", b"GET\xff/\xffa\xffb\r\nc: d", b"G T\xff/ /\xff\xff"),
        (b"\r\n", b"\xff", b": ", b"\0", b" HTTP/1.1\r\n"),
        1024,
    ),
)
