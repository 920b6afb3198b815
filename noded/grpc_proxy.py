"""Calls to other apps' own gRPC services: bytes passed through, both ways, undecoded.

The caller's stream and the callee's are one pipe: window is given back on one side when the other has taken the bytes,
so a message of any size passes in a window's memory. Metadata, trailers, resets, half-closes and deadlines go with it.
Nobody here knows which calls are unary, so each passes the caller's gate as a request, and becomes one of its streams
with its second message. Source: dapr-api.md 2.5; daprd 1.18 pkg/messaging/grpc_proxy.go, pkg/api/grpc/proxy.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from msgspec import Struct

from components.contract import Timer
from noded.api.invoke_identity import identity_headers
from noded.api.invoke_target import InvalidTarget, split_app
from noded.app import App
from noded.calls import Header
from noded.channel_contract import ChannelError
from noded.channel_grpc import GrpcChannel, error_status
from noded.dispatch import quota_exceeded
from noded.errors import GRPC_UNREADABLE, PROXY_FAILED, ApiError, Grpc
from noded.grpc_table import TellCall
from noded.http2_client import AppStream
from noded.http2_streams import ANSWERED, Stream
from noded.peers import peer_between
from noded.server_http2 import Http2Wire
from noded.status import status_details
from noded.wire.grpc import RESPONSE_HEAD, MessageTooLarge, encode_trailers
from noded.wire.grpc_answers import GrpcStatus, MessageMeter, not_grpc, status_of
from noded.wire.http2 import encode_block
from tenancy.accounting import CallUse, Peer
from tenancy.admission import Refusal
from tenancy.fairness import Turns

_OURS: Final = frozenset(
    (
        b"dapr-api-token",
        b"dapr-app-id",
        b"dapr-callee-app-id",
        b"dapr-caller-app-id",
        b"dapr-caller-namespace",
        b"destination-app-id",
        b"host",
        b"te",
    )
)
"""Metadata that is not forwarded as it came."""
_TRUE: Final = frozenset((b"1", b"t", b"true", b"y", b"yes", b"on"))
_EXPIRED: Final = GrpcStatus(Grpc.DEADLINE_EXCEEDED, "context deadline exceeded")
_STOPPING: Final = GrpcStatus(Grpc.UNAVAILABLE, "the daemon is stopping")
_GONE: Final = GrpcStatus(Grpc.CANCELLED)
_NO_STATUS: Final = GrpcStatus(Grpc.INTERNAL, "the app ended the call without a status")


class Proxied(Struct, frozen=True):
    """What a call's head says of an app's own service."""

    path: bytes
    named: str
    """The callee: `app` or `app.namespace`."""
    metadata: tuple[Header, ...]
    """To forward."""
    streaming: bool
    """The caller says so, by dapr-stream."""


@dataclass(frozen=True, slots=True)
class Proxying:
    """What every proxied call is made with."""

    turns: Turns
    call_later: Callable[[float, Callable[[], None]], Timer]
    told: TellCall | None


def read_proxied(headers: Sequence[Header]) -> Proxied | None:
    """Read a call's head; None: it names no app."""
    fields = dict(headers)
    named = fields.get(b"dapr-callee-app-id", fields.get(b"dapr-app-id"))
    if named is None:
        return None
    metadata = tuple(field for field in headers if field[0][:1] != b":" and field[0] not in _OURS)
    streaming = fields.get(b"dapr-stream", b"").lower() in _TRUE
    return Proxied(fields[b":path"], named.decode("utf-8", "replace"), metadata, streaming)


def open_proxied(
    proxying: Proxying, wire: Http2Wire, stream_id: int, proxied: Proxied, timeout_seconds: float | None
) -> Stream:
    """Begin a call, or answer it with what is in its way."""
    caller = wire.link.app
    try:
        callee, channel = find_callee(caller, proxied.named)
    except ApiError as error:
        return _refuse(proxying, wire, stream_id, error, proxied)
    refusal = caller.tenant.gate.admit(proxying.turns.now, 0)
    if refusal is not None:
        caller.tenant.refused(refusal)
        return _refuse(proxying, wire, stream_id, quota_exceeded(refusal), proxied)
    call = ProxyCall(proxying, wire, stream_id, proxied, peer_between(caller, callee))
    if proxied.streaming and not call.becomes_stream():
        return ANSWERED
    call.send(channel, request_block(caller, callee, channel, proxied), timeout_seconds)
    return ANSWERED if call.done else call


