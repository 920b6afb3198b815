"""gRPC calls on HTTP/2 streams: find the method, admit, do, answer.

Unary calls are `grpc_unary.py`. A streaming handler is stepped too: it awaits its messages as Completions.
Source: gRPC over HTTP/2 (PROTOCOL-HTTP2.md), dapr-api.md 2.
"""

from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any

from components.completion import Completion
from components.contract import Timer
from noded.api_token import refused_call
from noded.calls import GrpcCall, StreamClosed
from noded.dispatch import as_api_error, quota_exceeded
from noded.errors import (
    DEADLINE_EXCEEDED,
    GRPC_UNREADABLE,
    GRPC_UNSERVED,
    PROXY_NO_APP_ID,
    QUOTA_EXCEEDED,
)
from noded.grpc_proxy import Proxying, open_proxied, read_proxied
from noded.grpc_stream import ServerStream
from noded.grpc_table import GrpcMethod, TellCall
from noded.grpc_unary import Head, KnownCall, UnaryCall, error_trailers
from noded.http2_streams import ANSWERED, Stream
from noded.lanes import NotInline
from noded.server_http2 import Http2Wire
from noded.wire.grpc import (
    IDENTITY,
    OK_TRAILERS,
    RESPONSE_HEAD,
    GrpcWireError,
    MessageReader,
    framing_for,
    parse_timeout,
)
from noded.wire.http2 import HeaderBlock
from tenancy.fairness import Turns

SERVICE = b"/dapr.proto.runtime.v1.Dapr/"
_OWN_SERVICES = (SERVICE, b"/TaskHubSidecarService/")
"""Whose methods are never another app's."""
_TOLD = (GRPC_UNSERVED, QUOTA_EXCEEDED)
"""Refusals by head alone that the log is told of. Tokens and deadlines are looked at before it, as by daprd."""


class GrpcDispatcher:
    """Runs gRPC calls for every connection of the daemon."""

    def __init__(
        self,
        methods: Mapping[bytes, GrpcMethod],
        turns: Turns,
        call_later: Callable[[float, Callable[[], None]], Timer],
        told: TellCall | None = None,
    ) -> None:
        """Serve these methods, by path; `told`: tell it of the calls that come to none of them."""
        self._methods = methods
        self.turns = turns
        self.call_later = call_later
        self.told = told
        self._proxying = Proxying(turns, call_later, told)

    def open(self, token: bytes | None, wire: Http2Wire, stream_id: int, block: HeaderBlock) -> Stream | None:
        """Take a stream that begins a gRPC call; None: it is plain HTTP."""
        head = block.parsed
        repeated = True
        if head is None:
            head = block.parsed = self._read(token, block)
            repeated = False
        if not isinstance(head, Head):
            return None
        method = head.method
        if method is not None and method.unary is not None and head.refused is None:
            if head.encoding == IDENTITY and (repeated or block.kinship is not None):
                block.take = KnownCall(self, wire, head, method, block).take
            return UnaryCall(self, wire, stream_id, head, method)
        return self._open_other(wire, stream_id, head)

    def _open_other(self, wire: Http2Wire, stream_id: int, head: Head) -> Stream | None:
        error = head.refused
        if error is None and head.proxied is not None:
            return open_proxied(self._proxying, wire, stream_id, head.proxied, head.timeout_seconds)
        app = wire.link.app
        if error is None and head.method is not None:
            refusal = app.tenant.gate.acquire("streams")
            if refusal is None:
                return self._open_stream(wire, stream_id, head, head.method)
            app.tenant.refused(refusal)
            error = quota_exceeded(refusal)
        assert error is not None
        if self.told is not None and error.row in _TOLD:
            self.told(app, head.path, head.metadata, error.grpc, 0.0)
        wire.codec.send_headers(stream_id, RESPONSE_HEAD + error_trailers(error), end_stream=True)
        return ANSWERED

    def _open_stream(self, wire: Http2Wire, stream_id: int, head: Head, method: GrpcMethod) -> Stream:
        app = wire.link.app
        reader = MessageReader(app.max_body_bytes, head.encoding)
        stream = ServerStream(wire, stream_id, reader, framing_for(head.encoding))
        timeout = head.timeout_seconds
        timer = None if timeout is None else self.call_later(timeout, partial(stream.finish, _EXPIRED))
        call = GrpcCall(app, head.metadata, None)

        def done(error: BaseException | None) -> None:
            if timer is not None:
                timer.cancel()
            app.tenant.gate.free("streams")
            gone = isinstance(error, StreamClosed)
            failed = None if gone or error is None else as_api_error(app.tenant, error)
            app.tenant.usage.served(method.index, 0 if failed is None else failed.grpc, 0, 0)
            stream.finish(OK_TRAILERS if failed is None else error_trailers(failed))

        wire.streams[stream_id] = stream
        assert method.stream is not None
        run(method.stream(call, stream), done)
        return stream

    def _read(self, token: bytes | None, block: HeaderBlock) -> object:
        fields = dict(block.headers)
        if not fields.get(b"content-type", b"").startswith(b"application/grpc"):
            return _PLAIN
        metadata = tuple(field for field in block.headers if field[0][:1] != b":")
        path = fields.get(b":path", b"")
        method = self._methods.get(path)
        refused = None
        proxied = None
        timeout = None
        if token is not None and (refused := refused_call(token, block.headers)) is not None:
            method = None
        elif method is None and path.startswith(_OWN_SERVICES):
            refused = GRPC_UNSERVED.error(method=path.decode("latin-1"))
        elif method is None:
            proxied = read_proxied(block.headers)
            refused = None if proxied else PROXY_NO_APP_ID.error()
        try:
            timeout = parse_timeout(fields[b"grpc-timeout"]) if b"grpc-timeout" in fields else None
        except GrpcWireError as error:
            refused = refused or GRPC_UNREADABLE.error(text=error)
        return Head(method, refused, metadata, timeout, fields.get(b"grpc-encoding", IDENTITY), path, proxied)


def run(running: Coroutine[Any, Any, None], done: Callable[[BaseException | None], None]) -> None:
    """Step a streaming handler to its end, through everything it waits for."""
    try:
        waits_for = running.send(None)
    except StopIteration:
        done(None)
    except Exception as error:  # noqa: BLE001 - a stream's failure is its own
        done(error)
    else:
        if isinstance(waits_for, Completion):
            waits_for.on_done(partial(run, running, done))
        else:
            running.close()
            done(NotInline(f"{waits_for!r} awaited in place"))


_EXPIRED = error_trailers(DEADLINE_EXCEEDED.error())
_PLAIN = object()
