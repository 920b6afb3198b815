"""Which headers an invocation carries from app to app and back, one by one."""

import re
from pathlib import Path

import pytest

from tests.daemon.invoke_node import GET_CALLEE, NO_TRACE, InvokeNode, caller_and_callee, headers_of, on_node, passed
from tests.daemon.raw_app import OK, Peer

FORWARDED = [
    (b"accept", b"*/*"),
    (b"authorization", b"Bearer x"),
    (b"content-type", b"application/json"),
    (b"cookie", b"a=b"),
    (b"dapr-reentrancy-id", b"1"),
    (b"dapr-x", b"y"),
    (b"traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    (b"tracestate", b"a=b"),
    (b"x-twice", b"1"),
    (b"x-twice", b"2"),
]


def test_an_app_is_told_the_host_by_which_another_calls(tmp_path: Path) -> None:
    """Added to what the caller says of hosts before it, known passage or not; an app that calls itself is told none."""

    async def scenario(node: InvokeNode) -> None:
        node.node.forwarded = ((b"x-forwarded-for", b"10.0.0.1"), (b"forwarded", b"for=10.0.0.1"))
        node.attach("callee")
        caller = node.attach("caller")
        peer: Peer | None = None
        for _ in range(2):
            request = GET_CALLEE[:-2] + b"x-forwarded-for: 1.2.3.4\r\n\r\n"
            client = await node.client(caller)
            await client.send(request)
            peer = peer or await node.apps["callee"].accept()
            got = await peer.request()
            await peer.send(OK)
            assert (await client.answer()).status == 200
            hosts = [value for name, value in headers_of(got) if name == b"x-forwarded-for"]
            assert hosts == [b"1.2.3.4", b"10.0.0.1"]
            assert (b"forwarded", b"for=10.0.0.1") in headers_of(got)
        own = await node.client(node.node.find("default", "callee") or caller)
        await own.send(GET_CALLEE)
        assert peer is not None
        assert b"forwarded" not in await peer.request()
        await peer.send(OK)
        assert (await own.answer()).status == 200

    on_node(tmp_path, scenario)


def test_request_headers_pass(tmp_path: Path) -> None:
    """End-to-end headers reach the app, repeated ones too."""

    async def scenario(node: InvokeNode) -> None:
        client = await caller_and_callee(node)
        lines = b"".join(b"%b: %b\r\n" % field for field in FORWARDED)
        got, _ = await passed(node, client, GET_CALLEE[:-2] + lines + b"\r\n")

        assert sorted(headers_of(got)) == sorted(
            [
                *FORWARDED,
                (b"dapr-caller-app-id", b"caller"),
                (b"dapr-caller-namespace", b"default"),
                (b"dapr-callee-app-id", b"callee"),
                (b"host", b"localhost"),
            ]
        )

    on_node(tmp_path, scenario)


@pytest.mark.parametrize(
    "line",
    [
        "connection: x-mine\r\nx-mine: 1",
        "connection: X-Mine, keep-alive\r\nX-MINE: 1",
        "keep-alive: timeout=1",
        "proxy-connection: keep-alive",
        "proxy-authorization: Basic x",
        "proxy-authenticate: Basic",
        "te: trailers",
        "trailer: x",
        "http2-settings: x",
        "grpc-trace-bin: x",
        "x-y-bin: x",
        "expect: 100-continue",
        "dapr-api-token: theirs",
        "destination-app-id: x",
    ],
)
def test_request_headers_that_do_not_pass(line: str, tmp_path: Path) -> None:
    """Hop-by-hop headers, those Connection names, binary ones and tokens stay behind."""

    async def scenario(node: InvokeNode) -> None:
        client = await caller_and_callee(node)
        got, _ = await passed(node, client, GET_CALLEE[:-2] + line.encode() + b"\r\n\r\n")

        names = {name for name, _ in headers_of(got)}
        assert names == {
            b"host",
            b"dapr-caller-app-id",
            b"dapr-caller-namespace",
            b"dapr-callee-app-id",
            b"traceparent",
        }

    on_node(tmp_path, scenario)


def test_a_caller_cannot_say_who_it_is(tmp_path: Path) -> None:
    """Who calls whom is set by the node; what the client says about it is dropped."""

    async def scenario(node: InvokeNode) -> None:
        client = await caller_and_callee(node)
        lies = b"dapr-caller-app-id: boss\r\nDapr-Caller-Namespace: root\r\ndapr-callee-app-id: x\r\n\r\n"
        got = headers_of((await passed(node, client, GET_CALLEE[:-2] + lies))[0])

        assert [field for field in got if field[0].startswith(b"dapr-call")] == [
            (b"dapr-caller-app-id", b"caller"),
            (b"dapr-caller-namespace", b"default"),
            (b"dapr-callee-app-id", b"callee"),
        ]

    on_node(tmp_path, scenario)


def test_the_app_gets_its_own_token(tmp_path: Path) -> None:
    """A callee with an app token gets it with every call, and never the caller's."""

    async def scenario(node: InvokeNode) -> None:
        node.attach("callee", token="callees")
        client = await node.client(node.attach("caller", token="callers"))
        got, _ = await passed(node, client, GET_CALLEE[:-2] + b"dapr-api-token: mine\r\n\r\n")

        assert [value for name, value in headers_of(got) if name == b"dapr-api-token"] == [b"callees"]

    on_node(tmp_path, scenario)


def test_grpc_headers_are_renamed(tmp_path: Path) -> None:
    """Names that gRPC reserves travel under dapr-."""

    async def scenario(node: InvokeNode) -> None:
        client = await caller_and_callee(node)
        got, _ = await passed(node, client, GET_CALLEE[:-2] + b"grpc-timeout: 1S\r\n\r\n")

        assert (b"dapr-grpc-timeout", b"1S") in headers_of(got)

    on_node(tmp_path, scenario)


@pytest.mark.parametrize(
    ("sampling_rate", "pattern"),
    [
        (0.0, re.escape(NO_TRACE)),
        (1.0, rb"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-01"),
        (1e-12, rb"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-00"),
    ],
)
def test_a_trace_begins_here_when_none_came(sampling_rate: float, pattern: bytes, tmp_path: Path) -> None:
    """Without a traceparent the node makes one (all zeros when tracing is off) and tells both sides."""

    async def scenario(node: InvokeNode) -> None:
        client = await caller_and_callee(node)
        got, answer = await passed(node, client, GET_CALLEE)
        sent = [value for name, value in headers_of(got) if name == b"traceparent"]

        assert re.fullmatch(pattern, sent[0])
        assert answer.all(b"traceparent") == sent

    on_node(tmp_path, scenario, sampling_rate)


def test_the_answer_has_the_callers_trace(tmp_path: Path) -> None:
    """A traceparent that came is answered with, unless the app answers with its own."""

    async def scenario(node: InvokeNode) -> None:
        client = await caller_and_callee(node)
        mine = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        request = GET_CALLEE[:-2] + b"traceparent: %b\r\n\r\n" % mine
        await client.send(request)
        peer = await node.apps["callee"].accept()
        await peer.request()
        await peer.send(OK)
        assert (await client.answer()).all(b"traceparent") == [mine]
        await client.send(request)
        await peer.request()
        await peer.send(OK.replace(b"\r\n\r\n", b"\r\nTraceparent: theirs\r\n\r\n"))

        assert (await client.answer()).all(b"traceparent") == [b"theirs"]

    on_node(tmp_path, scenario)


@pytest.mark.parametrize("chunked", [True, False])
def test_answer_headers_pass_but_those_of_the_hop(chunked: bool, tmp_path: Path) -> None:  # noqa: FBT001
    """Status and end-to-end headers come back, repeated ones too; hop-by-hop and nominated ones do not."""

    async def scenario(node: InvokeNode) -> None:
        client = await caller_and_callee(node)
        framing = (
            b"transfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n" if chunked else b"content-length: 2\r\n\r\nok"
        )
        _, answer = await passed(
            node,
            client,
            GET_CALLEE,
            b"HTTP/1.1 418 I'm a teapot\r\nset-cookie: a=1\r\nset-cookie: b=2\r\nx-a: b\r\nlocation: /y\r\n"
            b"connection: x-mine\r\nx-mine: 1\r\nkeep-alive: 5\r\nx-bin: 1\r\ncontent-type: text/x\r\n"
            b"date: Thu, 01 Jan 1970 00:00:01 GMT\r\n" + framing,
        )

        assert (answer.status, answer.body) == (418, b"ok")
        assert sorted(field for field in answer.headers if field[0] != b"date") == [
            (b"content-length", b"2"),
            (b"content-type", b"text/x"),
            (b"location", b"/y"),
            (b"set-cookie", b"a=1"),
            (b"set-cookie", b"b=2"),
            (b"traceparent", NO_TRACE),
            (b"x-a", b"b"),
        ]
        assert len(answer.all(b"date")) == 1

    on_node(tmp_path, scenario)
