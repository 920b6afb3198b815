"""InvokeService: a gRPC caller invokes an HTTP app of the node. Deprecated by Dapr in favour of proxying, still used.

Source: dapr-api.md 2.2, 2.3; daprd 1.18 pkg/api/grpc/grpc.go, pkg/messaging/v1/util.go.
"""

from collections.abc import Sequence
from urllib.parse import unquote_to_bytes

from noded.api import invoke_grpc_app
from noded.api.invoke import ANSWER_SECONDS, NO_ANSWER, channel_failed, resolve
from noded.api.invoke_headers import AnswerHeaders, RequestHeaders, as_metadata
from noded.api.invoke_identity import find_grpc_app, hop_headers
from noded.api.invoke_target import Target
from noded.calls import GrpcCall, Header
from noded.channel_contract import AppResponse, ChannelError
from noded.errors import DIRECT_INVOKE, ERROR_INFO, INVOKED_APP_ANSWERED, ApiError
from noded.peers import PeerCall, peer_between
from noded.proto import common_pb2, invoke_pb2
from noded.status import grpc_from_http, http_phrase
from noded.tracecontext import new_traceparent

_VERBS = {number: name.encode() for name, number in common_pb2.HTTPExtension.Verb.items()}

_MAX_MESSAGE_CHARACTERS = 63
"""Of the app's body in ErrorInfo."""

_HOP = frozenset((b"content-type", b"dapr-grpc-timeout"))
"""What belongs to the call itself: content-type is the message's, not application/grpc."""


async def invoke_service(call: GrpcCall, request: invoke_pb2.InvokeServiceRequest) -> common_pb2.InvokeResponse:
    """Call the app and return its whole answer; its headers become initial metadata. Awaits Completions only.

    Raises ApiError: INTERNAL where the call failed on its way, else what the app's status maps to.
    """
    message = request.message
    if not request.id:
        raise DIRECT_INVOKE.error(id="", error="app id is empty")
    grpc_app = find_grpc_app(call.app, request.id)
    if grpc_app is not None:
        return await invoke_grpc_app.from_grpc(call, grpc_app, request)
    if not message.HasField("http_extension"):
        text = "rpc error: code = InvalidArgument desc = missing HTTP extension field"
        raise DIRECT_INVOKE.error(id=request.id, error=text)
    verb = _VERBS.get(message.http_extension.verb, b"NONE")
    path, callee, channel = resolve(call.app, Target(request.id, unquote_to_bytes(message.method)), verb)
    if message.http_extension.querystring:
        path = b"%b?%b" % (path, message.http_extension.querystring.encode())
    headers = _request_headers(call, message.content_type)
    headers += hop_headers(call.app, callee)
    seconds = ANSWER_SECONDS if call.deadline is None else call.deadline - channel.now()
    body = message.data.value
    count = PeerCall(call.app, peer_between(call.app, callee), len(body))
    try:
        answer = await channel.call(verb, path, headers, body, seconds)
    except ChannelError as error:
        count.answered_http(verb, NO_ANSWER, 0)
        raise channel_failed(call.app, callee, request.id, error) from error
    count.answered_http(verb, answer.status, len(answer.body))
    return _response(call, answer)


def _request_headers(call: GrpcCall, content_type: str) -> list[Header]:
    """The call's metadata as HTTP headers, without what is between this caller and us."""
    incoming = RequestHeaders(call.metadata)
    headers = [field for field in incoming.forwarded if field[0] not in _HOP]
    if content_type:
        headers.append((b"content-type", content_type.encode()))
    traceparent = incoming.traceparent or new_traceparent(call.app.node.tracing_sampling_rate)
    headers.append((b"traceparent", traceparent))
    return headers


def _response(call: GrpcCall, answer: AppResponse) -> common_pb2.InvokeResponse:
    """Make the answer of a 2xx.

    Raises ApiError for any other status.
    """
    call.initial_metadata.extend(_metadata(answer.headers))
    call.initial_metadata.append((b"dapr-http-status", b"%d" % answer.status))
    if not 200 <= answer.status < 300:
        raise _app_failed(answer)
    response = common_pb2.InvokeResponse()
    response.data.value = answer.body
    response.content_type = (AnswerHeaders(answer.headers).content_type or b"").decode("latin-1")
    return response


def _metadata(headers: Sequence[Header]) -> list[Header]:
    sorted_headers = AnswerHeaders(headers)
    found = as_metadata(sorted_headers.forwarded)
    if sorted_headers.content_type is not None:
        found.append((b"dapr-content-type", sorted_headers.content_type))
    return found


def _app_failed(answer: AppResponse) -> ApiError:
    phrase = http_phrase(answer.status)
    text = answer.body.decode("utf-8", "replace")[:_MAX_MESSAGE_CHARACTERS]
    detail = {
        "@type": ERROR_INFO,
        "reason": phrase,
        "domain": "dapr.io",
        "metadata": {"http.code": str(answer.status), "http.error_message": text},
    }
    return INVOKED_APP_ANSWERED.error(detail, grpc=grpc_from_http(answer.status), text=phrase)
