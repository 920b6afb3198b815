"""Invocation of an app that speaks gRPC, by callers that speak either: OnInvoke, and its answers in both protocols."""

from collections.abc import Iterator

import grpc
import pytest
from google.protobuf import any_pb2
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from noded.proto import common_pb2, invoke_pb2
from tests.daemon.grpc_app import GrpcApp, grpc_app
from tests.daemon.server_clients import GrpcClient, HttpClient, app, grpc_client, http, raw, resources
from tests.daemon_process import Daemon, running_daemon

APPS = {"caller": "default", "callee": "default"}
Verb = common_pb2.HTTPExtension


@pytest.fixture(scope="module")
def served() -> Iterator[GrpcApp]:
    with grpc_app() as started:
        yield started


@pytest.fixture
def callee(served: GrpcApp) -> GrpcApp:
    served.invoked.clear()
    served.on_invoke = lambda asked, _: asked.data.value
    return served


@pytest.fixture(scope="module")
def daemon(served: GrpcApp) -> Iterator[Daemon]:
    described = resources(
        app("caller", limits={"requestBytes": 1 << 20}),
        app("callee", channel=served.channel, appToken="yours"),
        app("absent", channel={"protocol": "grpc", "address": "unix:/nowhere/at/all"}),
    )
    with running_daemon(described, APPS) as running:
        yield running


@pytest.fixture
def by_http(daemon: Daemon) -> Iterator[HttpClient]:
    with http(daemon, "caller") as client:
        yield client


@pytest.fixture
def by_grpc(daemon: Daemon) -> Iterator[GrpcClient]:
    with grpc_client(daemon, "caller") as client:
        yield client


def invoke_request(method: str, data: bytes = b"") -> invoke_pb2.InvokeServiceRequest:
    asked = invoke_pb2.InvokeServiceRequest(id="callee")
    asked.message.method = method
    asked.message.content_type = "text/p"
    asked.message.data.value = data
    return asked


def fail_with(code: grpc.StatusCode, details: list[any_pb2.Any]) -> "Fails":
    return Fails(code, Status(code=code.value[0], message="because", details=details).SerializeToString())


class Fails:
    """How an app fails an invocation."""

    def __init__(self, code: grpc.StatusCode, details: bytes) -> None:
        self.code = code
        self.details = details

    def __call__(self, _: common_pb2.InvokeRequest, context: grpc.ServicerContext) -> bytes:
        context.set_trailing_metadata((("grpc-status-details-bin", self.details), ("x-trailing", "t")))
        context.set_code(self.code)
        context.set_details("because")
        return b""


def known_detail() -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(ErrorInfo(reason="BECAUSE", domain="test"))
    return packed


# Callers that speak HTTP.


def test_an_http_request_becomes_on_invoke(by_http: HttpClient, callee: GrpcApp) -> None:
    """Verb, method, query, content type and body reach the app; HTTP's own headers under dapr-, the others as sent."""
    headers = {"content-type": "text/p", "accept": "text/x", "x-mine": "1", "dapr-caller-app-id": "liar"}
    answer = by_http("PUT", "/v1.0/invoke/callee/method/a/b%20c?d=e&f=g", b"body", headers)

    assert (answer.status, answer.headers["content-type"], answer.body) == (200, "text/x", b"body")
    ((asked, metadata),) = callee.invoked
    assert (asked.method, asked.content_type, asked.data.value) == ("a/b c", "text/p", b"body")
    assert (asked.http_extension.verb, asked.http_extension.querystring) == (Verb.PUT, "d=e&f=g")
    assert (metadata["dapr-accept"], metadata["x-mine"]) == ("text/x", "1")
    assert (metadata["dapr-content-type"], metadata["dapr-content-length"]) == ("text/p", "4")
    assert metadata["dapr-caller-app-id"] == "caller"
    assert metadata["dapr-caller-namespace"] == "default"
    assert metadata["dapr-callee-app-id"] == "callee"
    assert metadata["dapr-api-token"] == "yours"
    assert "accept" not in metadata
    assert "traceparent" in metadata


