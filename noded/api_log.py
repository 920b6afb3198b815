"""A line of the log for every call of the APIs, where that is asked for. Where it is not, none of this is in the way.

Lines are as daprd writes them: `HTTP API Called` and `gRPC API Called`, with method, code, size, duration, useragent.
Source: daprd 1.18 pkg/api/http/server.go, useAPILogging; pkg/api/grpc/server.go, printAPILog.
"""

import logging
import time
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from noded.app import App
from noded.calls import Ended, GrpcCall, GrpcStream, Header, HttpCall, StreamClosed
from noded.config.http_settings import ApiLogging
from noded.errors import QUOTA_EXCEEDED, ApiError, Grpc
from noded.grpc_table import GrpcMethod, StreamHandler, UnaryHandler
from noded.http1_known import Handler
from noded.passed_exchange import Passed
from noded.route_table import RouteTable
from tenancy.admission import LimitExceeded

if TYPE_CHECKING:
    from google.protobuf.message import Message

http_log = logging.getLogger("noded.http-info")
grpc_log = logging.getLogger("noded.grpc.api-info")

_HEALTH: Final = frozenset(("Healthz", "HealthzOutbound"))


def with_log(spec: ApiLogging, table: RouteTable, handle: Handler) -> Handler:
    """Write a line for every call when it is answered. `spec` says how much it tells."""

    def logged(call: HttpCall) -> None:
        named = call.path.decode("utf-8", "backslashreplace")
        name = f"{call.method.decode('latin-1')} {named}"
        if spec.obfuscate_urls or spec.omit_health_checks:
            try:
                operation = table.find(call).route.operation
            except ApiError:
                operation = ""
            if spec.omit_health_checks and operation in _HEALTH:
                handle(call)
                return
            name = operation if spec.obfuscate_urls else name
        call.exchange = Logged(call, name)
        handle(call)

    return logged


class Logged(Passed):
    """An exchange that is logged when it ends."""

    def __init__(self, call: HttpCall, name: str) -> None:
        super().__init__(call.exchange)
        self._app = call.app.tenant.id
        self._name = name
        self._agent = (call.header(b"user-agent") or b"").decode("latin-1")
        self._began = time.perf_counter()
        self._told: Ended | None = None
        self.inner.ended = self._ended

    @property
    def ended(self) -> Ended | None:
        """Who else wants to know the end."""
        return self._told

    @ended.setter
    def ended(self, value: Ended | None) -> None:
        self._told = value

    def _ended(self, status: int, size: int, /) -> None:
        if self._told is not None:
            self._told(status, size)
        fields: dict[str, object] = {
            "code": status,
            "duration": _milliseconds(self._began),
            "method": self._name,
            "size": size,
        }
        fields |= {"useragent": self._agent} if self._agent else {}
        http_log.info("HTTP API Called", extra=fields | {"app": self._app})


def logged_methods(methods: Mapping[bytes, GrpcMethod]) -> dict[bytes, GrpcMethod]:
    """The gRPC methods, by path, each of which writes a line when it has answered."""
    return {path: _logged(path, method) for path, method in methods.items()}


def _logged(path: bytes, method: GrpcMethod) -> GrpcMethod:
    if method.unary is not None:
        return replace(method, unary=_logged_unary(path, method.unary))
    assert method.stream is not None
    return replace(method, stream=_logged_stream(path, method.stream))


def _logged_unary(path: bytes, handle: UnaryHandler) -> UnaryHandler:
    async def unary(call: GrpcCall, request: Any) -> "Message":
        began = time.perf_counter()
        try:
            answer = handle(call, request)
            reply = await answer if isinstance(answer, Coroutine) else answer
        except Exception as error:
            _log_call(call, path, _code(error), began)
            raise
        _log_call(call, path, Grpc.OK, began)
        return reply

    return unary


def _logged_stream(path: bytes, handle: StreamHandler) -> StreamHandler:
    async def stream(call: GrpcCall, messages: GrpcStream) -> None:
        began = time.perf_counter()
        try:
            await handle(call, messages)
        except Exception as error:
            _log_call(call, path, _code(error), began)
            raise
        _log_call(call, path, Grpc.OK, began)

    return stream


def _code(error: Exception) -> Grpc:
    if isinstance(error, StreamClosed):
        return Grpc.CANCELLED
    if isinstance(error, LimitExceeded):
        return QUOTA_EXCEEDED.grpc
    return error.grpc if isinstance(error, ApiError) else Grpc.INTERNAL


def _log_call(call: GrpcCall, path: bytes, code: Grpc, began: float) -> None:
    tell_call(call.app, path, call.metadata, code, time.perf_counter() - began)


def tell_call(app: App, path: bytes, metadata: Sequence[Header], code: int, seconds: float) -> None:
    """Write the line of one gRPC call (`noded.grpc_table.TellCall`): also of those that come to no handler."""
    named = path.decode("utf-8", "backslashreplace")
    fields: dict[str, object] = {"code": int(code), "duration": int(seconds * 1000), "method": named}
    agent = dict(metadata).get(b"user-agent")
    fields |= {"useragent": agent.decode("latin-1")} if agent else {}
    grpc_log.info("gRPC API Called", extra=fields | {"app": app.tenant.id})


def _milliseconds(since: float) -> int:
    return int((time.perf_counter() - since) * 1000)
