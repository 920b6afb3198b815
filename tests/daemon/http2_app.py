"""An app that speaks HTTP/2 as frames on a socket: the test accepts, reads and answers by hand."""

import asyncio
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

from noded.calls import Header
from noded.wire.fields import HeaderBlock
from noded.wire.grpc import OK_TRAILERS, RESPONSE_HEAD, frame_message
from noded.wire.http2 import Http2Connection, Http2Limits

SECONDS = 10.0


class Served:
    """The app's end of one connection: writes down what comes, answers when told."""

    def __init__(self, sock: socket.socket, limits: Http2Limits) -> None:
        self.sock = sock
        self.codec = Http2Connection(self, client=False, limits=limits)
        self.heads: dict[int, dict[bytes, bytes]] = {}
        self.bodies: dict[int, bytes] = {}
        self.ended: list[int] = []
        self.resets: list[int] = []
        self.codec.start()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Read and write until something holds."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(SECONDS):
            await self.flush()
            while not condition():
                self.codec.feed(await loop.sock_recv(self.sock, 65536))
                await self.flush()

    async def flush(self) -> None:
        await asyncio.get_running_loop().sock_sendall(self.sock, self.codec.take_output())

    async def answer(self, stream_id: int, message: bytes = b"") -> None:
        self.codec.send_response(stream_id, RESPONSE_HEAD, frame_message(message), OK_TRAILERS)
        await self.flush()

    def on_headers(self, stream_id: int, headers: HeaderBlock, end_stream: bool) -> None:  # noqa: FBT001
        self.heads[stream_id] = dict(headers.headers)
        self.bodies[stream_id] = b""

    def on_data(self, stream_id: int, data: bytes, end_stream: bool) -> None:  # noqa: FBT001
        self.bodies[stream_id] += data
        if end_stream:
            self.ended.append(stream_id)

    def on_trailers(self, stream_id: int, headers: Sequence[Header]) -> None:
        raise AssertionError("a client sends none")

    def on_reset(self, stream_id: int, error_code: int) -> None:
        self.resets.append(stream_id)

    def on_writable(self, stream_id: int) -> None:
        """Its answers here are small."""

    def on_goaway(self, last_stream_id: int, error_code: int) -> None:
        """The channel closes."""


class App:
    """An app that listens, and accepts when it is told."""

    def __init__(self, path: Path, limits: Http2Limits | None = None) -> None:
        self.address = f"unix:{path}"
        self._limits = limits or Http2Limits()
        self._accepted: list[socket.socket] = []
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.setblocking(False)
        self._listening.bind(str(path))
        self._listening.listen(16)

    async def accept_bare(self) -> socket.socket:
        async with asyncio.timeout(SECONDS):
            sock, _ = await asyncio.get_running_loop().sock_accept(self._listening)
        self._accepted.append(sock)
        return sock

    async def accept(self) -> Served:
        served = Served(await self.accept_bare(), self._limits)
        await served.flush()
        return served

    async def begun(self) -> Served:
        """Accept, and read until a request has begun."""
        served = await self.accept()
        await served.until(lambda: bool(served.heads))
        return served

    def close(self) -> None:
        for sock in (self._listening, *self._accepted):
            sock.close()
