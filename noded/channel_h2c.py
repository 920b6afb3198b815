"""HTTP calls to one app that speaks HTTP/2 in the clear, by prior knowledge: `channel.py`'s twin for h2c apps.

Calls are streams of the few connections that the app's calls share. What a call is, and how its answer is taken, is the
same as by HTTP/1.1. Source: RFC 9113, 8; daprd 1.18 pkg/runtime/channels/channels.go, appHTTPClient.
"""

import asyncio
import math
from collections.abc import Sequence
from typing import Final

from noded.calls import Header
from noded.channel_contract import AppResponse, ChannelError
from noded.channel_exchange import AppRequest, ResponseSink, WholeAnswer, head_of
from noded.channel_http2 import Http2Channel, StreamBounds
from noded.channel_reach import Reach
from noded.config.records import ChannelSpec
from noded.http2_client import AppStream, StreamReset
from noded.wire.http1 import MalformedRequest
from noded.wire.http2 import ErrorCode, encode_block
from noded.wire.known_answers import KnownAnswer

_OF_HTTP1: Final = frozenset((b"host", b"transfer-encoding"))
"""What HTTP/2 says otherwise: by `:authority`, and by the end of the stream."""


class H2cChannel:
    """Calls to an app that speaks h2c (`noded.channel_contract.AppChannel`)."""

    def __init__(
        self,
        spec: ChannelSpec,
        loop: asyncio.AbstractEventLoop,
        bounds: StreamBounds | None = None,
        reach: Reach | None = None,
    ) -> None:
        """Raises ValueError for an address that is none."""
        self._streams = Http2Channel(spec, loop, bounds, reach)
        self.host = self._streams.authority

    async def call(  # noqa: PLR0913, PLR0917 - a request has so many parts
        self,
        method: bytes,
        target: bytes,
        headers: Sequence[Header],
        body: bytes,
        timeout_seconds: float,
        waits_seconds: float = 0.0,
    ) -> AppResponse:
        """As AppChannel.call."""
        request = AppRequest(method, target, headers, body)
        return await WholeAnswer(self._streams.bounds.answer_bytes).asked(self, request, timeout_seconds, waits_seconds)

    def open(
        self, request: AppRequest, sink: ResponseSink, timeout_seconds: float, waits_seconds: float = 0.0
    ) -> "H2cExchange":
        """As AppChannel.open."""
        exchange = H2cExchange(self._streams, sink, self.now() + timeout_seconds, waits_seconds)
        try:
            head = encode_block(request_fields(request, self.host))
        except MalformedRequest as error:
            exchange.on_error(ChannelError(str(error)))
        else:
            exchange.send(head, request.body)
        return exchange

    def now(self) -> float:
        """As AppChannel.now."""
        return self._streams.now()

    async def wait_quiet(self) -> None:
        """As AppChannel.wait_quiet."""
        await self._streams.wait_quiet()

    async def aclose(self) -> None:
        """As AppChannel.aclose."""
        await self._streams.aclose()


def request_fields(request: AppRequest, authority: bytes) -> list[Header]:
    """A request's head as HTTP/2 has it. What HTTP/1.1 cannot send is refused here too.

    Raises MalformedRequest.
    """
    line, *lines = head_of(request, authority)[:-4].split(b"\r\n")
    method, target, _ = line.split(b" ")
    fields = [(b":method", method), (b":scheme", b"http"), (b":authority", authority), (b":path", target)]
    for each in lines:
        name, _, value = each.partition(b":")
        name = name.lower()
        if name not in _OF_HTTP1:
            fields.append((name, value.strip()))
    return fields


