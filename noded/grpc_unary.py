"""Unary gRPC calls: decode, admit, step the handler in place, answer, account.

Most come whole in one read, behind a head that came before: `KnownCall` answers those without a stream. All others,
and those whose handlers wait, are a `UnaryCall` on a stream. Source: gRPC over HTTP/2 (PROTOCOL-HTTP2.md).
"""

from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, Protocol

from google.protobuf.message import DecodeError, Message
from msgspec import Struct

from components.completion import Completion
from components.contract import Timer
from noded.calls import GrpcCall, Header
from noded.dispatch import as_api_error, quota_exceeded
from noded.errors import DEADLINE_EXCEEDED, GRPC_UNREADABLE, ApiError, Grpc
from noded.grpc_proxy import Proxied
from noded.grpc_table import GrpcMethod, TellCall
from noded.lanes import NotInline
from noded.server_http2 import Http2Wire
from noded.status import status_details
from noded.wire.fields import HeaderBlock
from noded.wire.grpc import (
    OK_TRAILERS,
    RESPONSE_HEAD,
    GrpcWireError,
    MessageReader,
    encode_metadata,
    encode_trailers,
    frame_answer,
    framing_for,
    is_timeout,
    parse_timeout,
    unpack_prefix,
)
from tenancy.admission import Refusal
from tenancy.fairness import Turns


class CallOwner(Protocol):
    """What calls share: the tenants' turns, timers, and the log of calls where it is on."""

    turns: Turns
    call_later: Callable[[float, Callable[[], None]], Timer]
    told: TellCall | None


class Head(Struct):
    """What a call's header block says, kept with the block for when it comes again."""

    method: GrpcMethod | None
    refused: ApiError | None
    """Why no call with this head can be served."""
    metadata: tuple[Header, ...]
    timeout_seconds: float | None
    encoding: bytes
    path: bytes
    proxied: Proxied | None = None
    """Set where it is a call to another app's own service."""