def find_callee(caller: App, named: str) -> tuple[App, GrpcChannel]:
    """Find the app a call names, and its channel.

    Raises ApiError in daprd's words: no name, a bad one, an unknown app, one that serves no gRPC.
    """
    if not named:
        raise PROXY_FAILED.error(text="app id is empty")
    try:
        namespace, app_id = split_app(named, caller.namespace)
    except InvalidTarget as problem:
        raise PROXY_FAILED.error(text=problem) from None
    callee = caller.node.find(namespace, app_id)
    if callee is None:
        raise PROXY_FAILED.error(text=f"timeout waiting for address for app id {app_id}")
    if callee.grpc_channel is None:
        raise PROXY_FAILED.error(text=f"app {app_id} has no gRPC channel", grpc=Grpc.UNAVAILABLE)
    return callee, callee.grpc_channel


def request_block(caller: App, callee: App, channel: GrpcChannel, proxied: Proxied) -> bytes:
    """The head of the call as the callee gets it: who calls whom is ours to say."""
    fields = [
        (b":method", b"POST"),
        (b":scheme", channel.scheme),
        (b":path", proxied.path),
        (b":authority", channel.authority),
        (b"te", b"trailers"),
        *proxied.metadata,
        *identity_headers(caller, callee),
    ]
    return encode_block(fields)


