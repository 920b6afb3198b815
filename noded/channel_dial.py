"""Where an app listens, and how a connection to it is opened: Unix socket or TCP, with TLS where its protocol has it.

TLS to an app is for secrecy from the network between, not to know who answers: as in daprd, any certificate will do.
Source: daprd 1.18 pkg/runtime/channels/channels.go, appHTTPClient; pkg/api/grpc/manager/manager.go.
"""

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass

from noded.channel_reach import Reach
from noded.config.records import AppProtocol, ChannelSpec
from noded.config.values import is_host


@dataclass(frozen=True, slots=True)
class Address:
    """Where an app listens."""

    path: str | None
    """Of a Unix socket; None: TCP."""
    host: str = "localhost"
    port: int = 0

    @property
    def host_header(self) -> bytes:
        """What the Host header says; for a Unix socket there is no better name than localhost."""
        if self.path is not None:
            return b"localhost"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}".encode()


def parse_address(text: str) -> Address:
    """Read `unix:/path`, `host:port` or `[v6]:port`. Raises ValueError saying what is wrong."""
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        if not path.startswith("/"):
            raise ValueError(f"channel address {text!r}: a Unix socket's path must be absolute")
        return Address("/" + path.lstrip("/"))
    host, colon, port = text.rpartition(":")
    if not colon or not is_host(host) or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"channel address {text!r}: give host:port or unix:/path")
    return Address(None, host.strip("[]"), int(port))


class Dialer:
    """Opens connections to one app."""

    def __init__(self, spec: ChannelSpec, loop: asyncio.AbstractEventLoop, reach: Reach | None = None) -> None:
        """Raises ValueError for an address that is none. `reach`: who is told how connections begin."""
        self.address = parse_address(spec.address)
        self.scheme = b"https" if spec.protocol.has_tls else b"http"
        self._loop = loop
        self._reach = reach
        self._tls = app_tls(spec.protocol) if spec.protocol.has_tls else None
        self._server_name = self.address.host if self._tls is not None else None

    @property
    def name(self) -> str:
        """The address, for messages."""
        return self.address.path or self.address.host_header.decode()

    async def open(self, made: Callable[[], asyncio.Protocol]) -> None:
        """Connect, TLS's handshake included. Raises OSError."""
        try:
            await self._connect(made)
        except OSError as error:
            if self._reach is not None:
                self._reach.failed(self.name, error)
            raise
        if self._reach is not None:
            self._reach.made()

    async def _connect(self, made: Callable[[], asyncio.Protocol]) -> None:
        loop, address = self._loop, self.address
        tls, name = self._tls, self._server_name
        if address.path is not None:
            await loop.create_unix_connection(made, address.path, ssl=tls, server_hostname=name)
        else:
            await loop.create_connection(made, address.host, address.port, ssl=tls, server_hostname=name)


def app_tls(protocol: AppProtocol) -> ssl.SSLContext:
    """What TLS to an app is spoken by: 1.2 or newer, any certificate; gRPC asks for HTTP/2 by ALPN."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if protocol.is_grpc:
        context.set_alpn_protocols(["h2"])
    return context
