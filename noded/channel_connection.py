"""One connection to an app: a uvloop transport, one request at a time.

It belongs to one channel, so to one tenant. An answer that comes in one read is given in one call; a longer one as
it arrives. A connection that misbehaves is closed and takes only its own request with it.
"""

import asyncio
import socket
from collections.abc import Iterable
from typing import Protocol, cast

from noded.calls import Header
from noded.channel_contract import ChannelError
from noded.channel_exchange import AppExchange, head_of
from noded.wire.http1 import MalformedRequest, MalformedResponse, ResponseReader
from noded.wire.known_answers import HEAD_END, KnownAnswer, KnownAnswers

HIGH_WRITE_BYTES = 64 << 10
"""Bytes of a request not yet taken by the app, above which its sender is told to wait."""


class Pool(Protocol):
    """What a connection tells its channel."""

    host: bytes
    answers: KnownAnswers
    """Heads the app answered with before."""

    def made(self, connection: "Connection") -> None:
        """It is open."""

    def released(self, connection: "Connection") -> None:
        """It is free for another request."""

    def lost(self, connection: "Connection") -> None:
        """It is gone, or going: it takes no more requests. May be said twice."""

    def resend(self, exchange: AppExchange) -> None:
        """Send a request, which the app did not see, on a new connection."""


