"""Every error an app can be told: one row each, with its HTTP status, gRPC status and text.

Two shapes on HTTP, as daprd has them: A is {errorCode, message}, B adds google.rpc details. A row with a `reason`
is of shape B. On gRPC a row with `grpc_reason` carries the same details in grpc-status-details-bin, others are
plain. Source: dapr-api.md 1.1, 1.3, 1.4, 2.1, 2.2; texts as daprd 1.18.0 sends them.
"""

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

    def __init__(
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
        body: dict[str, object] = {"errorCode": self.row.code, "message": self.message}
        if self.details and self.row.rich_http:
            body["details"] = self.details
        return msgspec.json.encode(body)


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

    def error(
        self,
        *details: Detail,
        metadata: Mapping[str, str] | None = None,
        http: int | None = None,
        grpc: Grpc | None = None,
        **fields: object,
    ) -> ApiError:
        """Make the error. `details` come before the ErrorInfo that a row with a reason adds; `metadata` goes into it."""
        if self.reason:
            info = {"@type": ERROR_INFO, "domain": "dapr.io", "metadata": metadata, "reason": self.reason}
            details = (*details, info)
        return ApiError(self, self.text.format(**fields), details=details, http=http, grpc=grpc)


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
