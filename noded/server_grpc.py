"""gRPC calls on HTTP/2 streams: find the method, admit, do, answer.

A unary call is decoded and its handler stepped in place, without a task; only one that waits gets a timer for its
deadline. A streaming handler is stepped too: it awaits its messages as Completions. Source: gRPC over HTTP/2
(PROTOCOL-HTTP2.md), dapr-api.md 2.
"""

from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from hmac import compare_digest
from typing import Any

from google.protobuf.message import DecodeError, Message
from msgspec import Struct

from components.completion import Completion
from components.contract import Timer
from noded.calls import GrpcCall, Header, StreamClosed
from noded.dispatch import as_api_error, quota_exceeded
from noded.errors import (
    DEADLINE_EXCEEDED,
    GRPC_UNREADABLE,
    GRPC_UNSERVED,
    PROXY_NO_APP_ID,
    UNAUTHORIZED,
    ApiError,
    Grpc,
)
from noded.grpc_proxy import Proxied, Proxying, open_proxied, read_proxied
from noded.grpc_stream import ServerStream
from noded.grpc_table import GrpcMethod
from noded.lanes import NotInline
from noded.server_http2 import ANSWERED, Http2Wire, Stream
from noded.status import status_details
from noded.wire.grpc import (
    OK_TRAILERS,
    RESPONSE_HEAD,
    GrpcWireError,
    MessageReader,
    encode_metadata,
    encode_trailers,
    frame_message,
    parse_timeout,
)
from noded.wire.http2 import HeaderBlock
from tenancy.fairness import Turns

SERVICE = b"/dapr.proto.runtime.v1.Dapr/"
_OWN_SERVICES = (SERVICE, b"/TaskHubSidecarService/")
"""Whose methods are never another app's."""


class Head(Struct):
    """What a call's header block says, kept with the block for when it comes again."""

    method: GrpcMethod | None
    refused: ApiError | None
    """Why no call with this head can be served."""
    metadata: tuple[Header, ...]
    timeout_seconds: float | None
    encoding: bytes
    proxied: Proxied | None = None
    """Set where it is a call to another app's own service."""


class GrpcDispatcher:
    """Runs gRPC calls for every connection of the daemon."""

    def __init__(
        self,
        methods: Mapping[bytes, GrpcMethod],
        turns: Turns,
        call_later: Callable[[float, Callable[[], None]], Timer],
    ) -> None:
        self._methods = methods
        self.turns = turns
        self.call_later = call_later
        invoke = methods.get(SERVICE + b"InvokeService")
        self._proxying = Proxying(turns, call_later, 0 if invoke is None else invoke.index)

    def open(self, token: bytes | None, wire: Http2Wire, stream_id: int, block: HeaderBlock) -> Stream | None:
        """Take a stream that begins a gRPC call; None: it is plain HTTP."""
        head = block.parsed
        if head is None:
            head = block.parsed = self._read(token, block)
        if not isinstance(head, Head):
            return None
        method = head.method
        if method is not None and method.unary is not None and head.refused is None:
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
        wire.codec.send_headers(stream_id, RESPONSE_HEAD + error_trailers(error), end_stream=True)
        return ANSWERED

    def _open_stream(self, wire: Http2Wire, stream_id: int, head: Head, method: GrpcMethod) -> Stream:
        app = wire.link.app
        stream = ServerStream(wire, stream_id, MessageReader(app.max_body_bytes, head.encoding))
        timeout = head.timeout_seconds
        timer = None if timeout is None else self.call_later(timeout, partial(stream.finish, _EXPIRED))
        call = GrpcCall(app, head.metadata, None)

        def done(error: BaseException | None) -> None:
            if timer is not None:
                timer.cancel()
            app.tenant.gate.free("streams")
            gone = isinstance(error, StreamClosed)
            failed = None if gone or error is None else as_api_error(app.tenant, error)
            app.tenant.usage.served(method.index, 200 if failed is None else failed.http, 0, 0)
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
        if token is not None and not compare_digest(fields.get(b"dapr-api-token", b""), token):
            refused = UNAUTHORIZED.error(metadata={"http.code": "401", "http.error_message": "Unauthorized"})
        elif method is None and path.startswith(_OWN_SERVICES):
            refused = GRPC_UNSERVED.error(method=path.decode("latin-1"))
        elif method is None:
            proxied = read_proxied(block.headers)
            refused = None if proxied else PROXY_NO_APP_ID.error()
        try:
            timeout = parse_timeout(fields[b"grpc-timeout"]) if b"grpc-timeout" in fields else None
        except GrpcWireError as error:
            refused = refused or GRPC_UNREADABLE.error(text=error)
        return Head(method, refused, metadata, timeout, fields.get(b"grpc-encoding", b"identity"), proxied)


