"""The app under the runtimes: `python -m bench.app PORT`. Target of calls, subscriber of events.

It shares a core with the load generator, so it does next to nothing: fixed answers, requests cut by hand.
Chunked bodies are cut at the last chunk's bytes, which our own payloads never contain.
"""

import asyncio
import json
import sys
import time
from dataclasses import dataclass
from typing import cast

import uvloop

PUBSUB = "pubsub"
TOPIC = "orders"
_HEAD_END = b"\r\n\r\n"
_LAST_CHUNK = b"\r\n0\r\n\r\n"
_LENGTH = b"\r\ncontent-length:"


def _response(body: bytes) -> bytes:
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


_ACK = _response(b"")
_OK = _response(b'{"ok":true}')
_SUBSCRIPTIONS = _response(json.dumps([{"pubsubname": PUBSUB, "topic": TOPIC, "route": "/events"}]).encode())


def request_end(buffer: bytes) -> int | None:
    """Where the first request in `buffer` ends, or None while it is incomplete."""
    head_end = buffer.find(_HEAD_END)
    if head_end < 0:
        return None
    body = head_end + len(_HEAD_END)
    if buffer.startswith(b"GET "):
        return body
    head = buffer[: head_end + 2].lower()
    at = head.find(_LENGTH)
    if at >= 0:
        end = body + int(head[at + len(_LENGTH) : head.index(b"\r\n", at + 2)])
        return end if end <= len(buffer) else None
    if b"\r\ntransfer-encoding: chunked" in head:
        last = buffer.find(_LAST_CHUNK, head_end + 2)
        return None if last < 0 else last + len(_LAST_CHUNK)
    return body


@dataclass(slots=True)
class Counter:
    """Events seen since the last reset; times by the monotonic clock."""

    events: int = 0
    first_seconds: float = 0.0
    last_seconds: float = 0.0

    def add(self) -> None:
        """Count one event."""
        self.last_seconds = time.monotonic()
        if not self.events:
            self.first_seconds = self.last_seconds
        self.events += 1

    def reset(self) -> None:
        """Start again from zero."""
        self.events = 0
        self.first_seconds = self.last_seconds = 0.0

    def encode(self) -> bytes:
        """As JSON: events, first_seconds, last_seconds."""
        return json.dumps(
            {"events": self.events, "first_seconds": self.first_seconds, "last_seconds": self.last_seconds}
        ).encode()


class AppConnection(asyncio.Protocol):
    """One connection: cuts requests, answers them in order."""

    def __init__(self, counter: Counter) -> None:
        self._counter = counter
        self._pending = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's transports do not derive from asyncio's

    def data_received(self, data: bytes) -> None:
        pending = self._pending + data if self._pending else data
        replies: list[bytes] = []
        while (end := request_end(pending)) is not None:
            replies.append(self._answer(pending))
            pending = pending[end:]
        self._pending = pending
        if replies and not self._transport.is_closing():
            self._transport.write(b"".join(replies))

    def _answer(self, request: bytes) -> bytes:
        path = request[: request.index(b" HTTP/")].partition(b" ")[2]
        if path == b"/events":
            self._counter.add()
            return _ACK
        if path == b"/dapr/subscribe":
            return _SUBSCRIPTIONS
        if path == b"/count":
            return _response(self._counter.encode())
        if path == b"/reset":
            self._counter.reset()
        return _OK


async def serve(port: int) -> None:
    """Answer on loopback until cancelled."""
    counter = Counter()
    server = await asyncio.get_running_loop().create_server(lambda: AppConnection(counter), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
