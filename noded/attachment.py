"""One app's stay at the daemon: directory, sockets, channel, subscriptions, from attach to detach.

Made in order, undone in reverse: its sockets are the last thing made and the first closed.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, Protocol

import trio

from noded.accepting import Accepting
from noded.app import App
from noded.channel import HttpChannel
from noded.channel_contract import AppChannel
from noded.channel_dial import Address, parse_address
from noded.channel_reach import Reach
from noded.config.records import AppProtocol, AppSpec, SubscriptionSpec
from noded.endpoints import Endpoints
from noded.host import Host
from noded.lanes import in_trio
from noded.listener import Listener
from noded.runtime.health_probe import GrpcProbe, HttpProbe, Probe
from noded.runtime.lifecycle import Lifecycle
from noded.runtime.subscriptions import Subscriptions
from noded.server import Serving

if TYPE_CHECKING:
    from noded.channel_grpc import GrpcChannel

CHANNEL_SECONDS = 0.1
"""Between two tries to reach an app that is not up yet (daprd waits as long)."""
DIAL_SECONDS = 5.0
"""For one try: a host that answers nothing keeps the kernel trying for minutes."""


@dataclass(frozen=True, slots=True)
class Site:
    """What every attachment is made with."""

    serving: Serving
    host: Host
    endpoints: Callable[[AppSpec], Endpoints]
    """Where an app is to reach the daemon. Raises PathTooLongError."""
    nursery: trio.Nursery
    """Owns the tasks of attached apps."""


@dataclass(slots=True)
class Attachment:
    """An attached app and everything that was made for it."""

    app: App
    endpoints: Endpoints
    listeners: list[Listener] = field(default_factory=list)
    lifecycle: Lifecycle | None = None
    """Of an app that has a channel."""
    _servers: list["Closable"] = field(default_factory=list)
    _scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    _subscriptions: Subscriptions | None = None
    _probe_channel: "AppChannel | GrpcChannel | None" = None

    @classmethod
    async def open(cls, app: App, site: Site, subscriptions: tuple[SubscriptionSpec, ...]) -> "Attachment":
        """Attach: from here on the app's sockets answer.

        Raises SocketError, PathTooLongError, UnknownAccountError: nothing was left behind.
        """
        made = cls(app, site.endpoints(app.spec))
        try:
            await made._listen(site.serving, site.host)
        except BaseException:
            with trio.CancelScope(shield=True):
                await made.close(drain_seconds=0.0)
            raise
        made._subscriptions = held = Subscriptions(app)
        app.subscriptions = held
        held.open(subscriptions, site.nursery)
        if app.spec.channel is not None:
            made.lifecycle = Lifecycle(app, held, made._probe(site.host))
            site.nursery.start_soon(made._live, made.lifecycle, parse_address(app.spec.channel.address))
        return made

    def stop_listening(self) -> None:
        """Accept no more, and let the open connections finish what is under way."""
        for server in self._servers:
            server.close()
        self._servers.clear()
        self.endpoints.stop()
        for listener in self.listeners:
            listener.drain()

    async def wait_unhealthy(self) -> None:
        """Return while the app is not known to be healthy. One without a channel is."""
        if self.lifecycle is None:
            await trio.sleep_forever()
        else:
            await self.lifecycle.wait_unhealthy()

    def end_subscriptions(self) -> None:
        """Deliver no more; the app may go on calling."""
        if self._subscriptions is not None:
            self._subscriptions.close()

    async def close(self, drain_seconds: float) -> None:
        """Detach: stop listening, drain, end subscriptions and channel. Idempotent.

        Within the same deadline the app's own calls end, and those under way to it.
        """
        self.stop_listening()
        channels = [channel for channel in (self.app.channel, self.app.grpc_channel) if channel is not None]
        with trio.move_on_after(drain_seconds):
            for listener in self.listeners:
                await listener.wait_closed()
            self.end_subscriptions()
            for channel in channels:
                await in_trio(channel.wait_quiet())
        for listener in self.listeners:
            listener.abort()
        self._scope.cancel()
        self.end_subscriptions()
        if self._probe_channel is not None:
            channels.append(self._probe_channel)
        for channel in channels:
            await in_trio(channel.aclose())
        self.endpoints.remove()

    async def _listen(self, serving: Serving, host: Host) -> None:
        for bound in self.endpoints.bind():
            listener = Listener(self.app, bound.serving or serving, only_http2=bound.only_http2, token=bound.token)
            self.listeners.append(listener)
            await trio.lowlevel.checkpoint()
            self._servers.append(Accepting(host.loop, listener, bound.sock, listener.serving.turns, self.app.turn))

    async def _live(self, lifecycle: Lifecycle, address: Address) -> None:
        with self._scope:
            await lifecycle.run(partial(_dial_patiently, address))

    def _probe(self, host: Host) -> Probe | None:
        """How the app's health is asked for, if it is: over a channel of its own."""
        spec = self.app.spec
        if spec.health is None or spec.channel is None:
            return None
        http, grpc = make_channels(replace(spec, channel=replace(spec.channel, max_concurrency=None)), host)
        self._probe_channel = http or grpc
        usage = self.app.tenant.usage
        if grpc is not None:
            return GrpcProbe(grpc, spec.health, usage)
        assert http is not None, "it has a channel"
        return HttpProbe(http, spec.health, usage)

    def reload(self, subscriptions: tuple[SubscriptionSpec, ...]) -> None:
        """Take changed resources: components were bound anew, declared subscriptions may differ."""
        if self._subscriptions is not None:
            self._subscriptions.reload(subscriptions)


class Closable(Protocol):
    """What stops accepting."""

    def close(self) -> None:
        """Stop."""


async def _dial_patiently(address: Address) -> None:
    """Dial the app until it listens."""
    while True:
        with suppress(OSError), trio.move_on_after(DIAL_SECONDS):
            await _dial(address)
            return
        await trio.sleep(CHANNEL_SECONDS)


async def _dial(address: Address) -> None:
    """Connect and hang up. Raises OSError."""
    if address.path is not None:
        stream = await trio.open_unix_socket(address.path)
    else:
        stream = await trio.open_tcp_stream(address.host, address.port)
    await stream.aclose()


class Channels(NamedTuple):
    """How the daemon calls an app: by the one protocol it speaks, or not at all."""

    http: AppChannel | None = None
    grpc: "GrpcChannel | None" = None


def make_channels(spec: AppSpec, host: Host, reach: Reach | None = None) -> Channels:
    """Make the app's channel, if it has one. Raises ValueError for an address that is none.

    `reach` tells of changes; None: nobody does.
    """
    channel = spec.channel
    if channel is None:
        return Channels()
    if channel.protocol.is_grpc:
        from noded.channel_grpc import GrpcChannel  # noqa: PLC0415 - HTTP/2 and gRPC are for apps that speak it

        return Channels(grpc=GrpcChannel(channel, host.loop, reach=reach))
    if channel.protocol is AppProtocol.H2C:
        from noded.channel_h2c import H2cChannel  # noqa: PLC0415

        return Channels(H2cChannel(channel, host.loop, reach=reach))
    return Channels(HttpChannel(channel, host.loop, reach=reach))