class UnaryCall:
    """One unary call: gathers its message, runs its handler, answers."""

    _reader: MessageReader | None = None
    _call: GrpcCall | None = None
    _timer: Timer | None = None
    _size = -1
    """Of the request; negative until it is admitted."""
    _done = False

    def __init__(self, owner: GrpcDispatcher, wire: Http2Wire, stream_id: int, head: Head, method: GrpcMethod) -> None:
        self.wire = wire
        self.stream_id = stream_id
        self._owner = owner
        self._head = head
        self._method = method

    def on_data(self, data: bytes, *, end: bool) -> None:
        """Take a piece of the message; a small one comes whole in one frame."""
        size = len(data) - 5
        whole = end and self._reader is None and size >= 0 and data[0] == 0 and int.from_bytes(data[1:5]) == size
        if whole and size <= self.wire.link.app.max_body_bytes:
            self._begin(data[5:])
        else:
            self._gather(data, end=end)

    def on_end(self) -> None:
        """The request is whole."""
        self._gather(b"", end=True)

    def on_gone(self) -> None:
        """The caller is gone: the handler goes on, its answer goes nowhere."""
        self._settle(0, 0)

    def on_writable(self) -> None:
        """Unary answers wait for nothing."""

    def on_drain(self) -> None:
        """A call that was accepted is answered."""

    def _gather(self, data: bytes, *, end: bool) -> None:
        if self._done:
            return
        if self._reader is None:
            self._reader = MessageReader(self.wire.link.app.max_body_bytes, self._head.encoding)
        self.wire.codec.consumed(self.stream_id, len(data))
        try:
            messages = self._reader.feed(data)
        except GrpcWireError as error:
            self._fail(GRPC_UNREADABLE.error(text=error, grpc=Grpc(error.status)))
            return
        if messages:
            self._begin(messages[0])
        elif end and self._size < 0:
            self._fail(GRPC_UNREADABLE.error(text="EOF"))

    def _begin(self, message: bytes) -> None:
        """Admit the tenant and run the handler."""
        if self._size >= 0:
            return
        owner = self._owner
        app = self.wire.link.app
        method = self._method
        size = len(message)
        if method.limited:
            refusal = app.tenant.gate.admit(owner.turns.now, size)
            if refusal is not None:
                app.tenant.refused(refusal)
                self._fail(quota_exceeded(refusal))
                return
        self._size = size
        assert method.request is not None
        assert method.unary is not None
        try:
            request = method.request.FromString(message)
        except DecodeError as error:
            self._answer_error(GRPC_UNREADABLE.error(text=f"grpc: error unmarshalling request: {error}"))
            return
        self._call = GrpcCall(app, self._head.metadata, None)
        self._step(method.unary(self._call, request))

    def _step(self, running: Coroutine[Any, Any, Message]) -> None:
        try:
            waits_for = running.send(None)
        except StopIteration as end:
            self._answer(end.value)
        except Exception as error:  # noqa: BLE001 - a call's failure is its own
            self._answer_error(as_api_error(self.wire.link.app.tenant, error))
        else:
            if not isinstance(waits_for, Completion):
                running.close()
                not_inline = NotInline(f"{waits_for!r} awaited in place")
                self._answer_error(as_api_error(self.wire.link.app.tenant, not_inline))
                return
            if self._timer is None and self._head.timeout_seconds is not None:
                self._timer = self._owner.call_later(self._head.timeout_seconds, self._expire)
            waits_for.on_done(partial(self._step, running))

    def _expire(self) -> None:
        if not self._done:
            self._answer_error(DEADLINE_EXCEEDED.error())

    def _answer(self, reply: Message) -> None:
        if self._done:
            return
        payload = reply.SerializeToString()
        call = self._call
        head, trailers = RESPONSE_HEAD, OK_TRAILERS
        if call is not None and (call.initial_metadata or call.trailing_metadata):
            head += encode_metadata(call.initial_metadata)
            trailers += encode_metadata(call.trailing_metadata)
        wire = self.wire
        wire.codec.send_response(self.stream_id, head, frame_message(payload), trailers)
        self._settle(200, len(payload))
        wire.close_stream(self.stream_id)
        wire.flush()

    def _answer_error(self, error: ApiError) -> None:
        if not self._done:
            self._fail(error)

    def _fail(self, error: ApiError) -> None:
        call, block = self._call, RESPONSE_HEAD
        if call is not None and call.initial_metadata:
            head = RESPONSE_HEAD + encode_metadata(call.initial_metadata)
            self.wire.codec.send_headers(self.stream_id, head, end_stream=False)
            block = b""
        block += error_trailers(error, call.trailing_metadata if call is not None else ())
        self.wire.codec.send_headers(self.stream_id, block, end_stream=True)
        self._settle(error.http, 0)
        self.wire.close_stream(self.stream_id)
        self.wire.flush()

    def _settle(self, status: int, size: int) -> None:
        """End the call's accounts, once."""
        if self._done:
            return
        self._done = True
        if self._timer is not None:
            self._timer.cancel()
        if self._size < 0:
            return
        tenant = self.wire.link.app.tenant
        if self._method.limited:
            tenant.gate.release(self._owner.turns.now, size)
        tenant.usage.served(self._method.index, status, self._size, size)


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


def error_trailers(error: ApiError, extra: Sequence[Header] = ()) -> bytes:
    """The block that ends a call with an error."""
    return encode_trailers(int(error.grpc), error.message, status_details(error), extra)


_EXPIRED = error_trailers(DEADLINE_EXCEEDED.error())
_PLAIN = object()