class KnownCall:
    """What all calls of one connection that begin with the same header block have in common."""

    __slots__ = (
        "_app",
        "_codec",
        "_decode",
        "_head",
        "_metadata_at",
        "_method",
        "_owner",
        "_timeout_at",
        "_turns",
        "_unary",
        "_wire",
    )

    def __init__(self, owner: CallOwner, wire: Http2Wire, head: Head, method: GrpcMethod, block: HeaderBlock) -> None:
        """Know the calls like one with this block: every block of its kinship has its fields at the same places."""
        assert method.request is not None
        assert method.unary is not None
        self._owner = owner
        self._turns = owner.turns
        self._wire = wire
        self._codec = wire.codec
        self._app = wire.link.app
        self._head = head
        names = [name for name, _ in block.headers]
        self._metadata_at = len(names) - len(head.metadata)
        self._timeout_at = len(names) - names[::-1].index(b"grpc-timeout") - 1 if b"grpc-timeout" in names else 0
        self._method = method
        self._decode = method.request.FromString
        self._unary = method.unary

    def take(self, block: HeaderBlock, stream_id: int, data: bytes, start: int, stop: int) -> None:
        """Take a call whose body is `data[start:stop]` (`noded.wire.fields.TakeWhole`)."""
        if self._timeout_at and not is_timeout(value := block.headers[self._timeout_at][1]):
            self._open(block, stream_id).fail(malformed_timeout(value))
            return
        app = self._app
        size = stop - start - 5
        if size < 0 or unpack_prefix(data, start) != (0, size) or size > app.max_body_bytes:
            self._open(block, stream_id).on_data(data[start:stop], end=True)
            return
        tenant = app.tenant
        method = self._method
        if method.limited and (refusal := tenant.gate.admit(self._turns.now, size)) is not None:
            self._open(block, stream_id).refuse(refusal)
            return
        call = GrpcCall(app, block.headers[self._metadata_at :], None)
        try:
            made = self._unary(call, self._decode(data[start + 5 : stop]))
            reply = made if isinstance(made, Message) else self._step(made, block, stream_id, size, call)
        except Exception as error:  # noqa: BLE001 - a call's failure is its own
            failed = unreadable(error) if isinstance(error, DecodeError) else as_api_error(tenant, error)
            self._open(block, stream_id, size, call).fail(failed)
            return
        if reply is None:
            return
        payload = reply.SerializeToString()
        sent = len(payload)
        if (
            call.initial_metadata
            or call.trailing_metadata
            or not self._codec.send_whole(frame_answer(stream_id, payload), sent + 5)
        ):
            self._open(block, stream_id, size, call).answer(reply)
            return
        if method.limited:
            tenant.gate.release(self._turns.now, sent)
        tenant.usage.served(method.index, 0, size, sent)

    def _step(
        self, running: Coroutine[Any, Any, Message], block: HeaderBlock, stream_id: int, size: int, call: GrpcCall
    ) -> Message | None:
        """Give what a handler answers without waiting; None: the call has a stream, and is answered there."""
        try:
            waits_for = running.send(None)
        except StopIteration as end:
            answer: Message = end.value
            return answer
        self._open(block, stream_id, size, call).wait(running, waits_for)
        return None

    def _open(self, block: HeaderBlock, stream_id: int, size: int = -1, call: GrpcCall | None = None) -> "UnaryCall":
        """Give the call a stream, for it is not answered in place; `size` as of an admitted request."""
        self._codec.open_received(stream_id)
        head = self._head if block.kinship is None else self._head_of(block)
        opened = UnaryCall(self._owner, self._wire, stream_id, head, self._method)
        opened.admitted(size, call)
        self._wire.streams[stream_id] = opened
        return opened

    def _head_of(self, block: HeaderBlock) -> Head:
        """What a block of the same kinship says: only metadata and timeout differ."""
        known = self._head
        head = Head(known.method, None, block.headers[self._metadata_at :], None, known.encoding, known.path)
        if self._timeout_at and is_timeout(value := block.headers[self._timeout_at][1]):
            head.timeout_seconds = parse_timeout(value)
        return head


