"""An error as gRPC carries it: google.rpc.Status for grpc-status-details-bin, and the code maps between protocols.

It decides no error and no text: those are rows of noded/errors.py.

Source: grpc/doc/statuscodes.md, google/rpc/error_details.proto, dapr-api.md 2.3 (daprd pkg/messaging/v1/util.go:312).
"""

from http import HTTPStatus

from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from google.rpc.status_pb2 import Status

from noded.errors import (
    BAD_REQUEST,
    ERROR_INFO,
    HELP,
    QUOTA_FAILURE,
    RESOURCE_INFO,
    RETRY_INFO,
    ApiError,
    Detail,
    Grpc,
)

HTTP_BY_GRPC = {
    Grpc.OK: 200,
    Grpc.CANCELLED: 408,
    Grpc.UNKNOWN: 500,
    Grpc.INVALID_ARGUMENT: 400,
    Grpc.DEADLINE_EXCEEDED: 504,
    Grpc.NOT_FOUND: 404,
    Grpc.ALREADY_EXISTS: 409,
    Grpc.PERMISSION_DENIED: 403,
    Grpc.RESOURCE_EXHAUSTED: 429,
    Grpc.FAILED_PRECONDITION: 400,
    Grpc.ABORTED: 409,
    Grpc.OUT_OF_RANGE: 400,
    Grpc.UNIMPLEMENTED: 501,
    Grpc.INTERNAL: 500,
    Grpc.UNAVAILABLE: 503,
    Grpc.DATA_LOSS: 500,
    Grpc.UNAUTHENTICATED: 401,
}

_GRPC_BY_HTTP = {
    400: Grpc.INTERNAL,
    401: Grpc.UNAUTHENTICATED,
    403: Grpc.PERMISSION_DENIED,
    404: Grpc.NOT_FOUND,
    408: Grpc.CANCELLED,
    409: Grpc.ALREADY_EXISTS,
    429: Grpc.RESOURCE_EXHAUSTED,
    500: Grpc.UNKNOWN,
    501: Grpc.UNIMPLEMENTED,
    503: Grpc.UNAVAILABLE,
    504: Grpc.DEADLINE_EXCEEDED,
}

_MESSAGES: dict[str, type[Message]] = {
    BAD_REQUEST: error_details_pb2.BadRequest,
    ERROR_INFO: error_details_pb2.ErrorInfo,
    HELP: error_details_pb2.Help,
    QUOTA_FAILURE: error_details_pb2.QuotaFailure,
    RESOURCE_INFO: error_details_pb2.ResourceInfo,
    RETRY_INFO: error_details_pb2.RetryInfo,
}

_GO_PHRASES = {
    413: "Request Entity Too Large",
    414: "Request URI Too Long",
    416: "Requested Range Not Satisfiable",
    418: "I'm a teapot",
    422: "Unprocessable Entity",
}
"""Where Go's net/http and the Python releases name a status differently: Go's name, as daprd sends it."""


def grpc_from_http(status: int) -> Grpc:
    """Give the code that stands for an HTTP status: OK for every 2xx, UNKNOWN where the map has no row."""
    if 200 <= status < 300:
        return Grpc.OK
    return _GRPC_BY_HTTP.get(status, Grpc.UNKNOWN)


def status_details(error: ApiError) -> bytes | None:
    """Encode an error's details as a serialized google.rpc.Status; None for an error without any."""
    if not error.details:
        return None
    details = [_pack(detail) for detail in error.details]
    return Status(code=error.grpc, message=error.message, details=details).SerializeToString()


def http_phrase(status: int) -> str:
    """Name an HTTP status as Go's net/http does; "" where it has no name."""
    if status in _GO_PHRASES:
        return _GO_PHRASES[status]
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def _pack(detail: Detail) -> Any:
    type_url = str(detail["@type"])
    fields = {name: value for name, value in detail.items() if name != "@type" and value is not None}
    if type_url == RETRY_INFO:
        fields["retry_delay"] = _duration(str(fields["retry_delay"]))
    return Any(type_url=type_url, value=_MESSAGES[type_url](**fields).SerializeToString())


def _duration(text: str) -> Duration:
    """Read protobuf's JSON form of a duration: seconds with an "s", as "1.5s"."""
    duration = Duration()
    duration.FromJsonString(text)
    return duration
