"""Streams to one app that speaks HTTP/2: few connections, made on demand, shared by all its calls.

Nothing happens until the first stream, so an app may come up after the daemon, and go and come again. Several
connections, because an app's own window is one for a whole connection: what it reads slowly holds up only its share.
One timer watches every deadline, some ten times a second, and only while something is under way.
"""

import asyncio
import math
from collections import deque
from dataclasses import dataclass
from typing import Final

from components.completion import Completion
from noded.channel import SWEEP_SECONDS
from noded.channel_contract import ChannelError
from noded.channel_dial import Dialer
from noded.channel_exchange import ChannelTimeout
from noded.channel_reach import Reach
from noded.config.records import ChannelSpec
from noded.http2_client import AppStream, Http2Client

SHARED_STREAMS: Final = 16
"""On the least busy connection, above which another is opened while there may be one."""


@dataclass(frozen=True, slots=True)
class StreamBounds:
    """What one app's channel may hold."""

    connections: int = 4
    waiting: int = 1024
    """Streams waiting for a connection or for their turn; above it they fail at once."""
    waiting_bytes: int = 32 << 20
    """Bytes of their requests."""
    answer_bytes: int = 16 << 20
    """Of one message that a unary call gathers."""
    connect_seconds: float = 5.0
    """Within which a connection must open and the app tell its settings."""


