"""HTTP/2 and gRPC of an app's sockets, imported after they are open: until then HTTP/1.1 alone answers.

Protobuf, its messages and the codecs are a third of all that a daemon imports. It asks for them as soon as its sockets
answer (`Daemon`), and whoever connects before they are there waits for them, as it would for the socket.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from components.contract import Timer
from noded.config.http_settings import HttpSettings
from noded.faces import Faces
from noded.server import Connection
from noded.server_wire import Wire
from tenancy.fairness import Turns

if TYPE_CHECKING:
    from noded.faces_http2 import Http2Faces


@dataclass(frozen=True, slots=True)
class Http2Site:
    """What HTTP/2 connections of a daemon are made with."""

    faces: Faces
    spec: HttpSettings
    turns: Turns
    call_later: Callable[[float, Callable[[], None]], Timer]
    now: Callable[[], float]
    """The clock of rates, as of the slice being served."""


class LateHttp2:
    """Makes the wires of HTTP/2 connections."""

    def __init__(self, site: Http2Site) -> None:
        self._site = site

    @cached_property
    def _faces(self) -> "Http2Faces":
        from noded.faces_http2 import Http2Faces  # noqa: PLC0415 - see above

        return Http2Faces(self._site)

    def http(self, connection: Connection) -> Wire:
        """For a connection of the HTTP socket."""
        return self._faces.http(connection)

    def grpc(self, connection: Connection) -> Wire:
        """For one of the gRPC socket."""
        return self._faces.grpc(connection)
