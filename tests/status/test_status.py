"""noded/status.py, read back by the decoders gRPC clients use."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar, cast

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc import error_details_pb2 as rpc
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status

from noded.errors import (
    HELP,
    QUOTA_FAILURE,
    RETRY_INFO,
    ApiError,
    Detail,
    ErrorRow,
    Grpc,
    bad_request,
    resource_info,
)
from noded.status import HTTP_BY_GRPC, grpc_from_http, http_phrase, status_details

ROW = ErrorRow("ERR_X", 400, Grpc.INVALID_ARGUMENT, "{name} is wrong", "DAPR_X")
PLAIN = ErrorRow("ERR_X", 500, Grpc.INTERNAL, "broken")
M = TypeVar("M", bound=Message)


def decoded(error: ApiError) -> Status:
    details = status_details(error)
    assert details is not None
    return Status.FromString(details)


def unpacked(status: Status, position: int, kind: Callable[[], M]) -> M:
    message = kind()
    assert status.details[position].Unpack(message)
    return message


def test_status_repeats_the_code_and_the_message() -> None:
    """The encoded status says what grpc-status and grpc-message say, as clients check."""
    status = decoded(ROW.error(name="é"))

    assert (status.code, status.message) == (3, "é is wrong")


def test_an_error_without_details_has_no_status() -> None:
    """A plain error sends no grpc-status-details-bin."""
    assert status_details(PLAIN.error()) is None


def test_details_keep_their_order_and_their_fields() -> None:
    """BadRequest and ResourceInfo come before the ErrorInfo, every field kept."""
    error = ROW.error(bad_request("a||b", "no"), resource_info("state", "s", "d"), metadata={"appID": "a"}, name="k")

    status = decoded(error)

    assert unpacked(status, 0, rpc.BadRequest) == rpc.BadRequest(
        field_violations=[rpc.BadRequest.FieldViolation(field="a||b", description="no")]
    )
    assert unpacked(status, 1, rpc.ResourceInfo) == rpc.ResourceInfo(
        resource_type="state", resource_name="s", description="d"
    )
    assert unpacked(status, 2, rpc.ErrorInfo) == rpc.ErrorInfo(
        reason="DAPR_X", domain="dapr.io", metadata={"appID": "a"}
    )


def test_error_info_without_metadata_has_none() -> None:
    """`metadata: null` of the JSON shape is an empty map on gRPC."""
    assert not unpacked(decoded(ROW.error(name="k")), 0, rpc.ErrorInfo).metadata


@pytest.mark.parametrize(
    ("detail", "message"),
    [
        (
            {"@type": HELP, "links": [{"description": "d", "url": "u"}]},
            rpc.Help(links=[rpc.Help.Link(description="d", url="u")]),
        ),
        (
            {"@type": QUOTA_FAILURE, "violations": [{"subject": "app:a", "description": "d"}]},
            rpc.QuotaFailure(violations=[rpc.QuotaFailure.Violation(subject="app:a", description="d")]),
        ),
    ],
)
def test_help_and_quota_failure(detail: Detail, message: Message) -> None:
    """The remaining list-shaped details survive."""
    assert unpacked(decoded(plain_with(detail)), 0, type(message)) == message


@pytest.mark.parametrize(
    ("text", "seconds", "nanos"), [("2s", 2, 0), ("1.5s", 1, 500_000_000), ("0.001s", 0, 1_000_000)]
)
def test_retry_delay_is_a_duration(text: str, seconds: int, nanos: int) -> None:
    """RetryInfo's JSON "1.5s" becomes a protobuf Duration."""
    delay = unpacked(decoded(plain_with({"@type": RETRY_INFO, "retry_delay": text})), 0, rpc.RetryInfo).retry_delay

    assert (delay.seconds, delay.nanos) == (seconds, nanos)


def test_grpc_status_accepts_it(tmp_path: Path) -> None:
    """grpcio-status decodes a call that a server ends with our bytes: code, message and trailer agree."""
    error = ROW.error(name="k")

    with failing_server(tmp_path / "s", error) as channel, pytest.raises(grpc.RpcError) as refused:
        channel.unary_unary("/t.T/Call", request_serializer=bytes, response_deserializer=bytes)(b"")

    status = rpc_status.from_call(cast("grpc.Call", refused.value))
    assert unpacked(status, 0, rpc.ErrorInfo).reason == "DAPR_X"


@pytest.mark.parametrize("code", list(Grpc))
def test_every_code_has_an_http_status(code: Grpc) -> None:
    """No code is without an HTTP status; only OK is a success."""
    assert (HTTP_BY_GRPC[code] < 300) == (code is Grpc.OK)


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (200, Grpc.OK),
        (204, Grpc.OK),
        (299, Grpc.OK),
        (301, Grpc.UNKNOWN),
        (400, Grpc.INTERNAL),
        (401, Grpc.UNAUTHENTICATED),
        (403, Grpc.PERMISSION_DENIED),
        (404, Grpc.NOT_FOUND),
        (408, Grpc.CANCELLED),
        (409, Grpc.ALREADY_EXISTS),
        (418, Grpc.UNKNOWN),
        (429, Grpc.RESOURCE_EXHAUSTED),
        (500, Grpc.UNKNOWN),
        (501, Grpc.UNIMPLEMENTED),
        (503, Grpc.UNAVAILABLE),
        (504, Grpc.DEADLINE_EXCEEDED),
        (599, Grpc.UNKNOWN),
    ],
)
def test_http_status_to_code(status: int, code: Grpc) -> None:
    """An app's HTTP status becomes the gRPC code daprd gives it."""
    assert grpc_from_http(status) is code


@pytest.mark.parametrize(
    ("status", "phrase"), [(404, "Not Found"), (418, "I'm a teapot"), (422, "Unprocessable Entity"), (799, "")]
)
def test_a_status_has_gos_name(status: int, phrase: str) -> None:
    """What a gRPC caller reads of an HTTP app's status is the name Go gives it."""
    assert http_phrase(status) == phrase


def plain_with(detail: Detail) -> ApiError:
    return ApiError(PLAIN, "broken", details=(detail,))


@contextmanager
def failing_server(path: Path, error: ApiError) -> Iterator[grpc.Channel]:
    def call(_request: bytes, context: grpc.ServicerContext) -> bytes:
        details = status_details(error)
        assert details is not None
        context.set_trailing_metadata((("grpc-status-details-bin", details),))
        context.abort(next(c for c in grpc.StatusCode if c.value[0] == error.grpc), error.message)

    handlers = grpc.method_handlers_generic_handler("t.T", {"Call": grpc.unary_unary_rpc_method_handler(call)})
    server = grpc.server(ThreadPoolExecutor(max_workers=1), handlers=[handlers])
    server.add_insecure_port(f"unix:{path}")
    server.start()
    with grpc.insecure_channel(f"unix:{path}") as channel:
        yield channel
    server.stop(None).wait()