class ProxyCall:
    """One call under way: a stream of the caller's connection, and the sink of one to the callee."""

    abandoned = False
    __slots__ = (
        "_answered",
        "_asked",
        "_asked_for",
        "_counted",
        "_head_sent",
        "_owed_to_callee",
        "_owed_to_caller",
        "_peer",
        "_proxying",
        "_received",
        "_sent",
        "_since",
        "_tenant",
        "_timer",
        "_upstream",
        "done",
        "stream_id",
        "wire",
    )

    def __init__(self, proxying: Proxying, wire: Http2Wire, stream_id: int, proxied: Proxied, peer: Peer) -> None:
        """It was admitted by the caller's gate, and leaves it when it is done."""
        app = wire.link.app
        self.wire = wire
        self.stream_id = stream_id
        self.done = False
        self._proxying = proxying
        self._tenant = app.tenant
        self._asked = MessageMeter(app.max_body_bytes)
        self._answered = MessageMeter(app.max_body_bytes)
        self._counted = False  # as a stream; until then it is a request
        self._upstream: AppStream | None = None
        self._timer: Timer | None = None
        self._head_sent = False
        self._owed_to_caller = 0  # window, for what the callee has not taken
        self._owed_to_callee = 0
        self._received = 0
        self._sent = 0
        self._asked_for = proxied
        self._peer = peer
        self._since = proxying.turns.now
        if proxied.streaming:
            peer.begun_streams += 1
        else:
            peer.begun += 1

    def send(self, channel: GrpcChannel, head: bytes, timeout_seconds: float | None) -> None:
        """Open the callee's side."""
        if timeout_seconds is not None:
            self._timer = self._proxying.call_later(timeout_seconds, self._expire)
        self._upstream = AppStream(head, self, math.inf)
        channel.open(self._upstream, counted=False)

    def becomes_stream(self) -> bool:
        """Count it among the caller's streams instead of its requests. False: it may have none, and was ended."""
        if self._counted:
            return True
        gate = self._tenant.gate
        refusal: Refusal | None = gate.acquire("streams")
        if refusal is not None:
            self._tenant.refused(refusal)
            self._break_off(_status(quota_exceeded(refusal)))
            return False
        gate.release(self._proxying.turns.now, 0)
        self._counted = True
        return True

    # From the caller.

    def on_data(self, data: bytes, *, end: bool) -> None:
        """Pass a piece on."""
        if self.done or not self._may_pass(self._asked, data):
            return
        self._received += len(data)
        if self._upstream is None or self._upstream.write(data, end=end):
            self.wire.codec.consumed(self.stream_id, len(data))
        else:
            self._owed_to_caller += len(data)

    def on_end(self) -> None:
        """The caller half-closed."""
        if self._upstream is not None:
            self._upstream.write(b"", end=True)

    def on_gone(self) -> None:
        """The caller is gone: so is the call."""
        self._cancel()
        self._settle(_GONE)

    def on_writable(self) -> None:
        """The caller has read: the callee may send on."""
        if self._owed_to_callee and self._upstream is not None and not self.wire.codec.pending(self.stream_id):
            owed, self._owed_to_callee = self._owed_to_callee, 0
            self._upstream.consumed(owed)

    def on_drain(self) -> None:
        """A stream may last for ever, so it ends; a request is answered."""
        if self._counted:
            self._break_off(_STOPPING)

    # From the callee.

    def on_head(self, headers: Sequence[Header], *, end: bool) -> None:
        """Pass the metadata on."""
        wrong = not_grpc(headers)
        if wrong is not None:
            self._break_off(wrong)
            return
        self._head_sent = True
        self.wire.codec.send_headers(self.stream_id, encode_block(headers), end_stream=end)
        if end:
            self._finish(status_of(headers))
        else:
            self.wire.flush()

    def on_piece(self, data: bytes, *, end: bool) -> None:
        """Pass a piece on; the callee gets window for more once the caller has room."""
        if self.done or not self._may_pass(self._answered, data):
            return
        self._sent += len(data)
        codec = self.wire.codec
        more = codec.send_data(self.stream_id, data, end_stream=False)
        if end:
            self._end(_NO_STATUS)
        elif self.wire.flush() and more and self._upstream is not None:
            self._upstream.consumed(len(data))
        else:
            self._owed_to_callee += len(data)

    def on_trailers(self, headers: Sequence[Header]) -> None:
        """Pass the end on."""
        self.wire.codec.send_trailers(self.stream_id, encode_block(headers))
        self._finish(status_of(headers))

    def on_error(self, error: ChannelError) -> None:
        """Tell the caller what became of the callee."""
        self._end(error_status(error))

    def on_drained(self) -> None:
        """The callee has read: the caller may send on."""
        if self._owed_to_caller:
            owed, self._owed_to_caller = self._owed_to_caller, 0
            self.wire.codec.consumed(self.stream_id, owed)
            self.wire.flush()

    # Ends.

    def _may_pass(self, meter: MessageMeter, data: bytes) -> bool:
        """Hold messages to their size and the caller to its limits. False: the call was ended."""
        try:
            meter.feed(data)
        except MessageTooLarge as error:
            self._break_off(_status(GRPC_UNREADABLE.error(text=error, grpc=Grpc(error.status))))
            return False
        self._tenant.gate.charge_bytes(self._proxying.turns.now, len(data))
        return self._counted or meter.begun < 2 or self.becomes_stream()

    def _expire(self) -> None:
        self._break_off(_EXPIRED)

    def _break_off(self, status: GrpcStatus) -> None:
        """End both sides."""
        self._cancel()
        self._end(status)

    def _cancel(self) -> None:
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            upstream.cancel()

    def _end(self, status: GrpcStatus) -> None:
        """End the caller's side with a status of our own."""
        if self.done:
            return
        trailers = encode_trailers(status.code, status.message, status.details or None)
        if self._head_sent:
            self.wire.codec.send_trailers(self.stream_id, trailers)
        else:
            self.wire.codec.send_headers(self.stream_id, RESPONSE_HEAD + trailers, end_stream=True)
        self._finish(status)

    def _finish(self, status: GrpcStatus) -> None:
        self._settle(status)
        self.wire.close_stream(self.stream_id)
        self.wire.flush()

    def _settle(self, status: GrpcStatus) -> None:
        """End the call's accounts, once."""
        if self.done:
            return
        self.done = True
        self._upstream = None
        if self._timer is not None:
            self._timer.cancel()
        gate = self._tenant.gate
        if self._counted:
            gate.free("streams")
        else:
            gate.release(self._proxying.turns.now, 0)
        self._account(status.code)

    def _account(self, code: int) -> None:
        """Count it, for the caller and for both."""
        usage = self._tenant.usage
        asked, proxying = self._asked_for, self._proxying
        use = CallUse(asked.path, code, asked.streaming)
        seconds = proxying.turns.tick() - self._since
        milliseconds = seconds * 1000
        usage.proxied.cell(use).add(self._received, self._sent, milliseconds, usage.bounds_ms)
        self._peer.calls.cell(use).add(self._sent, self._received, milliseconds, usage.bounds_ms)
        if proxying.told is not None:
            proxying.told(self.wire.link.app, asked.path, asked.metadata, code, seconds)


def _refuse(proxying: Proxying, wire: Http2Wire, stream_id: int, error: ApiError, proxied: Proxied) -> Stream:
    app = wire.link.app
    app.tenant.usage.proxied.cell(CallUse(proxied.path, error.grpc)).count += 1
    if proxying.told is not None:
        proxying.told(app, proxied.path, proxied.metadata, error.grpc, 0.0)
    trailers = encode_trailers(int(error.grpc), error.message, status_details(error))
    wire.codec.send_headers(stream_id, RESPONSE_HEAD + trailers, end_stream=True)
    return ANSWERED


def _status(error: ApiError) -> GrpcStatus:
    return GrpcStatus(error.grpc, error.message, status_details(error) or b"")
