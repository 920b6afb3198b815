"""Every error an app can be told: one row each, with its HTTP status, gRPC status and text.

Two shapes on HTTP, as daprd has them: A is {errorCode, message}, B adds google.rpc details. A row with a `reason`
is of shape B. On gRPC a row with `grpc_reason` carries the same details in grpc-status-details-bin, others are
plain. Source: dapr-api.md 1.1, 1.3, 1.4, 2.1, 2.2; texts as daprd 1.18.0 sends them.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

import msgspec

ERROR_INFO = "type.googleapis.com/google.rpc.ErrorInfo"
RESOURCE_INFO = "type.googleapis.com/google.rpc.ResourceInfo"
BAD_REQUEST = "type.googleapis.com/google.rpc.BadRequest"
HELP = "type.googleapis.com/google.rpc.Help"
QUOTA_FAILURE = "type.googleapis.com/google.rpc.QuotaFailure"
RETRY_INFO = "type.googleapis.com/google.rpc.RetryInfo"

Detail = Mapping[str, object]
"""One google.rpc detail in its JSON shape, `@type` included (field names as daprd spells them: snake_case)."""


class Grpc(IntEnum):
    """gRPC status codes (grpc/doc/statuscodes.md)."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class ApiError(Exception):
    """A request's failure, ready to be told in either protocol."""

    def __init__(  # noqa: PLR0913 - keywords, and only `error` below calls it
        self,
        row: "ErrorRow",
        message: str,
        *,
        details: tuple[Detail, ...] = (),
        http: int | None = None,
        grpc: Grpc | None = None,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(message)
        self.row = row
        self.message = message
        self.details = details
        self.http = row.http if http is None else http
        self.grpc = row.grpc if grpc is None else grpc
        self.retry_after_seconds = retry_after_seconds

    def json(self) -> bytes:
        """The HTTP body: shape A, or B where there are details."""
        body: dict[str, object] = {"errorCode": self.row.code, "message": self.row.http_prefix + self.message}
        if self.details and self.row.rich_http:
            body["details"] = [_prefixed(each, self.row.http_prefix) for each in self.details]
        try:
            return msgspec.json.encode(body)
        except UnicodeEncodeError:  # a name in a request that is no Unicode
            return json.dumps(body).encode()


@dataclass(frozen=True, slots=True)
class ErrorRow:
    """One error of the contract."""

    code: str
    """errorCode on HTTP."""
    http: int
    grpc: Grpc
    text: str
    """The message, with {fields} filled by `error`."""
    reason: str = ""
    """ErrorInfo.reason; "" for errors that carry no details."""
    rich_http: bool = True
    """Whether the details are told on HTTP too (shape B)."""
    http_prefix: str = ""
    """What daprd says before the message on HTTP only, and before what is wrong with a field."""

    def error(
        self,
        *details: Detail,
        metadata: Mapping[str, str] | None = None,
        http: int | None = None,
        grpc: Grpc | None = None,
        **fields: object,
    ) -> ApiError:
        """Make the error. `details` come before the ErrorInfo that a row with a reason adds, with `metadata` in it."""
        if self.reason:
            info = {"@type": ERROR_INFO, "domain": "dapr.io", "metadata": metadata, "reason": self.reason}
            details = (*details, info)
        return ApiError(self, self.text.format(**fields), details=details, http=http, grpc=grpc)


def _prefixed(detail: Detail, prefix: str) -> Detail:
    violations = detail.get("field_violations")
    if not prefix or not isinstance(violations, list):
        return detail
    return {
        **detail,
        "field_violations": [{**each, "description": prefix + each["description"]} for each in violations],
    }


def resource_info(kind: str, name: str, description: str = "") -> Detail:
    """Say which component an error is about."""
    return {
        "@type": RESOURCE_INFO,
        "description": description,
        "owner": "",
        "resource_name": name,
        "resource_type": kind,
    }


def bad_request(field: str, description: str) -> Detail:
    """Say which field of a request is wrong."""
    return {"@type": BAD_REQUEST, "field_violations": [{"field": field, "description": description}]}


# PUBSUB. Source: daprd 1.18 pkg/api/errors/pubsub.go; pkg/api/grpc/subscribe.go for the stream's.
PUBSUB_NAME_EMPTY = ErrorRow(
    "ERR_PUBSUB_EMPTY", 404, Grpc.INVALID_ARGUMENT, "pubsub name is empty", "DAPR_PUBSUB_NAME_EMPTY"
)
PUBSUB_NOT_FOUND = ErrorRow(
    "ERR_PUBSUB_NOT_FOUND", 404, Grpc.INVALID_ARGUMENT, "pubsub {name} is not found", "DAPR_PUBSUB_NOT_FOUND"
)
PUBSUB_TOPIC_EMPTY = ErrorRow(
    "ERR_TOPIC_NAME_EMPTY",
    404,
    Grpc.INVALID_ARGUMENT,
    "topic is empty in pubsub {name}",
    "DAPR_PUBSUB_TOPIC_NAME_EMPTY",
)
PUBSUB_FORBIDDEN = ErrorRow(
    "ERR_PUBSUB_FORBIDDEN",
    403,
    Grpc.PERMISSION_DENIED,
    "topic {topic} is not allowed for app id {app_id}",
    "DAPR_PUBSUB_FORBIDDEN",
)
PUBSUB_METADATA = ErrorRow(
    "ERR_PUBSUB_REQUEST_METADATA",
    400,
    Grpc.INVALID_ARGUMENT,
    "failed deserializing metadata. Error: {error}",
    "DAPR_PUBSUB_METADATA_DESERIALIZATION",
)
PUBSUB_CLOUD_EVENT = ErrorRow(
    "ERR_PUBSUB_CLOUD_EVENTS_SER",
    500,
    Grpc.INVALID_ARGUMENT,
    "cannot create cloudevent",
    "DAPR_PUBSUB_CLOUD_EVENT_CREATION",
)
PUBSUB_MARSHAL_ENVELOPE = ErrorRow(
    "ERR_PUBSUB_EVENTS_SER",
    400,
    Grpc.INVALID_ARGUMENT,
    "error when marshalling cloud event envelope for topic {topic} pubsub {name}: {error}",
    "DAPR_PUBSUB_MARSHAL_ENVELOPE",
)
PUBSUB_MARSHAL_EVENTS = ErrorRow(
    "ERR_PUBSUB_EVENTS_SER",
    400,
    Grpc.INVALID_ARGUMENT,
    "error marshaling events to bytes for topic {topic} pubsub {name}. error: {error}",
    "DAPR_PUBSUB_MARSHAL_EVENTS",
)
PUBSUB_UNMARSHAL_EVENTS = ErrorRow(
    "ERR_PUBSUB_EVENTS_SER",
    400,
    Grpc.INVALID_ARGUMENT,
    "error when unmarshaling the request for topic {topic} pubsub {name}: {error}",
    "DAPR_PUBSUB_UNMARSHAL_EVENTS",
)
PUBSUB_PUBLISH = ErrorRow(
    "ERR_PUBSUB_PUBLISH_MESSAGE",
    500,
    Grpc.INTERNAL,
    "error when publishing to topic {topic} in pubsub {name}: {error}",
    "DAPR_PUBSUB_PUBLISH_MESSAGE",
)
PUBSUB_STREAM = ErrorRow("ERR_PUBSUB_SUBSCRIBE", 400, Grpc.UNKNOWN, "{problem}")
"""A streaming subscription that begins or goes on wrongly; gRPC only."""


def help_link(url: str, description: str) -> Detail:
    """Point to a page that helps."""
    return {"@type": HELP, "links": [{"description": description, "url": url}]}


# Every API.
MALFORMED_REQUEST = ErrorRow("ERR_MALFORMED_REQUEST", 400, Grpc.INVALID_ARGUMENT, "{text}")
MALFORMED_BODY = ErrorRow("ERR_MALFORMED_REQUEST", 400, Grpc.INVALID_ARGUMENT, "failed deserializing HTTP body: {text}")
BODY_READ = ErrorRow("ERR_BODY_READ", 400, Grpc.INVALID_ARGUMENT, "failed to read request body: {text}")
BAD_ESCAPE = ErrorRow("ERR_MALFORMED_REQUEST", 400, Grpc.INVALID_ARGUMENT, 'invalid URL escape "{text}"')
UNEXPECTED = ErrorRow("ERROR", 500, Grpc.INTERNAL, "{text}")
UNAUTHORIZED = ErrorRow("Unauthorized", 401, Grpc.UNAUTHENTICATED, "Unauthorized", "Unauthorized", rich_http=False)
API_NOT_OFFERED = ErrorRow("Not Implemented", 501, Grpc.UNIMPLEMENTED, "Not Implemented", "Not Implemented")
"""A method that the Configuration's lists of APIs take away; gRPC only."""
DEADLINE_EXCEEDED = ErrorRow("ERR_DEADLINE_EXCEEDED", 504, Grpc.DEADLINE_EXCEEDED, "context deadline exceeded")
"""The caller's grpc-timeout passed; gRPC only."""
GRPC_UNREADABLE = ErrorRow("ERR_MALFORMED_REQUEST", 400, Grpc.INTERNAL, "{text}")
"""A gRPC message that cannot be read; gRPC only."""
GRPC_UNSERVED = ErrorRow("ERR_API_UNIMPLEMENTED", 501, Grpc.UNIMPLEMENTED, "unknown method {method}")
"""A method of Dapr's API that this runtime does not serve; gRPC only."""
PROXY_NO_APP_ID = ErrorRow(
    "ERR_DIRECT_INVOKE",
    404,
    Grpc.UNKNOWN,
    "cannot proxy request: missing dapr-callee-app-id or dapr-app-id metadata",
)
"""A foreign gRPC service is another app's, and no app was named; gRPC only."""
PROXY_FAILED = ErrorRow("ERR_DIRECT_INVOKE", 500, Grpc.UNKNOWN, "{text}")
"""A call to another app's own gRPC service that found no app to go to; gRPC only."""
MALFORMED_RESPONSE = ErrorRow("ERR_MALFORMED_RESPONSE", 500, Grpc.INTERNAL, "{text}")
"""A gRPC app's error that JSON cannot tell; HTTP only."""
QUOTA_EXCEEDED = ErrorRow("ERR_QUOTA_EXCEEDED", 429, Grpc.RESOURCE_EXHAUSTED, "{text}")

# State.
STATE_STORE_NOT_CONFIGURED = ErrorRow(
    "ERR_STATE_STORE_NOT_CONFIGURED",
    500,
    Grpc.FAILED_PRECONDITION,
    "state store {name} is not configured",
    "DAPR_STATE_NOT_CONFIGURED",
)
STATE_STORE_NOT_FOUND = ErrorRow(
    "ERR_STATE_STORE_NOT_FOUND",
    400,
    Grpc.INVALID_ARGUMENT,
    "state store {name} is not found",
    "DAPR_STATE_NOT_FOUND",
)
STATE_ILLEGAL_KEY = ErrorRow(
    "ERR_MALFORMED_REQUEST",
    400,
    Grpc.INVALID_ARGUMENT,
    "{text}",
    "DAPR_STATE_ILLEGAL_KEY",
    http_prefix="api error: code = InvalidArgument desc = ",
)
STATE_GET = ErrorRow(
    "ERR_STATE_GET",
    500,
    Grpc.INTERNAL,
    "fail to get {key} from state store {name}: {text}",
    "ERR_STATE_GET",
    rich_http=False,
)
STATE_SAVE = ErrorRow(
    "ERR_STATE_SAVE",
    500,
    Grpc.INTERNAL,
    "failed saving state in state store {name}: {text}",
    "ERR_STATE_SAVE",
    rich_http=False,
)
UNREADABLE_VALUE = ErrorRow("ERR_STATE_SAVE", 400, Grpc.UNKNOWN, "{text}")
"""An item that says it is JSON and is not; gRPC only."""
STATE_KEY_EMPTY = ErrorRow(
    "ERR_STATE_SAVE", 400, Grpc.INVALID_ARGUMENT, "state key cannot be empty", "ERR_STATE_SAVE", rich_http=False
)
STATE_DELETE = ErrorRow(
    "ERR_STATE_DELETE",
    500,
    Grpc.INTERNAL,
    "failed deleting state with key {key}: {text}",
    "ERR_STATE_DELETE",
    rich_http=False,
)
STATE_BULK_GET = ErrorRow("ERR_STATE_BULK_GET", 500, Grpc.UNKNOWN, "{text}")
STATE_BULK_DELETE = ErrorRow(
    "ERR_STATE_BULK_DELETE",
    500,
    Grpc.INTERNAL,
    "failed deleting state in state store {name}: {text}",
    "ERR_STATE_BULK_DELETE",
    rich_http=False,
)
STATE_TRANSACTION = ErrorRow(
    "ERR_STATE_TRANSACTION",
    500,
    Grpc.INTERNAL,
    "error while executing state transaction: {text}",
    "ERR_STATE_TRANSACTION",
    rich_http=False,
)
STATE_TRANSACTIONS_NOT_SUPPORTED = ErrorRow(
    "ERR_STATE_STORE_NOT_SUPPORTED",
    500,
    Grpc.UNIMPLEMENTED,
    "state store {name} doesn't support transactions",
    "DAPR_STATE_TRANSACTIONS_NOT_SUPPORTED",
)
TRANSACTIONS_HELP = help_link(
    "https://docs.dapr.io/reference/components-reference/supported-state-stores/",
    "Check the list of state stores and the features they support",
)
NOT_SUPPORTED_STATE_OPERATION = ErrorRow(
    "ERR_NOT_SUPPORTED_STATE_OPERATION",
    400,
    Grpc.UNIMPLEMENTED,
    "operation type {operation} not supported",
    "ERR_NOT_SUPPORTED_STATE_OPERATION",
    rich_http=False,
)
STATE_QUERY_NOT_SUPPORTED = ErrorRow(
    "ERR_STATE_STORE_NOT_SUPPORTED",
    500,
    Grpc.INTERNAL,
    "state store does not support querying",
    "DAPR_STATE_QUERYING_NOT_SUPPORTED",
)

# Health, metadata.
HEALTH_NOT_READY = ErrorRow("ERR_HEALTH_NOT_READY", 500, Grpc.INTERNAL, "dapr is not ready: {text}")
HEALTH_APPID_NOT_MATCH = ErrorRow("ERR_HEALTH_APPID_NOT_MATCH", 500, Grpc.INTERNAL, "dapr app-id does not match")

# INVOKE. Source: daprd 1.18 pkg/messages/predefined.go; pkg/messaging/v1/util.go for an HTTP app's status on gRPC.
DIRECT_INVOKE = ErrorRow("ERR_DIRECT_INVOKE", 500, Grpc.INTERNAL, "failed to invoke, id: {id}, err: {error}")
DIRECT_INVOKE_NO_APP_ID = ErrorRow(
    "ERR_DIRECT_INVOKE",
    404,
    Grpc.NOT_FOUND,
    "failed getting app id either from the URL path or the header dapr-app-id",
)
INVOKED_APP_ANSWERED = ErrorRow("ERR_DIRECT_INVOKE", 500, Grpc.UNKNOWN, "{text}")
"""An HTTP app's status outside 2xx, told to a gRPC caller with the code that it maps to; gRPC only."""
