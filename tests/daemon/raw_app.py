"""An app as bytes on a socket: the test accepts, reads, answers and closes by hand, so the order of events is exact."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import uvloop

from noded.calls import Header
from noded.channel import ChannelBounds, HttpChannel
from noded.channel_contract import AppResponse, ChannelError
from noded.config.records import ChannelSpec
from noded.lanes import step

T = TypeVar("T")

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class RawApp:
    """A listening Unix socket, or without a path a port of 127.0.0.1."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._listener = socket.socket(socket.AF_INET if path is None else socket.AF_UNIX)
        self._listener.setblocking(False)
        self._listener.bind(("127.0.0.1", 0) if path is None else str(path))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}" if path is None else f"unix:{path}"
        self._listener.listen(64)
        self._peers: list[Peer] = []

    async def accept(self) -> "Peer":
        """The next connection that the daemon makes."""
        sock, _ = await asyncio.wait_for(asyncio.get_running_loop().sock_accept(self._listener), 10)
        peer = Peer(sock)
        self._peers.append(peer)
        return peer

    def nobody_connects(self) -> bool:
        """Whether no connection waits to be accepted."""
        try:
            sock, _ = self._listener.accept()
        except BlockingIOError:
            return True
        sock.close()
        return False

    def close(self) -> None:
        """Stop listening and close every connection."""
        self._listener.close()
        if self.path is not None:
            self.path.unlink(missing_ok=True)
        for peer in self._peers:
            peer.close()


class Peer:
    """The app's end of one connection."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock = sock

    async def read(self, size: int = 65536) -> bytes:
        """Some bytes; b"" at the end."""
        return await asyncio.wait_for(asyncio.get_running_loop().sock_recv(self.sock, size), 10)

    async def request(self) -> bytes:
        """A request's head, and a body that content-length announces."""
        got = b""
        while True:
            head, end, body = got.partition(b"\r\n\r\n")
            length = next((int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"content-length")), 0)
            if end and len(body) >= length:
                return got
            piece = await self.read()
            assert piece, f"closed after {got!r}"
            got += piece

    async def send(self, data: bytes) -> None:
        """Send all of it."""
        await asyncio.wait_for(asyncio.get_running_loop().sock_sendall(self.sock, data), 10)

    def close(self) -> None:
        """Close, at once."""
        self.sock.close()


class Recorder:
    """A sink that keeps what it hears, and wakes whoever waits for more."""

    def __init__(self) -> None:
        self.events: list[tuple[object, ...]] = []
        self.body = b""
        self.abandoned = False
        self._changed = asyncio.Event()

    def on_answer(self, status: int, headers: list[Header], body: bytes) -> None:
        del headers
        self._heard("answer", status, body)

    def on_head(self, status: int, headers: list[Header]) -> None:
        del headers
        self._heard("head", status)

    def on_piece(self, piece: bytes) -> None:
        self.body += piece
        self._heard("piece")

    def on_end(self) -> None:
        self._heard("end")

    def on_error(self, error: ChannelError) -> None:
        self._heard("error", type(error))

    def on_drained(self) -> None:
        self._heard("drained")

    async def hears(self, name: str) -> None:
        """Wait until an event of that name was heard."""
        while all(event[0] != name for event in self.events):
            self._changed.clear()
            await asyncio.wait_for(self._changed.wait(), 10)

    async def has(self, size: int) -> None:
        """Wait until so much of the body is there."""
        while len(self.body) < size:
            self._changed.clear()
            await asyncio.wait_for(self._changed.wait(), 10)

    def names(self) -> list[object]:
        return [event[0] for event in self.events if event[0] != "piece"]

    def _heard(self, *event: object) -> None:
        self.events.append(event)
        self._changed.set()


def in_loop(coroutine: Coroutine[Any, None, T]) -> asyncio.Future[T]:
    """Step an inline coroutine, as the daemon does, and give an asyncio future of its result."""
    future: asyncio.Future[T] = asyncio.get_running_loop().create_future()

    def done(value: T | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(value)  # type: ignore[arg-type]  # no error: it is a T

    step(coroutine, done)
    return future


def call(
    channel: HttpChannel, method: bytes = b"POST", body: bytes = b"", timeout_seconds: float = 30
) -> asyncio.Future[AppResponse]:
    return in_loop(channel.call(method, b"/x", [(b"a", b"b")], body, timeout_seconds))


async def answered(channel: HttpChannel, peer: Peer) -> None:
    """Make one call on a connection that is open, and answer it."""
    under_way = call(channel)
    await peer.request()
    await peer.send(OK)
    assert (await under_way).status == 200


def with_app(
    tmp_path: Path | None,
    scenario: Callable[[RawApp, HttpChannel], Awaitable[None]],
    bounds: ChannelBounds | None = None,
    max_concurrency: int | None = None,
) -> None:
    """Run a scenario on a uvloop loop with an app that listens, on TCP without a path, and the channel to it."""

    async def run() -> None:
        app = RawApp(tmp_path and tmp_path / "app.sock")
        spec = ChannelSpec(app.address, max_concurrency=max_concurrency)
        channel = HttpChannel(spec, asyncio.get_running_loop(), bounds)
        try:
            await scenario(app, channel)
        finally:
            await channel.aclose()
            app.close()
            await asyncio.sleep(0)

    uvloop.run(run())
