"""Invocation of an app that speaks gRPC: AppCallback/OnInvoke, for callers of either protocol.

Source: dapr-api.md 2.2 to 2.4; daprd 1.18 pkg/channel/grpc/grpc_channel.go, pkg/api/http/directmessaging.go.
"""

from collections.abc import Sequence
from typing import Final
from urllib.parse import unquote_to_bytes

from google.protobuf.json_format import MessageToDict, SerializeToJsonError
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2
from google.rpc.status_pb2 import Status
from msgspec import json

from noded.api.invoke_headers import AnswerHeaders, RequestHeaders, as_metadata
from noded.api.invoke_identity import check_healthy, hop_headers
from noded.api.invoke_target import InvalidTarget, Target, request_path
from noded.app import App
from noded.calls import TEXT, GrpcCall, Header, HttpCall, Reply
from noded.channel_grpc import GrpcAnswer
from noded.dispatch import as_api_error, error_reply
from noded.errors import DIRECT_INVOKE, INVOKED_APP_ANSWERED, MALFORMED_RESPONSE, ApiError, Grpc
from noded.lanes import step
from noded.peers import PeerCall, peer_between
from noded.proto import common_pb2, invoke_pb2
from noded.status import HTTP_BY_GRPC
from noded.tracecontext import new_traceparent
from noded.wire.grpc import GrpcWireError, decode_binary
from noded.wire.grpc_answers import GrpcStatus

ON_INVOKE: Final = b"/dapr.proto.runtime.v1.AppCallback/OnInvoke"
ANSWER_SECONDS: Final = 3600.0
"""How long the app may take. daprd has no limit; a gRPC caller's own deadline ends it sooner."""

_VERBS: Final = frozenset(common_pb2.HTTPExtension.Verb.keys()) - {"NONE", "CONNECT"}
_NOT_SENT: Final = frozenset((b"user-agent", b"te", b"content-type", b"dapr-grpc-timeout"))
_KNOWN_DETAILS: Final = error_details_pb2.DESCRIPTOR
"""Imported for what it registers: the details that JSON can tell."""


# Callers that speak gRPC.


async def from_grpc(call: GrpcCall, callee: App, asked: invoke_pb2.InvokeServiceRequest) -> common_pb2.InvokeResponse:
    """Pass an InvokeService on; headers, trailers and status come back as they are. Awaits a Completion only.

    Raises ApiError for a bad method, and for any status of the app but OK.
    """
    message = common_pb2.InvokeRequest()
    message.CopyFrom(asked.message)
    message.method = _method(Target(asked.id, asked.message.method.encode()), rooted=asked.message.method[:1] == "/")
    incoming = RequestHeaders(call.metadata)
    metadata = [field for field in incoming.forwarded if field[0] not in _NOT_SENT]
    metadata += _raw([field for field in call.metadata if field[0].endswith(b"-bin")])
    metadata.append((b"traceparent", _trace(call.app, incoming)))
    check_healthy(call.app, callee, asked.id)
    answer = await _on_invoke(call.app, callee, message, metadata)
    call.initial_metadata.extend(_raw(answer.headers))
    call.trailing_metadata.extend(_raw(answer.trailers))
    if answer.status.code != Grpc.OK:
        if answer.status.details:
            call.trailing_metadata.append((b"grpc-status-details-bin", answer.status.details))
        raise _failed(answer.status)
    return _response(answer)


# Callers that speak HTTP.


def from_http(call: HttpCall, callee: App, target: Target, headers: RequestHeaders) -> None:
    """Pass an HTTP request on once its body is whole; the answer, or an error, goes to its exchange."""
    if call.body_complete:
        _send(call, callee, target, headers, call.body)
    else:
        call.exchange.stream_to(WholeBody(call, callee, target, headers))


class WholeBody:
    """A BodySink that gathers a body, up to the caller's limit, and then sends it."""

    __slots__ = ("_call", "_callee", "_headers", "_max_bytes", "_pieces", "_size", "_target")

    def __init__(self, call: HttpCall, callee: App, target: Target, headers: RequestHeaders) -> None:
        self._call = call
        self._callee = callee
        self._target = target
        self._headers = headers
        self._max_bytes = call.app.max_body_bytes
        self._pieces: list[bytes] = []
        self._size = 0

    def on_body(self, data: bytes) -> None:
        """Keep a piece, while they are not too many."""
        self._size += len(data)
        if self._size <= self._max_bytes:
            self._pieces.append(data)
        elif self._pieces:
            self._pieces = []

    def on_body_end(self) -> None:
        """Send it, or refuse it."""
        if self._size > self._max_bytes:
            error = DIRECT_INVOKE.error(id=self._target.app, error="stream too large")
            self._call.exchange.reply(error_reply(error))
            return
        _send(self._call, self._callee, self._target, self._headers, b"".join(self._pieces))

    def on_writable(self) -> None:
        """The answer is whole and waits for nothing."""

    def on_peer_gone(self) -> None:
        """Nobody waits for the answer: nothing is sent that was not yet."""
        self._pieces = []


