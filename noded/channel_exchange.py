"""One request to an app and its answer, as the caller of a channel sees them.

The request goes out whole or in pieces; the answer comes to a ResponseSink, in one call where it arrived in one read.
Nothing here waits: backpressure is a return value one way and `pause`/`resume` the other.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from components.completion import Completion
from noded.calls import Header
from noded.channel_contract import AppChannel, AppResponse, ChannelError
from noded.wire.http1 import CHUNKED, LAST_CHUNK, chunk, request_head
from noded.wire.known_answers import KnownAnswer

if TYPE_CHECKING:
    from noded.channel_connection import Connection

NO_DEADLINE = math.inf
_BODILESS = frozenset((b"GET", b"HEAD", b"DELETE", b"OPTIONS", b"TRACE"))
_REPEATABLE = frozenset((b"GET", b"HEAD", b"DELETE", b"OPTIONS", b"TRACE", b"PUT"))
"""Methods whose repetition does no harm. Source: RFC 9110 9.2.2."""


class ChannelTimeout(ChannelError):
    """The app did not answer in time."""


class AppRequest(Struct, frozen=True, gc=False):
    """A request to an app. Host and the body's framing are added; the headers are sent as given."""

    method: bytes
    target: bytes
    """Path and query, escaped."""
    headers: Sequence[Header]
    body: bytes | None = b""
    """None: it follows in pieces (`AppExchange.write`)."""
    content_length: int | None = None
    """Of a body in pieces; None: it is sent in chunks."""
    head: bytes = b""
    """The head as it is sent, checked, up to and with the empty line. Without it, it is written from the above."""


def framing_of(method: bytes, body: bytes) -> bytes:
    """The header line that frames a whole body; none where no body is expected."""
    return b"content-length: %d\r\n" % len(body) if body or method not in _BODILESS else b""


def head_of(request: AppRequest, host: bytes) -> bytes:
    """A request's head in HTTP/1.1, up to and with the empty line. Raises MalformedRequest."""
    if request.head:
        return request.head
    if request.body is not None:
        framing = framing_of(request.method, request.body)
    elif request.content_length is None:
        framing = CHUNKED
    else:
        framing = b"content-length: %d\r\n" % request.content_length
    return request_head(request.method, request.target, host, request.headers, framing)


class ResponseSink(Protocol):
    """Who takes the answer. Either `on_answer` or `on_error` comes, or `on_head` and then pieces and an end or error.

    A sink must not raise.
    """

    @property
    def abandoned(self) -> bool:
        """Whether nobody wants the answer any more; asked some ten times a second, the request is then broken off."""

    def on_answer(self, status: int, headers: list[Header], body: bytes) -> None:
        """The whole answer, which arrived in one read."""

    def on_head(self, status: int, headers: list[Header]) -> None:
        """The head; a body follows. From here on no deadline holds but one set anew."""

    def on_piece(self, piece: bytes) -> None:
        """A piece of the body, at most what one read gives."""

    def on_end(self) -> None:
        """The answer is complete."""

    def on_error(self, error: ChannelError) -> None:
        """There is no answer, or not the rest of it."""

    def on_drained(self) -> None:
        """More of the request's body may be written."""


class AppCall(Protocol):
    """A request under way, as its owner sees it."""

    deadline: float
    """Loop time at which it is broken off; NO_DEADLINE: never."""
    known: KnownAnswer | None
    """What the answer's head came from, if it was met before."""

    @property
    def closed(self) -> bool:
        """Whether the answer is complete or broken off."""

    def write(self, piece: bytes) -> bool:
        """Send a piece of the request's body. False: wait for `on_drained` before writing more."""

    def end(self) -> None:
        """The request's body is complete."""

    def pause(self) -> None:
        """Read no more of the answer for a while."""

    def resume(self) -> None:
        """Read on."""

    def abort(self) -> None:
        """Break it off; the sink hears nothing more."""


