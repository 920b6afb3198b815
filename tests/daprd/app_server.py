"""An app behind a real server (Hypercorn), by HTTP/1.1, h2c or TLS: it echoes, streams, and remembers."""

import asyncio
import json
import subprocess
import threading
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypercorn.asyncio import serve
from hypercorn.config import Config

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
SECONDS = 20.0
SUBSCRIPTIONS = [{"pubsubname": "pubsub", "topic": "orders", "route": "/orders"}]


def certificate(directory: Path) -> tuple[Path, Path]:
    """A self-signed certificate that names nobody, and its key."""
    key, made = directory / "key.pem", directory / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command += ["-keyout", str(key), "-out", str(made), "-days", "1", "-subj", "/CN=nobody"]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=SECONDS)
    except FileNotFoundError:
        pytest.skip("there is no openssl to make a certificate with")
    return made, key


class ServedApp:
    """What it was asked."""

    def __init__(self) -> None:
        self.port = 0
        self.versions: set[str] = set()
        """Of HTTP, by which it was asked."""
        self.events: list[dict[str, object]] = []
        self.event_came = threading.Event()
        self.caller_left = threading.Event()
        self.running = 0
        self.most_running = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        self.versions.add(scope["http_version"])
        match scope["path"]:
            case "/dapr/subscribe":
                await answer(send, SUBSCRIPTIONS)
            case "/orders":
                self.events.append(json.loads(await body_of(receive)))
                self.event_came.set()
                await answer(send, {})
            case "/echo":
                await self._echo(scope, receive, send)
            case "/slow":
                await self._be_slow(send)
            case "/endless":
                await self._stream(receive, send)
            case _:
                await answer(send, {}, 404)

    async def _echo(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        body = (await body_of(receive)).decode("latin-1")
        told = {"method": scope["method"], "query": scope["query_string"].decode(), "headers": headers, "body": body}
        await answer(send, {**told, "scheme": scope["scheme"]}, 418)

    async def _be_slow(self, send: Send) -> None:
        self.running += 1
        self.most_running = max(self.running, self.most_running)
        await asyncio.sleep(0.05)
        self.running -= 1
        await answer(send, {})

    async def _stream(self, receive: Receive, send: Send) -> None:
        """One event each time the last was sent, until the caller leaves."""
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        gone = asyncio.ensure_future(left(receive))
        number = 0
        while not gone.done():
            await send({"type": "http.response.body", "body": b"data: %d\n\n" % number, "more_body": True})
            number += 1
            await asyncio.wait([gone], timeout=0.02)
        self.caller_left.set()


async def body_of(receive: Receive) -> bytes:
    body, more = b"", True
    while more:
        event = await receive()
        body += event.get("body", b"")
        more = event.get("more_body", False)
    return body


async def left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def answer(send: Send, value: object, status: int = 200) -> None:
    body = json.dumps(value).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@contextmanager
def served(protocol: str, directory: Path) -> Iterator[ServedApp]:
    """Serve it by http, h2c or https until the block ends."""
    app = ServedApp()
    config = Config()
    config.bind = ["127.0.0.1:0"]
    config.errorlog = None
    if protocol == "https":
        made, key = certificate(directory)
        config.certfile, config.keyfile = str(made), str(key)
    sockets = config.create_sockets()
    bound = (sockets.secure_sockets or sockets.insecure_sockets)[0]
    app.port = bound.getsockname()[1]
    config.create_sockets = lambda: sockets  # type: ignore[method-assign]
    stop = asyncio.Event()
    loop = asyncio.new_event_loop()

    def run() -> None:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(serve(app, config, shutdown_trigger=stop.wait))  # type: ignore[arg-type]
        loop.close()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield app
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(SECONDS)


def server_credentials(directory: Path) -> tuple[bytes, bytes]:
    """Key and certificate chain for a gRPC server, PEM."""
    made, key = certificate(directory)
    return key.read_bytes(), made.read_bytes()