def _send(call: HttpCall, callee: App, target: Target, headers: RequestHeaders, body: bytes) -> None:
    traceparent = _trace(call.app, headers)

    def done(answer: GrpcAnswer | None, error: BaseException | None) -> None:
        if error is None and answer is not None:
            try:
                reply = _reply(answer, traceparent)
            except ApiError as malformed:
                reply = error_reply(malformed)
        else:
            assert error is not None
            reply = error_reply(as_api_error(call.app.tenant, error))
        call.exchange.reply(reply)

    try:
        message = _message(call, target, body)
        check_healthy(call.app, callee, target.app)
    except ApiError as error:
        call.exchange.reply(error_reply(error))
        return
    metadata = [*_renamed(call, headers, body), (b"traceparent", traceparent)]
    step(_on_invoke(call.app, callee, message, metadata), done)


def _message(call: HttpCall, target: Target, body: bytes) -> common_pb2.InvokeRequest:
    message = common_pb2.InvokeRequest(method=_method(target), content_type=_text(call.header(b"content-type")))
    message.data.value = body
    verb = call.method.decode("latin-1")
    if verb not in _VERBS:
        text = "rpc error: code = InvalidArgument desc = invalid HTTP verb"
        raise DIRECT_INVOKE.error(id=target.app, error=text)
    message.http_extension.verb = common_pb2.HTTPExtension.Verb.Value(verb)
    message.http_extension.querystring = call.query.decode("latin-1")
    return message


def _renamed(call: HttpCall, headers: RequestHeaders, body: bytes) -> list[Header]:
    """The request's headers as metadata."""
    found = as_metadata([field for field in headers.forwarded if field[0] != b"user-agent"])
    if body:
        found.append((b"dapr-content-length", b"%d" % len(body)))
    return found + [field for field in call.headers if field[0].endswith(b"-bin")]


def _reply(answer: GrpcAnswer, traceparent: bytes) -> Reply:
    """The app's answer in HTTP: its metadata as headers, its status mapped, an error as google.rpc.Status in JSON.

    Raises ApiError for an error that JSON cannot tell.
    """
    headers = AnswerHeaders(answer.headers)
    forwarded = [*headers.forwarded, *(() if headers.traced else ((b"traceparent", traceparent),))]
    if answer.status.code != Grpc.OK:
        return Reply(_http_status(answer.status), _status_json(answer.status), TEXT, tuple(forwarded))
    response = _response(answer)
    content_type = response.content_type.encode("latin-1", "replace") or TEXT
    return Reply(200, response.data.value, content_type, tuple(forwarded))


def _status_json(status: GrpcStatus) -> bytes:
    told = Status(code=status.code, message=status.message)
    try:
        if status.details:
            told.details.extend(Status.FromString(status.details).details)
        return json.encode(MessageToDict(told))
    except (SerializeToJsonError, TypeError, ValueError, DecodeError) as error:
        raise MALFORMED_RESPONSE.error(text=error) from error


# Both.


async def _on_invoke(
    caller: App, callee: App, message: common_pb2.InvokeRequest, metadata: Sequence[Header]
) -> GrpcAnswer:
    assert callee.grpc_channel is not None
    identified = [*metadata, *hop_headers(caller, callee)]
    payload = message.SerializeToString()
    count = PeerCall(caller, peer_between(caller, callee), len(payload))
    answer = await callee.grpc_channel.call(ON_INVOKE, payload, identified, ANSWER_SECONDS)
    count.answered_grpc(ON_INVOKE, answer.status.code, len(answer.message))
    return answer


def _response(answer: GrpcAnswer) -> common_pb2.InvokeResponse:
    try:
        return common_pb2.InvokeResponse.FromString(answer.message)
    except DecodeError as error:
        raise _failed(GrpcStatus(Grpc.INTERNAL, f"grpc: failed to unmarshal the received message: {error}")) from error


def _failed(status: GrpcStatus) -> ApiError:
    known = Grpc(status.code) if status.code in HTTP_BY_GRPC else Grpc.UNKNOWN
    return INVOKED_APP_ANSWERED.error(grpc=known, http=_http_status(status), text=status.message)


def _http_status(status: GrpcStatus) -> int:
    return HTTP_BY_GRPC[Grpc(status.code)] if status.code in HTTP_BY_GRPC else 500


def _method(target: Target, *, rooted: bool = False) -> str:
    """The method as the app is told it: checked and cleaned as a path is."""
    try:
        path = unquote_to_bytes(request_path(target)).decode("utf-8", "replace")
    except InvalidTarget as problem:
        raise DIRECT_INVOKE.error(id=target.app, error=problem) from None
    return path if rooted else path[1:]


def _raw(metadata: Sequence[Header]) -> list[Header]:
    """Metadata as received, its -bin values decoded; what is not base64 is left out."""
    found = []
    for name, value in metadata:
        try:
            found.append((name, decode_binary(value) if name.endswith(b"-bin") else value))
        except GrpcWireError:
            continue
    return found


def _trace(caller: App, headers: RequestHeaders) -> bytes:
    return headers.traceparent or new_traceparent(caller.node.tracing_sampling_rate)


def _text(value: bytes | None) -> str:
    return (value or b"").decode("latin-1")
