"""Wires of HTTP/2 connections: gRPC calls, and plain HTTP on its way to dispatch as over HTTP/1.1."""

from functools import partial
from typing import TYPE_CHECKING

from noded.api_access import offered_methods
from noded.api_log import logged_methods, tell_call
from noded.routes_grpc import grpc_table
from noded.server import Connection
from noded.server_grpc import GrpcDispatcher
from noded.server_http2 import Http2Wire, grpc_limits, http_limits
from noded.wire.http2 import Http2Limits

if TYPE_CHECKING:
    from noded.late_http2 import Http2Site


class Http2Faces:
    """What one daemon's HTTP/2 connections are made with."""

    def __init__(self, site: "Http2Site") -> None:
        methods, is_logged = grpc_table(), site.spec.logging.enabled
        offered = offered_methods(logged_methods(methods) if is_logged else methods, site.spec.rules)
        self._site = site
        self._grpc = GrpcDispatcher(offered, site.turns, site.call_later, tell_call if is_logged else None)
        self._http_limits = http_limits(site.spec.read_buffer_bytes)
        self._grpc_limits = grpc_limits(site.spec.read_buffer_bytes)

    def http(self, connection: Connection) -> Http2Wire:
        """For a connection of the HTTP socket."""
        return self._wire(connection, self._http_limits)

    def grpc(self, connection: Connection) -> Http2Wire:
        """For one of the gRPC socket."""
        return self._wire(connection, self._grpc_limits)

    def _wire(self, connection: Connection, limits: Http2Limits) -> Http2Wire:
        open_grpc = partial(self._grpc.open, connection.token)
        return Http2Wire(connection, *self._site.faces.of(connection.token), open_grpc, self._site.now, limits)