class AppExchange(Struct, eq=False):
    """A request under way by HTTP/1.1: waiting for a connection, or on one (`AppCall`)."""

    request: AppRequest
    sink: ResponseSink
    deadline: float
    """Loop time at which it is broken off; NO_DEADLINE: never."""
    unsent: bool = False
    """Whether more of the request's body is to come: as it is made, whether all of it is."""
    closed: bool = False
    """True once the answer is complete or broken off."""
    head_given: bool = False
    connection: "Connection | None" = None
    known: KnownAnswer | None = None
    """What the answer's head came from, if it was met before."""
    answer_seconds: float | None = None
    """How long the answer may take once a connection is had; None: the deadline is for all of it."""
    _early: list[bytes] | None = None  # body pieces from before there is a connection
    _ended: bool = False

    def write(self, piece: bytes) -> bool:
        """Send a piece of the request's body. False: wait for `on_drained` before writing more."""
        if self.closed or not piece:
            return True
        if self.connection is None:
            if self._early is None:
                self._early = []
            self._early.append(piece)
            return False
        return self.connection.write(chunk(piece) if self._chunked else (piece,))

    def end(self) -> None:
        """The request's body is complete."""
        self._ended = True
        if self.connection is not None and not self.closed and self.unsent:
            self.unsent = False
            if self._chunked:
                self.connection.write((LAST_CHUNK,))

    def pause(self) -> None:
        """Read no more of the answer for a while."""
        if self.connection is not None:
            self.connection.pause()

    def resume(self) -> None:
        """Read on."""
        if self.connection is not None:
            self.connection.resume()

    def abort(self) -> None:
        """Break it off; the sink hears nothing more."""
        if self.closed:
            return
        self.closed = True
        if self.connection is not None:
            self.connection.drop()

    def fail(self, error: ChannelError) -> None:
        """End it with an error."""
        if not self.closed:
            self.closed = True
            self.sink.on_error(error)

    def flush_early(self) -> None:
        """Being on a connection now, send what was written before."""
        early, self._early = self._early, None
        writable = True
        for piece in early or ():
            writable = self.write(piece)
        if self._ended:
            self.end()
        elif early and writable:
            self.sink.on_drained()

    @property
    def _chunked(self) -> bool:
        return self.request.body is None and self.request.content_length is None

    @property
    def repeatable(self) -> bool:
        """Whether the request can be sent again without harm, should the app have acted on it already."""
        return self.resendable and self.request.method in _REPEATABLE

    @property
    def resendable(self) -> bool:
        """Whether all of the request is at hand and none of the answer was seen."""
        return self.request.body is not None and not self.head_given


class GatheringSink:
    """A sink that is given its answer whole, up to a size: one that came in pieces is put together first.

    Its `_max_bytes` are for who inherits to set.
    """

    abandoned = False
    exchange: AppCall | None = None
    _head: tuple[int, list[Header]] = (0, [])
    _pieces: list[bytes] | None = None
    _size = 0
    _max_bytes = 0

    def on_whole(self, status: int, headers: list[Header], body: bytes) -> None:
        """Take the answer."""
        raise NotImplementedError

    def on_error(self, error: ChannelError) -> None:
        """Take the error instead."""
        raise NotImplementedError

    def on_answer(self, status: int, headers: list[Header], body: bytes) -> None:
        """Done at once."""
        self.exchange = None
        if len(body) > self._max_bytes:
            self.on_error(self._too_large())
        else:
            self.on_whole(status, headers, body)

    def on_head(self, status: int, headers: list[Header]) -> None:
        """Keep the head."""
        self._head = (status, headers)
        self._pieces = []

    def on_piece(self, piece: bytes) -> None:
        """Keep a piece, unless they become too many."""
        self._size += len(piece)
        if self._size <= self._max_bytes and self._pieces is not None:
            self._pieces.append(piece)
            return
        if self.exchange is not None:
            self.exchange.abort()
        self.exchange = self._pieces = None
        self.on_error(self._too_large())

    def on_end(self) -> None:
        """Give the answer."""
        self.exchange = None
        self.on_whole(*self._head, b"".join(self._pieces or ()))

    def on_drained(self) -> None:
        """Nothing: the request was whole."""

    def _too_large(self) -> ChannelError:
        return ChannelError(f"the app's answer is over {self._max_bytes} bytes")


class WholeAnswer(GatheringSink):
    """A sink that gives the answer to whoever awaits its Completion."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self.completion: Completion[AppResponse] = Completion()

    def asked(
        self, channel: AppChannel, request: "AppRequest", timeout_seconds: float, waits_seconds: float
    ) -> Completion[AppResponse]:
        """Send a request whose answer this is, with the times of `AppChannel.open`."""
        self.exchange = channel.open(request, self, timeout_seconds, waits_seconds)
        return self.completion

    def on_whole(self, status: int, headers: list[Header], body: bytes) -> None:
        """Give the answer."""
        self.completion.resolve(AppResponse(status, tuple(headers), body))

    def on_error(self, error: ChannelError) -> None:
        """Give the error."""
        self.exchange = None
        self.completion.fail(error)