class H2cExchange:
    """A request under way: an `AppCall` to its owner, and the sink of a stream.

    An answer that arrives in one read is given in one call, as by HTTP/1.1. Trailers end here, as in daprd.
    """

    known: KnownAnswer | None = None

    def __init__(self, channel: Http2Channel, sink: ResponseSink, deadline: float, waits_seconds: float) -> None:
        self.closed = False
        self._channel = channel
        self._sink = sink
        self._deadline = deadline
        self._waits_seconds = waits_seconds
        self._stream: AppStream | None = None
        self._again: tuple[bytes, bytes] | None = None  # head and body, while the request may be sent once more
        self._head: tuple[int, list[Header]] | None = None
        self._head_given = False
        self._early: list[bytes] = []  # of the body, from before the head is given
        self._paused = False
        self._owed = 0  # window, for what the owner did not want yet

    def send(self, head: bytes, body: bytes | None) -> None:
        """Put the request on its way. One that the app refused to look at is sent a second time."""
        self._again = None if body is None else (head, body)
        self._open(head, body)

    def _open(self, head: bytes, body: bytes | None) -> None:
        self._stream = stream = AppStream(head, self, self._deadline, body)
        self._channel.open(stream, counted=True, waits_seconds=self._waits_seconds)

    # What the owner calls.

    @property
    def deadline(self) -> float:
        """Loop time at which it is broken off."""
        return self._deadline

    @deadline.setter
    def deadline(self, at: float) -> None:
        self._deadline = at
        if self._stream is not None:
            self._stream.deadline = at

    def write(self, piece: bytes) -> bool:
        """As AppCall.write."""
        return self._stream is None or not piece or self._stream.write(piece)

    def end(self) -> None:
        """As AppCall.end."""
        if self._stream is not None:
            self._stream.write(b"", end=True)

    def pause(self) -> None:
        """Give the app no more window: it stops when that is used up."""
        self._paused = True

    def resume(self) -> None:
        """Give it back what was withheld."""
        self._paused = False
        self._consume(0)

    def abort(self) -> None:
        """As AppCall.abort."""
        if not self.closed:
            stream = self._stream
            self._close()
            if stream is not None:
                stream.cancel()

    # What the stream calls.

    @property
    def abandoned(self) -> bool:
        """Whether the owner wants no answer any more."""
        return self._sink.abandoned

    def on_head(self, headers: Sequence[Header], *, end: bool) -> None:
        """Keep the head until the read that brought it was handed out."""
        self._again = None
        status = int(dict(headers)[b":status"])
        self._head = (status, [field for field in headers if field[0] != b":status"])
        if end:
            self._finish()
        elif self._stream is not None:
            self._stream.after_read(self._give_head)

    def on_piece(self, data: bytes, *, end: bool) -> None:
        """Give a piece, or keep it with the head."""
        if self._head_given and data:
            self._sink.on_piece(data)
        elif data:
            self._early.append(data)
        if self.closed:
            return
        if end:
            self._finish()
        else:
            self._consume(len(data))

    def on_trailers(self, headers: Sequence[Header]) -> None:
        """The answer is whole."""
        self._finish()

    def on_error(self, error: ChannelError) -> None:
        """Send the request again, or tell the owner."""
        again, self._again = self._again, None
        if again is not None and isinstance(error, StreamReset) and error.code == ErrorCode.REFUSED_STREAM:
            self._leave()
            self._open(*again)
            return
        if not self.closed:
            self._close()
            self._sink.on_error(error)

    def on_drained(self) -> None:
        """The app takes more of the request."""
        self._sink.on_drained()

    # Its own.

    def _give_head(self) -> None:
        if self.closed or self._head is None:
            return
        self._head_given = True
        self._sink.on_head(*self._head)
        early, self._early = self._early, []
        for piece in early:
            if not self.closed:
                self._sink.on_piece(piece)

    def _finish(self) -> None:
        """The answer is whole: its place is free before its owner hears of it."""
        if self.closed:
            return
        self._close()
        if self._head_given:
            self._sink.on_end()
        else:
            assert self._head is not None, "an answer has a head"
            self._sink.on_answer(*self._head, b"".join(self._early))

    def _consume(self, size: int) -> None:
        self._owed += size
        if not self._paused and self._owed and self._stream is not None:
            owed, self._owed = self._owed, 0
            self._stream.consumed(owed)

    def _close(self) -> None:
        self.closed = True
        self._deadline = math.inf
        self._leave()

    def _leave(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            self._channel.done(stream)
