"""The log of calls: a line each, with what daprd's has, where it is asked for."""

import logging
from collections.abc import Coroutine

import pytest

from noded.api_log import logged_methods, with_log
from noded.calls import GrpcCall, HttpCall, Reply
from noded.config.http_settings import ApiLogging
from noded.errors import STATE_STORE_NOT_FOUND, ApiError
from noded.grpc_table import GrpcMethod
from noded.proto import state_pb2
from noded.routes import http_table
from tests.wire.recording_link import Rig, make_app


def calls(caplog: pytest.LogCaptureFixture, spec: ApiLogging, *requests: bytes) -> list[dict[str, object]]:
    def handle(call: HttpCall) -> None:
        call.exchange.reply(Reply(404, b"12345"))

    rig = Rig(with_log(spec, http_table(), handle))
    with caplog.at_level(logging.INFO):
        rig.feed(b"".join(b"%b HTTP/1.1\r\nHost: h\r\nUser-Agent: test/1\r\n\r\n" % each for each in requests))
    return [vars(record) for record in caplog.records if record.msg.endswith("API Called")]


def test_a_call_is_told_with_its_path_status_size_and_client(caplog: pytest.LogCaptureFixture) -> None:
    """The path is as it was sent, without the query, which may hold secrets."""
    (told,) = calls(caplog, ApiLogging(enabled=True), b"GET /v1.0/state/s/k?metadata.a=b")
    assert (told["msg"], told["method"]) == ("HTTP API Called", "GET /v1.0/state/s/k")
    assert (told["code"], told["size"], told["useragent"], told["app"]) == (404, 5, "test/1", "default/a")
    assert isinstance(told["duration"], int)


def test_an_operation_s_name_may_stand_for_the_path(caplog: pytest.LogCaptureFixture) -> None:
    """Keys and names of an app's users stay out of the log."""
    told = calls(caplog, ApiLogging(enabled=True, obfuscate_urls=True), b"GET /v1.0/state/s/k", b"GET /nope")
    assert [each["method"] for each in told] == ["GetState", "InvokeService"]


def test_health_checks_may_be_left_out(caplog: pytest.LogCaptureFixture) -> None:
    """They come every few seconds and say nothing."""
    spec = ApiLogging(enabled=True, omit_health_checks=True)
    (told,) = calls(caplog, spec, b"GET /v1.0/healthz", b"GET /v1.0/healthz/outbound/", b"POST /v1.0/healthz")
    assert told["method"] == "POST /v1.0/healthz"


@pytest.mark.parametrize("fails", [False, True])
def test_a_grpc_call_is_told_with_its_code(caplog: pytest.LogCaptureFixture, fails: bool) -> None:  # noqa: FBT001
    """Also where it fails; the error goes on to the caller."""

    async def get(_: GrpcCall, __: object) -> state_pb2.GetStateResponse:
        if fails:
            raise STATE_STORE_NOT_FOUND.error(name="s")
        return state_pb2.GetStateResponse()

    (method,) = logged_methods({b"/d/Get": GrpcMethod("Get", ("Get",), state_pb2.GetStateRequest, get)}).values()
    assert method.unary is not None
    with caplog.at_level(logging.INFO):
        try:
            coroutine = method.unary(GrpcCall(make_app(), ((b"user-agent", b"grpc-go"),), None), None)
            assert isinstance(coroutine, Coroutine)
            coroutine.send(None)
        except StopIteration:
            assert not fails
        except ApiError:
            assert fails
    told = vars(caplog.records[-1])
    assert (told["msg"], told["method"], told["code"]) == ("gRPC API Called", "/d/Get", 3 if fails else 0)
    assert told["useragent"] == "grpc-go"
