"""One app's stay at the daemon: directory, sockets, channel, subscriptions, from attach to detach.

Made in order, undone in reverse: its sockets are the last thing made and the first closed.
"""

import logging
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import trio

from noded.app import App
from noded.channel import Address, HttpChannel
from noded.config.paths import SocketPaths, socket_paths
from noded.config.records import AppProtocol, AppSpec, LoopbackSpec, SubscriptionSpec
from noded.host import Host
from noded.lanes import in_trio
from noded.runtime.subscriptions import Subscriptions
from noded.server import Listener, Serving
from noded.sockets import SocketFile, bind_loopback, bind_unix, make_directory, remove_directory
from tenancy.identity import ownership

log = logging.getLogger("noded.apps")

CHANNEL_SECONDS = (0.1, 1.0)
"""Between two tries to reach an app that is not up yet: first, doubled each time, and longest."""
TOKEN_FILE = "api-token"  # noqa: S105 - a file's name
"""In the app's directory: the token of its loopback ports."""


@dataclass(frozen=True, slots=True)
class Site:
    """What every attachment is made with."""

    serving: Serving
    host: Host
    run_dir: Path
    nursery: trio.Nursery
    """Owns the tasks of attached apps."""


@dataclass(slots=True)
class Endpoints:
    """Where an app reaches the daemon."""

    paths: SocketPaths
    http_port: int | None = None
    grpc_port: int | None = None
    token: str | None = None


@dataclass(slots=True)
class Attachment:
    """An attached app and everything that was made for it."""

    app: App
    endpoints: Endpoints
    listeners: list[Listener] = field(default_factory=list)
    _files: list[SocketFile] = field(default_factory=list)
    _servers: list["Closable"] = field(default_factory=list)
    _scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    _subscriptions: Subscriptions | None = None

    @classmethod
    async def open(cls, app: App, site: Site, subscriptions: tuple[SubscriptionSpec, ...]) -> "Attachment":
        """Attach: from here on the app's sockets answer.

        Raises SocketError, PathTooLongError, UnknownAccountError: nothing was left behind.
        """
        made = cls(app, Endpoints(socket_paths(site.run_dir, app.namespace, app.app_id)))
        try:
            await made._listen(site.serving, site.host)
        except BaseException:
            with trio.CancelScope(shield=True):
                await made.close(drain_seconds=0.0)
            raise
        made._subscriptions = held = Subscriptions(app)
        app.subscriptions = held
        held.open(subscriptions, site.nursery)
        if isinstance(app.channel, HttpChannel):
            site.nursery.start_soon(made._await_channel, app.channel.address)
        return made

    def stop_listening(self) -> None:
        """Accept no more, and let the open connections finish what is under way."""
        for server in self._servers:
            server.close()
        self._servers.clear()
        for file in self._files:
            file.remove()
        self._files.clear()
        for listener in self.listeners:
            listener.drain()

    async def close(self, drain_seconds: float) -> None:
        """Detach: stop listening, drain, end subscriptions and channel. Idempotent."""
        self.stop_listening()
        with trio.move_on_after(drain_seconds):
            for listener in self.listeners:
                await listener.wait_closed()
        for listener in self.listeners:
            listener.abort()
        self._scope.cancel()
        if self._subscriptions is not None:
            self._subscriptions.close()
        if self.app.channel is not None:
            await in_trio(self.app.channel.aclose())
        (self.endpoints.paths.directory / TOKEN_FILE).unlink(missing_ok=True)
        remove_directory(self.endpoints.paths.directory)

    async def _listen(self, serving: Serving, host: Host) -> None:
        spec, paths = self.app.spec, self.endpoints.paths
        wanted = ownership(spec.sockets.owner, spec.sockets.group, spec.sockets.mode)
        make_directory(paths.directory, wanted)
        token = spec.api_token.encode() if spec.api_token else None
        for path, only_http2 in ((paths.http, False), (paths.grpc, True)):
            file = bind_unix(path, wanted)
            self._files.append(file)
            listener = Listener(self.app, serving, only_http2=only_http2, token=token)
            self.listeners.append(listener)
            self._servers.append(await host.from_asyncio(host.loop.create_unix_server(listener, sock=file.sock)))
        if spec.loopback is not None:
            await self._listen_on_loopback(spec, spec.loopback, serving, host)

    async def _listen_on_loopback(self, spec: AppSpec, loopback: LoopbackSpec, serving: Serving, host: Host) -> None:
        """TCP has no peer credentials, so a token is mandatory there."""
        self.endpoints.token = token = loopback.token or spec.api_token or secrets.token_urlsafe(24)
        _write_token(self.endpoints.paths.directory / TOKEN_FILE, token)
        ports = []
        for port, only_http2 in ((loopback.http_port, False), (loopback.grpc_port, True)):
            sock = bind_loopback(port)
            listener = Listener(self.app, serving, only_http2=only_http2, token=token.encode())
            self.listeners.append(listener)
            self._servers.append(await host.from_asyncio(host.loop.create_server(listener, sock=sock)))
            ports.append(sock.getsockname()[1])
        self.endpoints.http_port, self.endpoints.grpc_port = ports

    async def _await_channel(self, address: Address) -> None:
        """Dial the app until it listens; then it is ready."""
        wait, longest = CHANNEL_SECONDS
        with self._scope:
            while not self.app.ready:
                try:
                    await _dial(address)
                except OSError:
                    await trio.sleep(wait)
                    wait = min(wait * 2, longest)
                else:
                    self.app.ready = True
                    log.info("app %s answers", self.app.tenant.id)

    def reload(self, subscriptions: tuple[SubscriptionSpec, ...]) -> None:
        """Take changed resources: components were bound anew, declared subscriptions may differ."""
        if self._subscriptions is not None:
            self._subscriptions.reload(subscriptions)


class Closable(Protocol):
    """What stops accepting."""

    def close(self) -> None:
        """Stop."""


async def _dial(address: Address) -> None:
    """Connect and hang up. Raises OSError."""
    if address.path is not None:
        stream = await trio.open_unix_socket(address.path)
    else:
        stream = await trio.open_tcp_stream(address.host, address.port)
    await stream.aclose()


def make_channel(spec: AppSpec, host: Host) -> HttpChannel | None:
    """How the daemon calls the app.

    Raises ValueError for an address or a protocol it cannot call.
    """
    if spec.channel is None:
        return None
    if spec.channel.protocol is not AppProtocol.HTTP:
        protocol = spec.channel.protocol.value
        raise ValueError(f"app {spec.app_id}: channel protocol {protocol} is not served yet: use http")
    return HttpChannel(spec.channel, host.loop)


def _write_token(path: Path, token: str) -> None:
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(token)
    parent = path.parent.stat()
    if os.geteuid() == 0:
        os.chown(path, parent.st_uid, parent.st_gid)
