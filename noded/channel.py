"""HTTP/1.1 calls to one app: pooled, keep-alive, bounded, made on demand.

A channel is one tenant's: its connections are never shared. Nothing happens until the first call, so an app may come
up after the daemon, and go and come again. One timer per channel watches every deadline, some ten times a second, and
only while something is under way. All of it runs on the loop's thread.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from components.completion import Completion
from noded.calls import Header
from noded.channel_connection import Connection
from noded.channel_contract import AppResponse, ChannelError
from noded.channel_dial import Dialer
from noded.channel_exchange import AppExchange, AppRequest, ChannelTimeout, ResponseSink, WholeAnswer
from noded.channel_reach import Reach
from noded.config.records import ChannelSpec
from noded.wire.known_answers import KnownAnswers

SWEEP_SECONDS = 0.1
"""Between two looks at the clock while something is under way: a deadline is noticed up to twice as late, not early."""


@dataclass(frozen=True, slots=True)
class ChannelBounds:
    """What one app's channel may hold."""

    connections: int = 256
    """Open at one moment. The spec's max_concurrency makes it smaller: a connection carries one request at a time."""
    waiting: int = 1024
    """Requests waiting for a connection; above it they fail at once."""
    waiting_bytes: int = 32 << 20
    """Bytes of their bodies."""
    answer_bytes: int = 16 << 20
    """Of an answer that `call` gathers."""
    idle_seconds: float = 60.0
    """After which an unused connection is closed."""
    connect_seconds: float = 5.0
    """Within which a connection must open."""


