"""Where one app reaches the daemon: its listening sockets, bound in order and removed together."""

import logging
import os
import secrets
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from components.disk import disk_remedy
from noded.config.paths import SocketPaths, socket_paths
from noded.config.records import AppSpec, LoopbackSpec
from noded.loopback_places import Place, Places
from noded.server import Serving
from noded.sockets import SocketError, SocketFile, bind_loopback, bind_unix, make_directory, remove_directory
from tenancy.identity import ownership

log = logging.getLogger("noded")

TOKEN_FILE = "api-token"  # noqa: S105 - a file's name
"""In the app's directory: the token of its loopback ports."""


@dataclass(frozen=True, slots=True)
class Bound:
    """A listening socket whose connections wait to be served."""

    sock: socket.socket
    only_http2: bool = False
    token: bytes | None = None
    """What requests must carry as dapr-api-token; None: nothing."""
    serving: Serving | None = None
    """None: all that an app's sockets serve."""


class Endpoints(Protocol):
    """The sockets of one app."""

    @property
    def paths(self) -> SocketPaths | None:
        """Of its Unix sockets; None: it has none."""

    @property
    def http_port(self) -> int | None:
        """Its TCP port for HTTP."""

    @property
    def grpc_port(self) -> int | None:
        """Its TCP port for gRPC."""

    @property
    def token(self) -> str | None:
        """What is asked for on its TCP ports."""

    def bind(self) -> Iterator[Bound]:
        """Bind one socket after the other. Raises SocketError, PathTooLongError, UnknownAccountError."""

    def stop(self) -> None:
        """Remove what leads clients here. Idempotent."""

    def remove(self) -> None:
        """Remove everything that was made. Idempotent."""


@dataclass(slots=True)
class NodeEndpoints:
    """Unix sockets in a directory of the app's own under the run directory, and loopback ports where its spec says."""

    spec: AppSpec
    paths: SocketPaths
    places: Places
    http_port: int | None = None
    grpc_port: int | None = None
    token: str | None = None
    _files: list[SocketFile] = field(default_factory=list)

    @classmethod
    def of(cls, spec: AppSpec, run_dir: Path, places: Places) -> "NodeEndpoints":
        """The sockets an app is to have. Raises PathTooLongError."""
        return cls(spec, socket_paths(run_dir, spec.namespace, spec.app_id), places)

    def bind(self) -> Iterator[Bound]:
        """As Endpoints.bind."""
        spec, paths = self.spec, self.paths
        wanted = ownership(spec.sockets.owner, spec.sockets.group, spec.sockets.mode)
        make_directory(paths.directory, wanted)
        token = spec.api_token.encode() if spec.api_token else None
        for path, only_http2 in ((paths.http, False), (paths.grpc, True)):
            file = bind_unix(path, wanted)
            self._files.append(file)
            yield Bound(file.sock, only_http2, token)
        if spec.loopback is not None:
            yield from self._bind_loopback(spec.loopback)

    def stop(self) -> None:
        """As Endpoints.stop."""
        for file in self._files:
            file.remove()
        self._files.clear()

    def remove(self) -> None:
        """As Endpoints.remove."""
        self.stop()
        (self.paths.directory / TOKEN_FILE).unlink(missing_ok=True)
        remove_directory(self.paths.directory)

    def _bind_loopback(self, loopback: LoopbackSpec) -> Iterator[Bound]:
        """TCP has no peer credentials, so a token is mandatory there."""
        last = self.places.find(self.spec) or Place(0, 0, "")
        self.token = token = loopback.token or self.spec.api_token or last.token or secrets.token_urlsafe(24)
        _write_token(self.paths.directory / TOKEN_FILE, token)
        http = self._bind_again(loopback.http_port, last.http_port)
        self.http_port = http.getsockname()[1]
        yield Bound(http, token=token.encode())
        grpc = self._bind_again(loopback.grpc_port, last.grpc_port)
        self.grpc_port = grpc.getsockname()[1]
        yield Bound(grpc, only_http2=True, token=token.encode())
        place = Place(self.http_port, self.grpc_port, token)
        if place != last:
            self.places.keep(self.spec, place)

    def _bind_again(self, wanted: int, last: int) -> socket.socket:
        """Listen at the port that is wanted; where any will do, at the last one if it can be had."""
        if wanted or not last:
            return bind_loopback(wanted)
        try:
            return bind_loopback(last)
        except SocketError:
            log.warning("app %s/%s gets another port: %d is taken", self.spec.namespace, self.spec.app_id, last)
            return bind_loopback(0)


def _write_token(path: Path, token: str) -> None:
    try:
        path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(token)
        parent = path.parent.stat()
        if os.geteuid() == 0:
            os.chown(path, parent.st_uid, parent.st_gid)
    except OSError as error:
        remedy = disk_remedy(error, path.parent, "the daemon must own that directory")
        raise SocketError(f"{path}: {error.strerror}: {remedy}") from error
