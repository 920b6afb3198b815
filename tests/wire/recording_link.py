"""An HTTP/1.1 connection without a network: what was sent, and the requests that reached the handler."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import h11

from noded.app import App
from noded.calls import HttpCall, Reply
from noded.config.records import AppSpec
from noded.node import Node
from noded.server_http1 import Http1Wire
from tenancy.fairness import SLICE_BYTES
from tenancy.tenant import Tenants

MAX_BODY_BYTES = 4096


def make_app(namespace: str = "default", app_id: str = "a", max_body_bytes: int = MAX_BODY_BYTES) -> App:
    """An app that no daemon attached."""
    tenant = Tenants(clock=lambda: 0.0).attach(namespace, app_id)
    return App(AppSpec(app_id, namespace), tenant, Node(), None, max_body_bytes)


@dataclass
class RecordingLink:
    """The connection of an Http1Wire (`noded.server_http1.Link`)."""

    app: App = field(default_factory=make_app)
    slice_bytes: int = SLICE_BYTES
    sent: bytearray = field(default_factory=bytearray)
    stalls: int = 0
    shut_down: bool = False
    lingers: bool = False
    aborted: bool = False
    slow: bool = False
    """Whether the peer reads slowly."""
    again: bool = False
    """Whether it is to be fed nothing, for what it has."""

    def send(self, data: bytes) -> bool:
        assert not self.shut_down, "nothing is sent after the end"
        self.sent += data
        return not self.slow

    def stall(self) -> None:
        self.stalls += 1

    def unstall(self) -> None:
        self.stalls -= 1
        assert self.stalls >= 0, "no unstall without its stall"

    def feed_again(self) -> None:
        self.again = True

    def shut(self) -> None:
        self.shut_down = True

    def linger(self) -> None:
        self.lingers = self.shut_down = True

    def abort(self) -> None:
        self.aborted = True


Handler = Callable[[HttpCall], None]


class Rig:
    """One connection, fed by hand."""

    def __init__(self, handler: Handler | None = None, streams: Callable[[HttpCall], bool] = lambda _: False) -> None:
        self.link = RecordingLink()
        self.calls: list[HttpCall] = []
        self._handler = handler
        self.wire = Http1Wire(self.link, self._handle, streams)

    def _handle(self, call: HttpCall) -> None:
        self.calls.append(call)
        if self._handler is not None:
            self._handler(call)

    def feed(self, data: bytes) -> None:
        """Feed as the connection does: in slices, not past a stall, not past the end."""
        while data and not self.link.shut_down and not self.link.aborted:
            assert not self.link.stalls, "a stalled connection is fed nothing"
            size = self.link.slice_bytes
            self.wire.feed(data[:size])
            data = data[size:]

    @property
    def out(self) -> bytes:
        return bytes(self.link.sent)

    def answers(self, *methods: bytes) -> list["Answer"]:
        """Everything sent, read by h11 as answers to requests of these methods (GET where none is named)."""
        return read_answers(self.out, methods, ended=self.link.shut_down)


@dataclass(frozen=True)
class Answer:
    """A whole answer."""

    status: int
    body: bytes
    headers: dict[bytes, bytes]
    trailers: dict[bytes, bytes]


def read_answers(out: bytes, methods: tuple[bytes, ...] = (), *, ended: bool = False) -> list[Answer]:
    """Read a stream of answers with h11, the other end of a connection; what is no HTTP fails the test."""
    answers: list[Answer] = []
    rest = out
    while rest:
        client = h11.Connection(h11.CLIENT)
        method = methods[len(answers)] if len(answers) < len(methods) else b"GET"
        client.send(h11.Request(method=method, target="/", headers=[("host", "x")]))
        client.send(h11.EndOfMessage())
        client.receive_data(rest)
        if ended:
            client.receive_data(b"")
        answer = _read_one(client)
        if answer is None:
            break
        answers.append(answer)
        rest = client.trailing_data[0]
    return answers


def _read_one(client: h11.Connection) -> Answer | None:
    status, headers, body = 0, {}, b""
    while True:
        event = client.next_event()
        if event is h11.NEED_DATA or event is h11.PAUSED or isinstance(event, h11.ConnectionClosed):
            return None
        if isinstance(event, h11.Response):
            status, headers = event.status_code, dict(event.headers)
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            return Answer(status, body, headers, dict(event.headers))


def echo(call: HttpCall) -> None:
    """Answer with what was asked."""
    call.exchange.reply(Reply(200, b"%b %b?%b %b" % (call.method, call.path, call.query, call.body)))


PIECES = ("whole", "byte by byte", "cut in two")


def pieces(data: bytes, how: str) -> list[list[bytes]]:
    """Every way of that kind to cut `data`: each is a list of pieces to feed one after another."""
    if how == "whole":
        return [[data]]
    if how == "byte by byte":
        return [[data[at : at + 1] for at in range(len(data))]]
    return [[data[:at], data[at:]] for at in range(1, len(data))]


def cut(data: bytes, sizes: Sequence[int]) -> list[bytes]:
    """Cut into pieces of these sizes, over and over."""
    found, at, turn = [], 0, 0
    while at < len(data):
        size = sizes[turn % len(sizes)]
        found.append(data[at : at + size])
        at, turn = at + size, turn + 1
    return found
