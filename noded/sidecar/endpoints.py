"""The sockets of one app as daprd has them: TCP ports, or Unix sockets in one directory; and the public port.

Nobody's kernel says who calls on TCP, and daprd asks for no token unless it was given one; so it is here.
Source: dapr pkg/api/http/server.go and pkg/api/listen.
"""

import errno
import logging
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import trio

from noded.config.paths import SocketPaths, check_length
from noded.endpoints import Bound
from noded.server import Serving
from noded.sidecar.settings import Listening
from noded.sockets import BACKLOG, SocketError, SocketFile, bind_unix
from tenancy.identity import Ownership

log = logging.getLogger("noded.http")

RETRY_SECONDS = 0.1
"""Between two tries for a port that is taken."""
TAKEN_SECONDS = 10.0
"""How long a port may be taken: the one who has it may be ending (daprd waits as long)."""


@dataclass(slots=True)
class SidecarEndpoints:
    """What is bound before anything is served, because a port may have to be waited for."""

    bound: list[Bound]
    paths: SocketPaths | None = None
    http_port: int | None = None
    grpc_port: int | None = None
    token: str | None = None
    files: list[SocketFile] = field(default_factory=list)

    def bind(self) -> Iterator[Bound]:
        """As Endpoints.bind: nothing is left to do."""
        yield from self.bound

    def stop(self) -> None:
        """As Endpoints.stop."""
        for file in self.files:
            file.remove()
        self.files.clear()

    def remove(self) -> None:
        """As Endpoints.remove."""
        self.stop()


async def open_endpoints(listening: Listening, app_id: str, token: str | None, public: Serving) -> SidecarEndpoints:
    """Bind all of them. Raises SocketError, PathTooLongError."""
    secret = token.encode() if token else None
    made = SidecarEndpoints([], token=token)
    if listening.socket_dir is not None:
        _bind_files(made, listening.socket_dir, app_id, secret)
    else:
        made.http_port, made.grpc_port = listening.http_port, listening.grpc_port
        for what, port, only_http2 in (("gRPC", listening.grpc_port, True), ("HTTP", listening.http_port, False)):
            socks = await _bind_any(what, listening.addresses, port)
            made.bound += [Bound(sock, only_http2, secret) for sock in socks]
    if listening.public is not None:
        address, port = listening.public
        sock = await _bind_patiently(address, port)
        log.info("public HTTP server listening on TCP address: %s:%d", address, port)
        made.bound.append(Bound(sock, serving=public))
    return made


def bind_tcp(address: str, port: int) -> socket.socket:
    """Listen at one address; "" is every one, of both families. Raises OSError."""
    if not address and socket.has_dualstack_ipv6():
        sock = socket.create_server(("", port), family=socket.AF_INET6, backlog=BACKLOG, dualstack_ipv6=True)
    else:
        host = address.strip("[]")
        family, *_, place = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        sock = socket.create_server(place[:2], family=family, backlog=BACKLOG)
    sock.setblocking(False)
    return sock


async def _bind_any(what: str, addresses: tuple[str, ...], port: int) -> list[socket.socket]:
    """Listen at every address that can be had. Raises SocketError where none can."""
    socks, wrong = [], []
    for address in addresses:
        try:
            socks.append(await _bind_patiently(address, port))
        except SocketError as error:
            log.error("Failed to listen for %s server on TCP address %s", what, error)  # noqa: TRY400 - no bug
            wrong.append(str(error))
        else:
            log.info("%s server listening on TCP address: %s:%d", what, address, port)
    if not socks:
        raise SocketError(f"could not listen on any endpoint: {'; '.join(wrong)}")
    return socks


async def _bind_patiently(address: str, port: int) -> socket.socket:
    deadline = trio.current_time() + TAKEN_SECONDS
    while True:
        try:
            return bind_tcp(address, port)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or trio.current_time() >= deadline:
                raise SocketError(f"{address}:{port}: {_reason(error)}") from error
        await trio.sleep(RETRY_SECONDS)


def _reason(error: OSError) -> str:
    """Without the address, which `create_server` puts behind it."""
    if isinstance(error, socket.gaierror) or error.errno is None:
        return str(error.strerror)
    return os.strerror(error.errno)


def _bind_files(made: SidecarEndpoints, directory: Path, app_id: str, token: bytes | None) -> None:
    """Sockets with the mode that a plain bind gives: 0777 less the umask."""
    names = (f"dapr-{app_id}-{each}.socket" for each in ("http", "grpc"))
    http, grpc = (check_length(directory / name, "choose a shorter --unix-domain-socket or app id") for name in names)
    made.paths = SocketPaths(directory, http, grpc)
    umask = os.umask(0o077)
    os.umask(umask)
    for path, only_http2 in ((grpc, True), (http, False)):
        if _is_served(path):
            raise SocketError(f"listen unix {path}: bind: address already in use")
        file = bind_unix(path, Ownership(-1, -1, 0o700))
        path.chmod(0o777 & ~umask)
        made.files.append(file)
        made.bound.append(Bound(file.sock, only_http2, token))
        log.info("%s server listening on UNIX socket: %s", "gRPC" if only_http2 else "HTTP", path)


def _is_served(path: Path) -> bool:
    """Whether somebody alive listens there; what a dead one left may be replaced."""
    with socket.socket(socket.AF_UNIX) as client:
        client.setblocking(False)
        try:
            client.connect(os.fspath(path))
        except BlockingIOError:
            return True
        except OSError:
            return False
        return True