class Connection(asyncio.Protocol):
    """A connection to an app, idle or carrying one exchange."""

    __slots__ = (
        "_broken",
        "_last",
        "_last_head",
        "_pool",
        "_reader",
        "_reading",
        "_reading_paused",
        "_reused",
        "_transport",
        "_writing_paused",
        "exchange",
        "idle_since",
    )

    def __init__(self, pool: Pool) -> None:
        self.exchange: AppExchange | None = None
        self.idle_since = 0.0
        """Loop time; set by the channel."""
        self._pool = pool
        self._last_head = HEAD_END  # of the last answer that was known; no answer begins so
        self._last: KnownAnswer | None = None
        self._reader = ResponseReader()
        self._reading = False  # whether the reader has seen part of the answer; one whose head is known it never sees
        self._transport: asyncio.Transport = cast("asyncio.Transport", None)  # until connection_made
        self._broken = False
        self._reused = False
        self._reading_paused = False
        self._writing_paused = False

    @property
    def was_made(self) -> bool:
        """Whether it is, or was, open."""
        return self._transport is not None

    # Carrying a request.

    def carry(self, exchange: AppExchange) -> None:
        """Send an exchange's request and await its answer."""
        request = exchange.request
        try:
            head = request.head or head_of(request, self._pool.host)
        except MalformedRequest as error:
            self._pool.released(self)
            exchange.fail(ChannelError(str(error)))
            return
        self.exchange = exchange
        exchange.connection = self
        body = request.body
        self._transport.write(head + body if body else head)
        if exchange.unsent:
            exchange.flush_early()

    def write(self, parts: Iterable[bytes]) -> bool:
        """Send a piece of the request's body. False: the app takes it slowly."""
        if not self._transport.is_closing():
            self._transport.writelines(parts)
        return not self._writing_paused

    def pause(self) -> None:
        """Stop reading."""
        if not self._reading_paused and not self._transport.is_closing():
            self._reading_paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        if self._reading_paused:
            self._reading_paused = False
            if not self._transport.is_closing():
                self._transport.resume_reading()

    def drop(self) -> None:
        """Forget the exchange and close."""
        self.exchange = None
        self._transport.abort()

    def close(self, reason: str) -> None:
        """Close; an exchange on it fails for `reason`."""
        self._fail(reason)

    # What the loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Join the pool."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(HIGH_WRITE_BYTES)
        self._pool.made(self)

    def data_received(self, data: bytes) -> None:
        """Read the answer on."""
        exchange = self.exchange
        if exchange is None:
            self._pool.lost(self)
            self._transport.abort()
            return
        if not self._reading:
            known = self._last if data.startswith(self._last_head) else self._find_known(data)
            end = len(self._last_head)
            if known is not None and len(data) == end + known.body_bytes and exchange.request.method != b"HEAD":
                exchange.known = known
                exchange.closed = True
                self._release(exchange)
                exchange.sink.on_answer(known.status, known.headers, data[end:])
                return
        self._read(exchange, data)

    def eof_received(self) -> None:
        """The app will send no more: the transport closes, and no request may be given to it meanwhile."""
        if self.exchange is None:
            self._pool.lost(self)
        sock = cast("socket.socket | None", self._transport.get_extra_info("socket"))
        self._broken = sock is not None and sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0

    def connection_lost(self, error: Exception | None) -> None:
        """Leave the pool; the answer is whole, or the request is sent again, or it fails."""
        self._pool.lost(self)
        self._end(error)
        self._reader.forget()

    def _end(self, error: Exception | None) -> None:
        """End an exchange that the end of the connection leaves open."""
        exchange, self.exchange = self.exchange, None
        if exchange is None or exchange.closed:
            return
        exchange.connection = None
        if self._reused and not self._reading and self._may_resend(exchange, error):
            self._pool.resend(exchange)
            return
        if error is None and self._reading and self._reader.feed_eof():
            self._give_rest(exchange)
        else:
            exchange.fail(ChannelError(_reason(error)))

    def pause_writing(self) -> None:
        """The app takes the request slowly."""
        self._writing_paused = True

    def resume_writing(self) -> None:
        """It takes more."""
        self._writing_paused = False
        if self.exchange is not None and self.exchange.unsent:
            self.exchange.sink.on_drained()

    def _find_known(self, data: bytes) -> KnownAnswer | None:
        """What an answer's head means, where the app answered with it before; it is what comes next, most likely."""
        end = data.find(HEAD_END)
        known = self._pool.answers.find(data[:end]) if end > 0 else None
        if known is not None:
            self._last_head, self._last = data[: end + len(HEAD_END)], known
        return known

    def _read(self, exchange: AppExchange, data: bytes) -> None:
        """Parse a piece of the answer. One that is whole at once may be known the next time."""
        reader = self._reader
        first = not self._reading
        if first:
            self._reading = True
            reader.expect(exchange.request.method)
        try:
            reader.feed(data)
        except MalformedResponse as error:
            self._fail(f"the app's answer is not HTTP: {error}")
            return
        if not reader.complete:
            self._give_piece(exchange)
        elif exchange.head_given:
            self._give_rest(exchange)
        else:
            body = reader.take_body()
            if first and reader.keep_alive:
                self._pool.answers.learn(data, reader.status, reader.headers, body)
            self._give_whole(exchange, reader.status, reader.headers, body)

    def _give_whole(self, exchange: AppExchange, status: int, headers: list[Header], body: bytes) -> None:
        exchange.closed = True
        self._release(exchange)  # first, so that whoever waits, or asks next, finds it free
        exchange.sink.on_answer(status, headers, body)

    def _give_piece(self, exchange: AppExchange) -> None:
        reader = self._reader
        if not reader.head_complete:
            return
        if not exchange.head_given:
            exchange.head_given = True
            exchange.sink.on_head(reader.status, reader.headers)
        if not exchange.closed and (piece := reader.take_body()):
            exchange.sink.on_piece(piece)

    def _give_rest(self, exchange: AppExchange) -> None:
        self._give_piece(exchange)
        if exchange.closed:
            return
        exchange.closed = True
        if self.exchange is exchange:
            self._release(exchange)
        exchange.sink.on_end()

    def _release(self, exchange: AppExchange) -> None:
        """Give the connection back, or close it where another request could not follow on it."""
        self.exchange = None
        exchange.connection = None
        keep, self._reading = not self._reading or self._reader.keep_alive, False
        if keep and not exchange.unsent and not self._transport.is_closing():
            self._reused = True
            if self._reading_paused:
                self.resume()
            self._pool.released(self)
        else:
            self._transport.abort()

    def _fail(self, reason: str) -> None:
        exchange, self.exchange = self.exchange, None
        self._transport.abort()
        if exchange is not None:
            exchange.connection = None
            exchange.fail(ChannelError(reason))

    def _may_resend(self, exchange: AppExchange, error: Exception | None) -> bool:
        """Whether the app cannot have acted on the request, or may do so twice.

        A reset means that it closed without reading it. After an orderly close it may have read it and died: only a
        repeatable request is sent again.
        """
        return exchange.resendable and (error is not None or self._broken or exchange.repeatable)


def _reason(error: Exception | None) -> str:
    return f"connection to the app broke: {error}" if error else "the app closed the connection without a whole answer"