class UnaryCall:
    """One unary call: gathers its message, runs its handler, answers."""

    _reader: MessageReader | None = None
    _call: GrpcCall | None = None
    _timer: Timer | None = None
    _size = -1
    """Of the request; negative until it is admitted."""
    _since = -1.0
    """When it began to wait; negative: it did not."""
    _done = False

    def __init__(self, owner: CallOwner, wire: Http2Wire, stream_id: int, head: Head, method: GrpcMethod) -> None:
        self.wire = wire
        self.stream_id = stream_id
        self._owner = owner
        self._head = head
        self._method = method

    def admitted(self, size: int, call: GrpcCall | None) -> None:
        """Go on from where a call stands whose request of `size` bytes was admitted; negative: it was not."""
        self._size = size
        self._call = call

    def on_data(self, data: bytes, *, end: bool) -> None:
        """Take a piece of the message; a small one comes whole in one frame."""
        size = len(data) - 5
        whole = end and self._reader is None and size >= 0 and unpack_prefix(data) == (0, size)
        if whole and size <= self.wire.link.app.max_body_bytes:
            self._begin(data[5:])
        else:
            self._gather(data, end=end)

    def on_end(self) -> None:
        """The request is whole."""
        self._gather(b"", end=True)

    def on_gone(self) -> None:
        """The caller is gone: the handler goes on, its answer goes nowhere."""
        self._settle(Grpc.CANCELLED, 0)

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
            self.fail(GRPC_UNREADABLE.error(text=error, grpc=Grpc(error.status)))
            return
        if messages:
            self._begin(messages[0])
        elif end and self._size < 0:
            self.fail(GRPC_UNREADABLE.error(text="EOF"))

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
                self.refuse(refusal)
                return
        self._size = size
        assert method.request is not None
        assert method.unary is not None
        try:
            request = method.request.FromString(message)
        except DecodeError as error:
            self.fail(unreadable(error))
            return
        call = self._call = GrpcCall(app, self._head.metadata, None)
        try:
            answer = method.unary(call, request)
        except Exception as error:  # noqa: BLE001 - a call's failure is its own
            self.fail(as_api_error(app.tenant, error))
            return
        if isinstance(answer, Message):
            self.answer(answer)
        else:
            self._step(answer)

    def _step(self, running: Coroutine[Any, Any, Message]) -> None:
        try:
            waits_for = running.send(None)
        except StopIteration as end:
            self.answer(end.value)
        except Exception as error:  # noqa: BLE001 - a call's failure is its own
            self.fail(as_api_error(self.wire.link.app.tenant, error))
        else:
            self.wait(running, waits_for)

    def wait(self, running: Coroutine[Any, Any, Message], waits_for: object) -> None:
        """Go on with the handler once it has what it waits for."""
        if not isinstance(waits_for, Completion):
            running.close()
            not_inline = NotInline(f"{waits_for!r} awaited in place")
            self.fail(as_api_error(self.wire.link.app.tenant, not_inline))
            return
        if self._timer is None and self._head.timeout_seconds is not None:
            self._timer = self._owner.call_later(self._head.timeout_seconds, self._expire)
        if self._since < 0:
            self._since = self._owner.turns.now
        waits_for.on_done(partial(self._step, running))

    def _expire(self) -> None:
        self.fail(DEADLINE_EXCEEDED.error())

    def answer(self, reply: Message) -> None:
        """Answer with the reply, unless the caller is gone or answered."""
        if self._done:
            return
        payload = reply.SerializeToString()
        call = self._call
        (head, frame), trailers = framing_for(self._head.encoding), OK_TRAILERS
        if call is not None and (call.initial_metadata or call.trailing_metadata):
            head += encode_metadata(call.initial_metadata)
            trailers += encode_metadata(call.trailing_metadata)
        wire = self.wire
        wire.codec.send_response(self.stream_id, head, frame(payload), trailers)
        self._settle(0, len(payload))
        wire.close_stream(self.stream_id)
        wire.flush()

    def refuse(self, refusal: Refusal) -> None:
        """Answer that a limit of the tenant's is reached."""
        app, head = self.wire.link.app, self._head
        app.tenant.refused(refusal)
        error = quota_exceeded(refusal)
        if self._owner.told is not None:
            self._owner.told(app, head.path, head.metadata, error.grpc, 0.0)
        self.fail(error)

    def fail(self, error: ApiError) -> None:
        """Answer with an error, unless the caller is gone or answered."""
        if self._done:
            return
        call, block = self._call, RESPONSE_HEAD
        if call is not None and call.initial_metadata:
            head = RESPONSE_HEAD + encode_metadata(call.initial_metadata)
            self.wire.codec.send_headers(self.stream_id, head, end_stream=False)
            block = b""
        block += error_trailers(error, call.trailing_metadata if call is not None else ())
        self.wire.codec.send_headers(self.stream_id, block, end_stream=True)
        self._settle(error.grpc, 0)
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
        if self._since >= 0:
            tenant.usage.served_late(self._method.index, status, self._size, size, self._since)
        else:
            tenant.usage.served(self._method.index, status, self._size, size)


def error_trailers(error: ApiError, extra: Sequence[Header] = ()) -> bytes:
    """The block that ends a call with an error."""
    return encode_trailers(int(error.grpc), error.message, status_details(error), extra)


def malformed_timeout(value: bytes) -> ApiError:
    """Say that a deadline is none."""
    return GRPC_UNREADABLE.error(text=f"malformed grpc-timeout: {value.decode('latin-1')}")


def unreadable(error: DecodeError) -> ApiError:
    """Say that a message is not what its method takes."""
    return GRPC_UNREADABLE.error(text=f"grpc: error unmarshalling request: {error}")
