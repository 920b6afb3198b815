"""A node without a daemon: apps with sockets and channels on one loop; a test holds both ends of an invocation."""

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import uvloop

from noded import http_heads
from noded.app import App
from noded.channel import HttpChannel
from noded.config.records import AppSpec, ChannelSpec
from noded.dispatch import Dispatcher
from noded.listener import Listener
from noded.node import Node
from noded.routes import http_table
from noded.server import Connection, Serving
from noded.server_http1 import Http1Wire
from noded.wire.http1 import ResponseReader
from tenancy.fairness import Turns
from tenancy.tenant import Tenants
from tests.daemon.raw_app import OK, Peer, RawApp

GET_CALLEE = b"GET /v1.0/invoke/callee/method/echo HTTP/1.1\r\nhost: x\r\n\r\n"
NO_TRACE = b"00-00000000000000000000000000000000-0000000000000000-00"


@dataclass
class Answer:
    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes

    def all(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.headers if key == name]


class Client(Peer):
    """The calling app's end of a connection to the node."""

    async def ask(self, request: bytes) -> Answer:
        """Send a request and read the whole answer."""
        await self.send(request)
        return await self.answer(request.partition(b" ")[0])

    async def answer(self, method: bytes = b"GET") -> Answer:
        """Read the whole answer to a request of that method."""
        reader = ResponseReader()
        reader.expect(method)
        body: list[bytes] = []
        while not reader.complete:
            piece = await self.read(1 << 20)
            assert piece, f"closed inside the answer: {reader.status} {body[:1]}"
            reader.feed(piece)
            body.append(reader.take_body())
        return Answer(reader.status, reader.headers, b"".join(body))


@dataclass
class InvokeNode:
    """Apps on one node."""

    directory: Path
    node: Node
    tenants: Tenants
    serving: Serving
    apps: dict[str, RawApp] = field(default_factory=dict)
    _paths: set[str] = field(default_factory=set)
    _servers: list[asyncio.Server] = field(default_factory=list)
    _clients: list[Client] = field(default_factory=list)

    def attach(
        self,
        app_id: str,
        namespace: str = "default",
        *,
        listens: bool = True,
        token: str | None = None,
        max_body_bytes: int = 4 << 20,
    ) -> App:
        """Attach an app. Where it listens it is `apps[name]`, its name being `app` or `app.namespace`."""
        name = app_id if namespace == "default" else f"{app_id}.{namespace}"
        raw = RawApp(self.directory / f"{name}.app") if listens else None
        channel = ChannelSpec(raw.address) if raw else None
        spec = AppSpec(app_id, namespace, channel, app_token=token)
        loop = asyncio.get_running_loop()
        tenant = self.tenants.attach(namespace, app_id)
        app = App(spec, tenant, self.node, HttpChannel(channel, loop) if channel else None, max_body_bytes)
        self.node.add(app)
        if raw is not None:
            self.apps[name] = raw
        return app

    async def client(self, app: App) -> Client:
        """Connect to the node as `app`."""
        path = str(self.directory / f"{app.app_id}.{app.namespace}.http")
        loop = asyncio.get_running_loop()
        if path not in self._paths:
            self._paths.add(path)
            listener = Listener(app, self.serving, only_http2=False, token=None)
            self._servers.append(await loop.create_unix_server(listener, path))
        sock = socket.socket(socket.AF_UNIX)
        sock.setblocking(False)
        await loop.sock_connect(sock, path)
        client = Client(sock)
        self._clients.append(client)
        return client

    async def close(self) -> None:
        """Close everything, in the order of a shutdown."""
        for server in self._servers:
            server.close()
        for client in self._clients:
            client.close()
        for app in self.node:
            if app.channel is not None:
                await app.channel.aclose()
        for raw in self.apps.values():
            raw.close()
        await asyncio.sleep(0.01)


async def caller_and_callee(node: InvokeNode) -> Client:
    """Attach the usual two apps, and connect as the caller."""
    node.attach("callee")
    return await node.client(node.attach("caller"))


async def passed(node: InvokeNode, client: Client, request: bytes, response: bytes = OK) -> tuple[bytes, Answer]:
    """Invoke, and return what the callee got and what the caller got."""
    await client.send(request)
    peer = await node.apps["callee"].accept()
    got = await peer.request()
    await peer.send(response)
    return got, await client.answer(request.partition(b" ")[0])


def headers_of(request: bytes) -> list[tuple[bytes, bytes]]:
    lines = request.partition(b"\r\n\r\n")[0].split(b"\r\n")[1:]
    return [(name, value) for name, _, value in (line.partition(b": ") for line in lines)]


def on_node(tmp_path: Path, scenario: Callable[[InvokeNode], Awaitable[None]], sampling_rate: float = 0.0) -> None:
    """Run a scenario on a fresh node. Tracing is off unless a rate is given."""

    async def run() -> None:
        loop = asyncio.get_running_loop()
        http_heads.tick(0)
        turns = Turns(time.monotonic_ns, loop.call_soon)
        dispatcher = Dispatcher(http_table(), turns)

        def http1(connection: Connection) -> Http1Wire:
            return Http1Wire(connection, dispatcher.http, dispatcher.streams)

        serving = Serving(turns, http1, partial(_no_http2), loop.time, set())
        tenants = Tenants(clock=time.time)
        node = InvokeNode(tmp_path, Node(sampling_rate), tenants, serving)
        try:
            await scenario(node)
        finally:
            await node.close()

    uvloop.run(run())


def _no_http2(_: Connection) -> Http1Wire:
    raise AssertionError("no test here speaks HTTP/2")