class Http2Channel:
    """The connections to one app, and the streams that wait for one."""

    def __init__(
        self,
        spec: ChannelSpec,
        loop: asyncio.AbstractEventLoop,
        bounds: StreamBounds | None = None,
        reach: Reach | None = None,
    ) -> None:
        """Raises ValueError for an address that is none."""
        self._dialer = Dialer(spec, loop, reach)
        self.authority = self._dialer.address.host_header
        self.scheme = self._dialer.scheme
        self.bounds = bounds or StreamBounds()
        self._loop = loop
        self._max_counted = spec.max_concurrency
        self._counted = 0
        self._connections: list[Http2Client] = []
        self._leaving: set[Http2Client] = set()  # take no more streams, and finish those they have
        self._waiting: deque[AppStream] = deque()  # for a connection
        self._in_line: deque[AppStream] = deque()  # for one of the app's places
        self._waiting_bytes = 0
        self._connecting: asyncio.Task[None] | None = None
        self._newcomer: Http2Client | None = None
        self._settled: asyncio.Future[None]  # when the newcomer knows the app's settings
        self._sweep_handle: asyncio.TimerHandle | None = None
        self._quiet: Completion[None] | None = None  # who waits for the end of what is under way
        self._closed = False

    def now(self) -> float:
        """The loop's time, by which deadlines are told."""
        return self._loop.time()

    def open(self, stream: AppStream, *, counted: bool, waits_seconds: float = 0.0) -> None:
        """Send a stream's request; an error goes to its sink, possibly before this returns.

        A counted one takes a place of the spec's max_concurrency until it ends, and waits for it in order; with
        `waits_seconds` so long before its deadline begins.
        """
        if self._sweep_handle is None and stream.deadline < math.inf:
            self._sweep_handle = self._loop.call_later(SWEEP_SECONDS, self._sweep)
        if counted and self._max_counted is not None:
            if self._counted >= self._max_counted:
                if waits_seconds:
                    stream.answer_seconds = stream.deadline - self.now()
                    stream.deadline += waits_seconds
                self._wait(self._in_line, stream)
                return
            stream.counted = True
            self._counted += 1
        self._carry(stream)

    def done(self, stream: AppStream) -> None:
        """A stream is over: its place is free for the next in line. Its owner says so, once or more."""
        if not stream.counted:
            return
        stream.counted = False
        self._counted -= 1
        assert self._max_counted is not None
        while self._in_line and self._counted < self._max_counted:
            following = self._take(self._in_line)
            if not following.closed:
                if following.answer_seconds is not None:
                    following.deadline = self.now() + following.answer_seconds
                following.counted = True
                self._counted += 1
                self._carry(following)

    async def wait_quiet(self) -> None:
        """Return once nothing is under way. Awaits a Completion only."""
        if self._busy:
            self._quiet = self._quiet or Completion()
            await self._quiet

    async def aclose(self) -> None:
        """Close every connection; what is under way fails with ChannelError."""
        self._closed = True
        if self._connecting is not None:
            self._connecting.cancel()
        if self._sweep_handle is not None:
            self._sweep_handle.cancel()
        self._fail_waiting("the app was detached")
        for connection in (*self._connections, *self._leaving):
            connection.close("the app was detached")

    # What the connections call.

    def made(self, connection: Http2Client) -> None:
        """A connection knows the app's settings."""
        if not self._settled.done():
            self._settled.set_result(None)

    def released(self, connection: Http2Client) -> None:
        """A stream ended: another may begin."""
        self._serve()
        self._tell_quiet()

    def lost(self, connection: Http2Client, reason: str) -> None:
        """A connection takes no more streams; one that has some is kept until they are over."""
        if connection.streams:
            self._leaving.add(connection)
        else:
            self._leaving.discard(connection)
        if connection in self._connections:
            self._connections.remove(connection)
        elif connection is self._newcomer and not self._settled.done():
            self._settled.set_exception(ConnectionError(reason))
        if self._waiting:
            self._connect()
        self._tell_quiet()

    # Carrying, waiting, connecting.

    @property
    def _busy(self) -> bool:
        connections = (*self._connections, *self._leaving)
        return bool(self._waiting or self._in_line or any(each.streams for each in connections))

    def _tell_quiet(self) -> None:
        """Something ended: perhaps it was the last under way."""
        if self._quiet is not None and not self._busy:
            self._quiet.resolve(None)
            self._quiet = None

    def _carry(self, stream: AppStream) -> None:
        connection = self._least_busy()
        if connection is None:
            self._wait(self._waiting, stream)
        else:
            connection.carry(stream)
        if connection is None or len(connection.streams) > SHARED_STREAMS:
            self._connect()

    def _least_busy(self) -> Http2Client | None:
        with_room = [connection for connection in self._connections if connection.has_room]
        return min(with_room, key=_load, default=None)

    def _wait(self, line: deque[AppStream], stream: AppStream) -> None:
        size = stream.waiting_bytes
        waiting = len(self._waiting) + len(self._in_line)
        if self._closed:
            stream.fail(ChannelError("the app was detached"))
        elif waiting >= self.bounds.waiting or self._waiting_bytes + size > self.bounds.waiting_bytes:
            stream.fail(ChannelError(f"the app is busy: {waiting} calls wait for it"))
        else:
            self._waiting_bytes += size
            line.append(stream)

    def _take(self, line: deque[AppStream]) -> AppStream:
        stream = line.popleft()
        self._waiting_bytes = max(0, self._waiting_bytes - stream.waiting_bytes)
        return stream

    def _serve(self) -> None:
        """Give what waits to connections with room."""
        while self._waiting and (connection := self._least_busy()) is not None:
            stream = self._take(self._waiting)
            if not stream.closed:
                connection.carry(stream)

    def _connect(self) -> None:
        """Begin a connection, unless one is under way or there are enough."""
        if self._closed or self._connecting is not None or len(self._connections) >= self.bounds.connections:
            return
        self._connecting = self._loop.create_task(self._open_connection())

    async def _open_connection(self) -> None:
        """Open one connection, and wait for the app's settings; on failure tell those who wait for it."""
        self._newcomer = newcomer = Http2Client(self)
        joined = False
        self._settled = self._loop.create_future()
        try:
            async with asyncio.timeout(self.bounds.connect_seconds):
                await self._dialer.open(lambda: newcomer)
                await self._settled
        except OSError as error:
            self._unreachable(error)
        else:
            joined = True
            self._connections.append(newcomer)
            self._serve()
        finally:
            self._connecting = self._newcomer = None
            if not joined:
                newcomer.close("")
        if self._waiting:
            self._connect()

    def _unreachable(self, error: OSError) -> None:
        """Tell those who wait, unless there are other connections to wait for."""
        if not self._connections:
            reason = error.strerror or str(error) or "no connection in time"
            self._fail_waiting(f"cannot reach the app at {self._dialer.name}: {reason}")

    def _fail_waiting(self, reason: str) -> None:
        waiting = [*self._waiting, *(self._in_line if self._closed else ())]
        self._waiting.clear()
        if self._closed:
            self._in_line.clear()
        self._waiting_bytes = sum(stream.waiting_bytes for stream in self._in_line)
        for stream in waiting:
            stream.fail(ChannelError(reason))
        self._tell_quiet()

    # Deadlines.

    def _sweep(self) -> None:
        """Break off what is overdue, and come again while there are deadlines."""
        now = self._loop.time()
        lines = (
            *(each.streams.values() for each in (*self._connections, *self._leaving)),
            self._waiting,
            self._in_line,
        )
        timed = [stream for line in lines for stream in line if stream.deadline < math.inf]
        for stream in timed:
            if stream.sink.abandoned:
                stream.cancel()
                self.done(stream)
            elif stream.deadline <= now:
                stream.fail(ChannelTimeout("the app did not answer in time"))
        self._drop_closed()
        self._tell_quiet()
        self._sweep_handle = self._loop.call_later(SWEEP_SECONDS, self._sweep) if timed else None

    def _drop_closed(self) -> None:
        """Take those that ended while they waited out of the lines."""
        for line in (self._waiting, self._in_line):
            if any(stream.closed for stream in line):
                kept = [stream for stream in line if not stream.closed]
                line.clear()
                line.extend(kept)
        self._waiting_bytes = sum(stream.waiting_bytes for line in (self._waiting, self._in_line) for stream in line)


def _load(connection: Http2Client) -> int:
    return len(connection.streams)
