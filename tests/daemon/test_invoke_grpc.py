"""InvokeService: a gRPC caller and an HTTP app."""

import asyncio
from pathlib import Path

import pytest

from noded.api.invoke_grpc import invoke_service
from noded.app import App
from noded.calls import GrpcCall, Header
from noded.errors import ApiError, Grpc
from noded.proto import common_pb2, invoke_pb2
from tests.daemon.invoke_node import NO_TRACE, InvokeNode, on_node
from tests.daemon.raw_app import OK, in_loop

Verb = common_pb2.HTTPExtension


def request(
    app_id: str = "callee", method: str = "a/b", verb: int | None = Verb.POST
) -> invoke_pb2.InvokeServiceRequest:
    message = common_pb2.InvokeRequest(method=method, content_type="application/json")
    message.data.value = b"{}"
    if verb is not None:
        message.http_extension.verb = verb  # type: ignore[assignment]  # numbers beyond the enum are tried too
        message.http_extension.querystring = "c=d"
    return invoke_pb2.InvokeServiceRequest(id=app_id, message=message)


def invoke(
    caller: App, asked: invoke_pb2.InvokeServiceRequest, metadata: tuple[Header, ...] = ()
) -> tuple[GrpcCall, asyncio.Future[common_pb2.InvokeResponse]]:
    call = GrpcCall(caller, metadata, None)
    return call, in_loop(invoke_service(call, asked))


async def answered(
    node: InvokeNode, response: bytes, metadata: tuple[Header, ...] = ()
) -> tuple[bytes, GrpcCall, asyncio.Future[common_pb2.InvokeResponse]]:
    """Invoke the callee, which answers `response`; what it got, and the call when it is done."""
    node.attach("callee")
    call, under_way = invoke(node.attach("caller"), request(), metadata)
    peer = await node.apps["callee"].accept()
    got = await peer.request()
    await peer.send(response)
    await asyncio.wait([under_way])
    return got, call, under_way


def test_the_message_becomes_an_http_request(tmp_path: Path) -> None:
    """Verb, method, query, content type and data make the request; metadata becomes headers, gRPC's own left out."""

    async def scenario(node: InvokeNode) -> None:
        metadata = ((b"content-type", b"application/grpc"), (b"te", b"trailers"), (b"x-y", b"z"), (b"a-bin", b"AA"))
        got, _, _ = await answered(node, OK, metadata)
        head, _, body = got.partition(b"\r\n\r\n")

        assert body == b"{}"
        assert head.split(b"\r\n")[0] == b"POST /a/b?c=d HTTP/1.1"
        assert sorted(head.split(b"\r\n")[1:]) == [
            b"content-length: 2",
            b"content-type: application/json",
            b"dapr-callee-app-id: callee",
            b"dapr-caller-app-id: caller",
            b"dapr-caller-namespace: default",
            b"host: localhost",
            b"traceparent: " + NO_TRACE,
            b"x-y: z",
        ]

    on_node(tmp_path, scenario)


def test_the_answer_becomes_the_response(tmp_path: Path) -> None:
    """Body and content type are the response's; headers are initial metadata, standard ones under dapr-."""

    async def scenario(node: InvokeNode) -> None:
        response = (
            b"HTTP/1.1 201 Created\r\ncontent-type: text/x\r\nCache-Control: no-store\r\nx-a: b\r\nkeep-alive: 1\r\n"
            b"content-length: 2\r\n\r\nok"
        )
        _, call, under_way = await answered(node, response)

        assert (under_way.result().data.value, under_way.result().content_type) == (b"ok", "text/x")
        assert sorted(call.initial_metadata) == [
            (b"dapr-cache-control", b"no-store"),
            (b"dapr-content-type", b"text/x"),
            (b"dapr-http-status", b"201"),
            (b"x-a", b"b"),
        ]

    on_node(tmp_path, scenario)


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (302, Grpc.UNKNOWN),
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
    ],
)
def test_a_status_outside_2xx_is_an_error(status: int, code: Grpc, tmp_path: Path) -> None:
    """The app's status maps to a code; ErrorInfo tells the status and the start of the body."""

    async def scenario(node: InvokeNode) -> None:
        body = b"x" * 100
        response = b"HTTP/1.1 %d Whatever\r\ncontent-length: 100\r\n\r\n%b" % (status, body)
        _, call, under_way = await answered(node, response)

        with pytest.raises(ApiError) as failed:
            under_way.result()
        assert failed.value.grpc == code
        (info,) = failed.value.details
        assert info["metadata"] == {"http.code": str(status), "http.error_message": "x" * 63}
        assert info["reason"] == failed.value.message
        assert (b"dapr-http-status", b"%d" % status) in call.initial_metadata

    on_node(tmp_path, scenario)


INVALID = "rpc error: code = InvalidArgument desc = "
THERE = "rpc error: code = Internal desc = error invoking app channel: "


@pytest.mark.parametrize(
    ("asked", "problem"),
    [
        (request("nope"), "couldn't find service: nope"),
        (request("a.b.c"), "invalid app id a.b.c"),
        (request(verb=None), INVALID + "missing HTTP extension field"),
        (request(verb=Verb.NONE), THERE + INVALID + "invalid HTTP verb"),
        (request(verb=Verb.CONNECT), THERE + INVALID + "invalid HTTP verb"),
        (request(verb=99), THERE + INVALID + "invalid HTTP verb"),
        (request(method="a#b"), INVALID + 'invalid method: method contains forbidden character: "a#b"'),
    ],
)
def test_what_cannot_be_invoked_is_internal(
    asked: invoke_pb2.InvokeServiceRequest, problem: str, tmp_path: Path
) -> None:
    """Whatever the node itself fails at is INTERNAL, worded as daprd words it."""

    async def scenario(node: InvokeNode) -> None:
        node.attach("callee")
        _, under_way = invoke(node.attach("caller"), asked)

        with pytest.raises(ApiError) as failed:
            await under_way
        assert (failed.value.grpc, failed.value.details) == (Grpc.INTERNAL, ())
        assert failed.value.message == f"failed to invoke, id: {asked.id}, err: {problem}"

    on_node(tmp_path, scenario)


def test_an_app_that_breaks_off_is_internal(tmp_path: Path) -> None:
    """An app that closes without an answer is the call's failure."""

    async def scenario(node: InvokeNode) -> None:
        node.attach("callee")
        _, under_way = invoke(node.attach("caller"), request())
        peer = await node.apps["callee"].accept()
        await peer.request()
        peer.close()

        with pytest.raises(ApiError, match="error invoking app channel: the app closed the connection") as failed:
            await under_way
        assert failed.value.grpc == Grpc.INTERNAL

    on_node(tmp_path, scenario)


def test_the_callers_deadline_holds(tmp_path: Path) -> None:
    """A call is not waited for beyond the deadline its caller set."""

    async def scenario(node: InvokeNode) -> None:
        node.attach("callee")
        caller = node.attach("caller")
        call = GrpcCall(caller, (), asyncio.get_running_loop().time() + 0.01)
        under_way = in_loop(invoke_service(call, request()))
        peer = await node.apps["callee"].accept()
        await peer.request()

        with pytest.raises(ApiError, match="did not answer in time"):
            await under_way
        assert await peer.read() == b""

    on_node(tmp_path, scenario)
