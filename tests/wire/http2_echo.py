"""A throwaway HTTP/2 server around the codec, for h2spec and for real clients: answers every request with its body.

Run as `python http2_echo.py`: prints the port it listens on, on 127.0.0.1, and serves until it is killed.
"""

import asyncio
from collections.abc import Sequence
from typing import cast

import uvloop

from noded.calls import Header
from noded.wire.http2 import DEFAULT_LIMITS, HeaderBlock, Http2Connection, encode_block

_HEAD = encode_block(((b":status", b"200"), (b"content-type", b"text/plain")))
_GREETING = b"hello"


class EchoConnection(asyncio.Protocol):
    """Answers a request when it is complete."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.http2 = Http2Connection(self, client=False, limits=DEFAULT_LIMITS)
        self.bodies: dict[int, list[bytes]] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.http2.start()
        self.flush()

    def data_received(self, data: bytes) -> None:
        self.http2.feed(data, asyncio.get_running_loop().time())
        self.flush()

    def flush(self) -> None:
        assert self.transport is not None
        output = self.http2.take_output()
        if output:
            self.transport.write(output)
        if self.http2.closed:
            self.transport.close()

    def on_headers(self, stream_id: int, headers: HeaderBlock, end_stream: bool) -> None:  # noqa: FBT001
        self.bodies[stream_id] = []
        if end_stream:
            self.answer(stream_id)

    def on_data(self, stream_id: int, data: bytes, end_stream: bool) -> None:  # noqa: FBT001
        self.bodies[stream_id].append(data)
        self.http2.consumed(stream_id, len(data))
        if end_stream:
            self.answer(stream_id)

    def on_trailers(self, stream_id: int, headers: Sequence[Header]) -> None:
        self.answer(stream_id)

    def on_reset(self, stream_id: int, error_code: int) -> None:
        self.bodies.pop(stream_id, None)

    def on_writable(self, stream_id: int) -> None:
        pass

    def on_goaway(self, last_stream_id: int, error_code: int) -> None:
        pass

    def answer(self, stream_id: int) -> None:
        body = b"".join(self.bodies.pop(stream_id))
        self.http2.send_response(stream_id, _HEAD, body or _GREETING, None)


async def _serve() -> None:
    server = await asyncio.get_running_loop().create_server(EchoConnection, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201 - how the test learns the port
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve())