class HttpChannel:
    """The pool of connections to one app (`noded.channel_contract.AppChannel`, and `open` for streaming).

    A request takes an idle connection, else a new one, else waits in order for one to come free.
    """

    def __init__(
        self,
        spec: ChannelSpec,
        loop: asyncio.AbstractEventLoop,
        bounds: ChannelBounds | None = None,
        reach: Reach | None = None,
    ) -> None:
        """Raises ValueError for an address that is none."""
        self._dialer = Dialer(spec, loop, reach)
        self.host = self._dialer.address.host_header
        self._loop = loop
        self._bounds = bounds = bounds or ChannelBounds()
        self._max_connections = min(bounds.connections, spec.max_concurrency or bounds.connections)
        self._connections: set[Connection] = set()
        self._idle: list[Connection] = []  # the last used is used next
        self._waiting: deque[AppExchange] = deque()
        self._waiting_bytes = 0
        self._connecting = 0
        self._tasks: set[asyncio.Task[None]] = set()  # each opens one connection
        self._sweep_handle: asyncio.TimerHandle | None = None
        self._sweeping = False
        self._swept = 0.0  # loop time of the last look at the clock
        self.answers = KnownAnswers()
        """Heads the app answered with before."""
        self._quiet: Completion[None] | None = None  # who waits for the end of what is under way
        self._closed = False

    # Calls.

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
        return await WholeAnswer(self._bounds.answer_bytes).asked(self, request, timeout_seconds, waits_seconds)

    def open(
        self, request: AppRequest, sink: ResponseSink, timeout_seconds: float, waits_seconds: float = 0.0
    ) -> AppExchange:
        """As AppChannel.open."""
        if not self._sweeping:
            self._sweep_often(self._loop.time())
        exchange = AppExchange(request, sink, self._swept + SWEEP_SECONDS + timeout_seconds, request.body is None)
        if self._idle:
            self._idle.pop().carry(exchange)
        else:
            if waits_seconds:
                exchange.answer_seconds = timeout_seconds
                exchange.deadline += waits_seconds
            self._wait(exchange)
        return exchange

    def now(self) -> float:
        """The loop's time, by which deadlines are told."""
        return self._loop.time()

    async def wait_quiet(self) -> None:
        """Return once nothing is under way, or soon after. Awaits a Completion only."""
        if self._busy:
            self._quiet = self._quiet or Completion()
            await self._quiet

    async def aclose(self) -> None:
        """Close every connection; what is under way fails with ChannelError."""
        self._closed = True
        for task in tuple(self._tasks):
            task.cancel()
        self._fail_waiting(ChannelError("the app was detached"))
        for connection in tuple(self._connections):
            connection.close("the app was detached")
        self._idle.clear()
        if self._sweep_handle is not None:
            self._sweep_handle.cancel()

    # What the connections call.

    def made(self, connection: Connection) -> None:
        """A connection is open: the request that waits longest gets it."""
        self._connecting -= 1
        self._connections.add(connection)
        if self._closed:
            connection.close("")
        else:
            self.released(connection)

    def released(self, connection: Connection) -> None:
        """A connection is free."""
        while self._waiting:
            exchange = self._next_waiting()
            if not exchange.closed:
                connection.carry(exchange)
                return
        connection.idle_since = self._swept
        self._idle.append(connection)

    def lost(self, connection: Connection) -> None:
        """A connection is gone: make a new one for whoever waits."""
        self._connections.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        if self._waiting:
            self._connect()

    def resend(self, exchange: AppExchange) -> None:
        """Send a request on a new connection: the app closed the one it was sent on unread.

        The other idle ones are as old, so they are closed too.
        """
        for connection in self._idle:
            connection.close("")
        self._idle.clear()
        self._wait(exchange, first=True)

    # Waiting and connecting.

    def _wait(self, exchange: AppExchange, *, first: bool = False) -> None:
        size = len(exchange.request.body or b"")
        if self._closed:
            exchange.fail(ChannelError("the app was detached"))
            return
        if not first and (
            len(self._waiting) >= self._bounds.waiting or self._waiting_bytes + size > self._bounds.waiting_bytes
        ):
            exchange.fail(ChannelError(f"the app is busy: {len(self._waiting)} requests wait for it"))
            return
        self._waiting_bytes += size
        (self._waiting.appendleft if first else self._waiting.append)(exchange)
        self._connect()

    def _next_waiting(self) -> AppExchange:
        exchange = self._waiting.popleft()
        self._waiting_bytes -= len(exchange.request.body or b"")
        if exchange.answer_seconds is not None:
            exchange.deadline = self._loop.time() + exchange.answer_seconds
        return exchange

    def _connect(self) -> None:
        """Begin a connection, unless there are enough, or as many under way as requests wait."""
        room = self._max_connections - len(self._connections)
        if self._closed or self._connecting >= min(len(self._waiting), room):
            return
        self._connecting += 1
        task = self._loop.create_task(self._open_connection())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _open_connection(self) -> None:
        """Open one connection, which then joins the pool; on failure tell those who wait for it."""
        connection = Connection(self)
        try:
            async with asyncio.timeout(self._bounds.connect_seconds):
                await self._dialer.open(lambda: connection)
        except OSError as error:
            if connection.was_made:  # at the last moment: uvloop closes it, and does not say so
                connection.close("no connection in time")
                self.lost(connection)
            else:
                self._connecting -= 1
                self._refused(error)

    def _refused(self, error: OSError) -> None:
        """A connection failed, so those who wait fail at once.

        Only an app that is there, but too busy to accept, is waited for: on the connections that it has.
        """
        busy = isinstance(error, (BlockingIOError, TimeoutError))
        if not (busy and self._connections):
            reason = error.strerror or str(error) or "no connection in time"
            self._fail_waiting(ChannelError(f"cannot reach the app at {self._dialer.name}: {reason}"))

    def _fail_waiting(self, error: ChannelError) -> None:
        waiting, self._waiting, self._waiting_bytes = self._waiting, deque(), 0
        for exchange in waiting:
            exchange.fail(error)

    # Deadlines.

    def _sweep_often(self, now: float) -> None:
        self._swept = now
        if self._sweep_handle is not None:
            self._sweep_handle.cancel()
        self._sweeping = True
        self._sweep_handle = self._loop.call_later(SWEEP_SECONDS, self._sweep)

    def _sweep(self) -> None:
        """Break off what is overdue or unwanted, close what is idle for long, and come again while there is need."""
        now = self._loop.time()
        for connection in tuple(self._connections):
            if connection.exchange is not None:
                _check(connection.exchange, now)
        for exchange in tuple(self._waiting):
            _check(exchange, now)
        self._drop_closed()
        self._close_idle(now - self._bounds.idle_seconds)
        self._schedule_sweep(now)

    @property
    def _busy(self) -> bool:
        return bool(self._waiting or self._connecting or len(self._idle) < len(self._connections))

    def _schedule_sweep(self, now: float) -> None:
        if self._busy:
            self._sweep_often(now)
            return
        if self._quiet is not None:
            self._quiet.resolve(None)
            self._quiet = None
        self._sweeping = False
        self._sweep_handle = None
        if self._idle:
            oldest = min(connection.idle_since for connection in self._idle)
            due = oldest + self._bounds.idle_seconds - now + SWEEP_SECONDS
            self._sweep_handle = self._loop.call_later(due, self._sweep)

    def _drop_closed(self) -> None:
        """Take those that ended while they waited out of the queue."""
        if any(exchange.closed for exchange in self._waiting):
            self._waiting = deque(exchange for exchange in self._waiting if not exchange.closed)
            self._waiting_bytes = sum(len(exchange.request.body or b"") for exchange in self._waiting)

    def _close_idle(self, since: float) -> None:
        """Close connections not used after loop time `since`."""
        old = [connection for connection in self._idle if connection.idle_since <= since]
        if old:
            self._idle = [connection for connection in self._idle if connection.idle_since > since]
            for connection in old:
                connection.close("")


def _check(exchange: AppExchange, now: float) -> None:
    if exchange.sink.abandoned:
        exchange.abort()
    elif exchange.deadline <= now:
        connection = exchange.connection
        exchange.fail(ChannelTimeout("the app did not answer in time"))
        if connection is not None:
            connection.drop()