def test_an_http_request_without_a_body_is_passed(by_http: HttpClient, callee: GrpcApp) -> None:
    """A GET has no data, and its answer a body all the same."""
    callee.on_invoke = lambda *_: b"here"
    answer = by_http("GET", "/v1.0/invoke/callee/method/a")

    assert (answer.status, answer.body) == (200, b"here")
    assert callee.invoked[0][0].http_extension.verb == Verb.GET


def test_the_apps_metadata_becomes_headers(by_http: HttpClient, callee: GrpcApp) -> None:
    """Initial metadata is headers, but for binary values; there is always a trace."""

    def answered(_: common_pb2.InvokeRequest, context: grpc.ServicerContext) -> bytes:
        context.send_initial_metadata((("x-mine", "1"), ("x-mine-bin", b"\0")))
        return b""

    callee.on_invoke = answered
    headers = by_http("POST", "/v1.0/invoke/callee/method/a", b"").headers

    assert headers["x-mine"] == "1"
    assert "x-mine-bin" not in headers
    assert "traceparent" in headers


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (grpc.StatusCode.CANCELLED, 408),
        (grpc.StatusCode.UNKNOWN, 500),
        (grpc.StatusCode.INVALID_ARGUMENT, 400),
        (grpc.StatusCode.DEADLINE_EXCEEDED, 504),
        (grpc.StatusCode.NOT_FOUND, 404),
        (grpc.StatusCode.ALREADY_EXISTS, 409),
        (grpc.StatusCode.PERMISSION_DENIED, 403),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, 429),
        (grpc.StatusCode.FAILED_PRECONDITION, 400),
        (grpc.StatusCode.ABORTED, 409),
        (grpc.StatusCode.OUT_OF_RANGE, 400),
        (grpc.StatusCode.UNIMPLEMENTED, 501),
        (grpc.StatusCode.INTERNAL, 500),
        (grpc.StatusCode.UNAVAILABLE, 503),
        (grpc.StatusCode.DATA_LOSS, 500),
        (grpc.StatusCode.UNAUTHENTICATED, 401),
    ],
)
def test_a_status_is_told_in_http(by_http: HttpClient, callee: GrpcApp, code: grpc.StatusCode, status: int) -> None:
    """The code maps to an HTTP status; the body is google.rpc.Status in JSON."""
    callee.on_invoke = fail_with(code, [known_detail()])
    answer = by_http("POST", "/v1.0/invoke/callee/method/a", b"")

    assert answer.status == status
    assert answer.json == {
        "code": code.value[0],
        "message": "because",
        "details": [
            {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "BECAUSE", "domain": "test"},
        ],
    }


def test_a_status_that_json_cannot_tell(by_http: HttpClient, callee: GrpcApp) -> None:
    """Details of a type that nobody here knows make the answer ERR_MALFORMED_RESPONSE."""
    unknown = any_pb2.Any(type_url="type.googleapis.com/no.Such", value=b"\1")
    callee.on_invoke = fail_with(grpc.StatusCode.NOT_FOUND, [unknown])
    answer = by_http("POST", "/v1.0/invoke/callee/method/a", b"")

    assert (answer.status, answer.json["errorCode"]) == (500, "ERR_MALFORMED_RESPONSE")
    assert "type.googleapis.com/no.Such" in str(answer.json["message"])


def test_an_app_that_is_not_there(by_http: HttpClient) -> None:
    """An app that cannot be reached is UNAVAILABLE, in HTTP 503."""
    answer = by_http("POST", "/v1.0/invoke/absent/method/a", b"")

    assert (answer.status, answer.json["code"]) == (503, grpc.StatusCode.UNAVAILABLE.value[0])


def test_a_body_over_the_limit_is_refused(daemon: Daemon, by_http: HttpClient, callee: GrpcApp) -> None:
    """A body that announces more than the caller may send never reaches the app."""
    assert by_http("POST", "/v1.0/invoke/callee/method/a", bytes(1 << 20)).status == 200
    with raw(daemon.http_socket("caller")) as connection:
        connection.sendall(b"POST /v1.0/invoke/callee/method/a HTTP/1.1\r\nhost: x\r\ncontent-length: 1048577\r\n\r\n")
        answer = connection.recv(65536)

    assert answer.startswith(b"HTTP/1.1 500 ")
    assert b"stream too large" in answer
    assert len(callee.invoked) == 1


def test_a_bad_method_is_refused(by_http: HttpClient, callee: GrpcApp) -> None:
    """A method is checked before any app is asked."""
    answer = by_http("POST", "/v1.0/invoke/callee/method/a%23b", b"")

    assert (answer.status, answer.json["errorCode"]) == (500, "ERR_DIRECT_INVOKE")
    assert "forbidden character" in str(answer.json["message"])
    assert not callee.invoked


# Callers that speak gRPC.


def test_a_grpc_request_passes(by_grpc: GrpcClient, callee: GrpcApp) -> None:
    """Method, data and content type pass as they are; no HTTP extension is needed; metadata comes along, binary too."""
    metadata = (("x-mine", "1"), ("accept", "as it is"), ("x-mine-bin", b"\0\xff"), ("dapr-caller-app-id", "liar"))
    call = by_grpc.unary("InvokeService")
    call(invoke_request("a/../b", b"data"), metadata=metadata, timeout=15)

    ((asked, got),) = callee.invoked
    assert (asked.method, asked.content_type, asked.data.value) == ("b", "text/p", b"data")
    assert not asked.HasField("http_extension")
    assert (got["x-mine"], got["accept"], got["x-mine-bin"]) == ("1", "as it is", b"\0\xff")
    assert (got["dapr-caller-app-id"], got["dapr-api-token"]) == ("caller", "yours")


def test_a_grpc_answer_passes(daemon: Daemon, callee: GrpcApp) -> None:
    """Data, content type, headers and trailers come back as the app sent them."""

    def answered(asked: common_pb2.InvokeRequest, context: grpc.ServicerContext) -> bytes:
        context.send_initial_metadata((("x-initial", "i"), ("x-initial-bin", b"\0")))
        context.set_trailing_metadata((("x-trailing", "t"),))
        return b"answer"

    callee.on_invoke = answered
    with grpc_client(daemon, "caller") as client:
        invoke = client.channel.unary_unary(
            "/dapr.proto.runtime.v1.Dapr/InvokeService",
            invoke_pb2.InvokeServiceRequest.SerializeToString,
            common_pb2.InvokeResponse.FromString,
        )
        response, call = invoke.with_call(invoke_request("a"), timeout=15)

    assert (response.data.value, response.content_type) == (b"answer", "text/x")
    assert dict(call.initial_metadata()) == {"x-initial": "i", "x-initial-bin": b"\0"}
    assert dict(call.trailing_metadata()) == {"x-trailing": "t"}


def test_a_grpc_status_passes(by_grpc: GrpcClient, callee: GrpcApp) -> None:
    """Code, text, details and trailers of a failure are the app's own, of whatever type they are."""
    unknown = any_pb2.Any(type_url="type.googleapis.com/no.Such", value=b"\1")
    failing = callee.on_invoke = fail_with(grpc.StatusCode.ABORTED, [unknown])

    call = by_grpc.unary("InvokeService").future(invoke_request("a"), timeout=15)
    assert call.code() == grpc.StatusCode.ABORTED
    assert call.details() == "because"
    assert dict(call.trailing_metadata()) == {"grpc-status-details-bin": failing.details, "x-trailing": "t"}


def test_the_grpc_callers_deadline_holds(by_grpc: GrpcClient, callee: GrpcApp) -> None:
    """A caller that gives up is told at its time, whatever the app does."""
    released = callee.cancelled
    released.clear()
    callee.on_invoke = lambda *_: b"%d" % released.wait(15)

    with pytest.raises(grpc.RpcError) as failed:
        by_grpc.unary("InvokeService")(invoke_request("a"), timeout=0.3)
    released.set()
    assert failed.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED


def test_json_is_not_read(by_http: HttpClient, callee: GrpcApp) -> None:
    """A body is bytes, whatever its content type says."""
    answer = by_http("POST", "/v1.0/invoke/callee/method/a", b"{not json", {"content-type": "application/json"})

    assert (answer.status, answer.body) == (200, b"{not json")
