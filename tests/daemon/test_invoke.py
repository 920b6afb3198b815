"""Service invocation over HTTP between apps of one node: addressing, headers, errors, bodies."""

import asyncio
import base64
import json
from pathlib import Path

import pytest

from tests.daemon.invoke_node import GET_CALLEE, Answer, InvokeNode, caller_and_callee, headers_of, on_node, passed
from tests.daemon.raw_app import OK, Peer

INVALID = "rpc error: code = InvalidArgument desc = invalid method: "
NO_APP_ID = "failed getting app id either from the URL path or the header dapr-app-id"


def error_of(answer: Answer) -> tuple[int, str, str]:
    body = json.loads(answer.body)
    assert body.keys() == {"errorCode", "message"}
    assert answer.all(b"content-type") == [b"application/json"]
    return answer.status, body["errorCode"], body["message"]


BASIC = base64.b64encode(b"dapr-app-id:callee").decode()


@pytest.mark.parametrize(
    ("target", "headers"),
    [
        ("/v1.0/invoke/callee/method/a/b?c=d", ""),
        ("/v1.0/invoke/callee.default/method/a/b?c=d", ""),
        ("//v1.0//invoke/callee/method//a/./x/../b/?c=d", ""),
        ("/v1.0/invoke/call%65e/method/%61%2Fb?c=d", ""),
        ("/v1.0/invoke/callee/method/../../a/b?c=d", ""),
        ("/a/b?c=d", "dapr-app-id: callee\r\n"),
        ("/x/../a//b/?c=d", "Dapr-App-Id: callee\r\n"),
        ("/v1.0/invoke/other/method/x", "dapr-app-id: callee\r\n"),
        ("/a/b?c=d", f"authorization: Basic {BASIC}\r\n"),
    ],
)
def test_three_forms_of_address_reach_the_same_app(target: str, headers: str, tmp_path: Path) -> None:
    """An app is named by path, by dapr-app-id (first), or by Basic authorization; the path is resolved."""

    async def scenario(node: InvokeNode) -> None:
        client = await caller_and_callee(node)
        got, answer = await passed(node, client, f"GET {target} HTTP/1.1\r\nhost: x\r\n{headers}\r\n".encode())

        expected = b"/v1.0/invoke/other/method/x" if "other" in target else b"/a/b?c=d"
        assert got.split(b" ")[1] == expected
        assert (answer.status, answer.body) == (200, b"ok")

    on_node(tmp_path, scenario)


@pytest.mark.parametrize("verb", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "HEAD"])
def test_the_verb_passes(verb: str, tmp_path: Path) -> None:
    """Any verb but CONNECT reaches the app as it is."""

    async def scenario(node: InvokeNode) -> None:
        client = await caller_and_callee(node)
        response = b"HTTP/1.1 204 No Content\r\n\r\n"
        got, answer = await passed(node, client, GET_CALLEE.replace(b"GET", verb.encode()), response)

        assert got.split(b" ")[0] == verb.encode()
        assert (answer.status, answer.body) == (204, b"")

    on_node(tmp_path, scenario)


@pytest.mark.parametrize(
    "target", ["/", "/v1.0/nonsense", "/v1.0/invoke/callee", "/v1.0/invoke//method/x", "/v1.0/publish/x"]
)
def test_what_names_no_app_is_404(target: str, tmp_path: Path) -> None:
    """Every unknown path is taken for an invocation that names no app: 404 ERR_DIRECT_INVOKE."""

    async def scenario(node: InvokeNode) -> None:
        client = await caller_and_callee(node)
        answer = await client.ask(f"PATCH {target} HTTP/1.1\r\nhost: x\r\n\r\n".encode())

        assert error_of(answer) == (404, "ERR_DIRECT_INVOKE", NO_APP_ID)

    on_node(tmp_path, scenario)


@pytest.mark.parametrize(
    ("target", "problem"),
    [
        ("nope/method/x", "couldn't find service: nope"),
        ("callee.other/method/x", "couldn't find service: callee"),
        ("a.b.c/method/x", "invalid app id a.b.c"),
        ("mute/method/x", "rpc error: code = Internal desc = app channel is not initialized"),
        ("caller/method/x", "cannot invoke local endpoint: app channel not initialized"),
        (
            "callee/method/a%23b",
            f'{INVALID}method contains forbidden character: "a#b"',
        ),
        (
            "callee/method/a%3Fb",
            f'{INVALID}method contains forbidden character: "a?b"',
        ),
        (
            "callee/method/a%00b",
            f'{INVALID}method contains forbidden character: "a\\x00b"',
        ),
        (
            "callee/method/a%0D%0Ab",
            f'{INVALID}method contains control character at position 1: "a\\r\\nb"',
        ),
    ],
)
def test_what_cannot_be_invoked_is_500(target: str, problem: str, tmp_path: Path) -> None:
    """Whatever the node itself fails at is 500 ERR_DIRECT_INVOKE, worded as daprd words it."""

    async def scenario(node: InvokeNode) -> None:
        node.attach("callee")
        node.attach("mute", listens=False)
        client = await node.client(node.attach("caller", listens=False))
        answer = await client.ask(f"GET /v1.0/invoke/{target} HTTP/1.1\r\nhost: x\r\n\r\n".encode())

        app_id = target.partition("/")[0]
        assert error_of(answer) == (500, "ERR_DIRECT_INVOKE", f"failed to invoke, id: {app_id}, err: {problem}")
        assert node.apps["callee"].nobody_connects()

    on_node(tmp_path, scenario)


def test_an_app_that_is_not_up_is_500_and_is_reached_when_it_comes(tmp_path: Path) -> None:
    """A callee that refuses connections is an error for this call only."""

    async def scenario(node: InvokeNode) -> None:
        client = await caller_and_callee(node)
        node.apps["callee"].close()
        status, code, message = error_of(await client.ask(GET_CALLEE))

        assert (status, code) == (500, "ERR_DIRECT_INVOKE")
        start = "failed to invoke, id: callee, err: rpc error: code = Internal desc = error invoking app channel: "
        assert message.startswith(start + "cannot reach the app at ")

    on_node(tmp_path, scenario)


@pytest.mark.parametrize("garbage", [b"nonsense\r\n\r\n", b""])
def test_an_app_that_does_not_answer_in_http_is_500(garbage: bytes, tmp_path: Path) -> None:
    """Nonsense and a closed connection alike are an error for the caller, whose connection lives on."""

    async def scenario(node: InvokeNode) -> None:
        client = await caller_and_callee(node)
        await client.send(GET_CALLEE)
        peer = await node.apps["callee"].accept()
        await peer.request()
        await peer.send(garbage)
        peer.close()

        assert error_of(await client.answer())[0] == 500
        assert (await passed(node, client, GET_CALLEE))[1].status == 200

    on_node(tmp_path, scenario)


def test_an_app_can_invoke_itself(tmp_path: Path) -> None:
    """A self-invocation goes to the app's own channel."""

    async def scenario(node: InvokeNode) -> None:
        client = await node.client(node.attach("callee"))
        got, answer = await passed(node, client, GET_CALLEE)

        assert (b"dapr-caller-app-id", b"callee") in headers_of(got)
        assert answer.status == 200

    on_node(tmp_path, scenario)


def test_equal_app_ids_of_two_namespaces_do_not_meet(tmp_path: Path) -> None:
    """An id means the app of the caller's own namespace; another namespace is reached only by naming it."""

    async def scenario(node: InvokeNode) -> None:
        node.attach("callee")
        node.attach("callee", "other")
        ours = await node.client(node.attach("caller"))
        theirs = await node.client(node.attach("caller", "other"))

        for client, target, app, namespace in (
            (ours, b"callee", "callee", b"default"),
            (theirs, b"callee", "callee.other", b"other"),
            (ours, b"callee.other", "callee.other", b"default"),
            (theirs, b"callee.default", "callee", b"other"),
        ):
            await client.send(GET_CALLEE.replace(b"callee", target))
            peer = await node.apps[app].accept()
            got = headers_of(await peer.request())
            assert (b"dapr-caller-namespace", namespace) in got
            await peer.send(OK.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"))
            assert (await client.answer()).status == 200

        assert all(app.nobody_connects() for app in node.apps.values())

    on_node(tmp_path, scenario)


@pytest.mark.parametrize(
    "response",
    [
        b"HTTP/1.1 302 Found\r\nlocation: /y\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\netag: x\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 500 Oops\r\ncontent-type: text/plain\r\ncontent-length: 4\r\n\r\noops",
        b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
    ],
)
def test_any_answer_of_the_app_is_passed_on(response: bytes, tmp_path: Path) -> None:
    """Redirects are not followed, errors not reworded, empty answers stay empty, and the connection lives on.

    A type is not guessed; but an error without one is called JSON, as daprd calls it.
    """

    async def scenario(node: InvokeNode) -> None:
        client = await caller_and_callee(node)
        _, answer = await passed(node, client, GET_CALLEE, response)
        final = response.rpartition(b"HTTP/1.1 ")[2]

        assert answer.status == int(final[:3])
        assert answer.body == final.partition(b"\r\n\r\n")[2]
        if b"content-type" not in response:
            assert answer.all(b"content-type") == ([b"application/json"] if answer.status >= 400 else [])
        await client.send(GET_CALLEE.replace(b"callee", b"nope"))
        assert (await client.answer()).status == 500

    on_node(tmp_path, scenario)


def test_head_has_neither_length_nor_body(tmp_path: Path) -> None:
    """As in daprd, which makes no use of a length but to read a body."""

    async def scenario(node: InvokeNode) -> None:
        client = await caller_and_callee(node)
        response = b"HTTP/1.1 200 OK\r\ncontent-type: text/x\r\ncontent-length: 99\r\n\r\n"
        _, answer = await passed(node, client, GET_CALLEE.replace(b"GET", b"HEAD"), response)

        assert (answer.status, answer.body, answer.all(b"content-length")) == (200, b"", [])
        assert answer.all(b"content-type") == [b"text/x"]
        assert (await client.ask(GET_CALLEE.replace(b"callee", b"nope"))).status == 500

    on_node(tmp_path, scenario)


def test_pipelined_invocations_are_answered_in_order(tmp_path: Path) -> None:
    """Two requests on one connection run at the same time; their answers keep the order of the requests."""

    async def scenario(node: InvokeNode) -> None:
        client = await caller_and_callee(node)
        await client.send(GET_CALLEE.replace(b"echo", b"1") + GET_CALLEE.replace(b"echo", b"2"))
        peers: dict[bytes, Peer] = {}
        for _ in range(2):
            peer = await node.apps["callee"].accept()
            peers[(await peer.request()).split(b" ")[1]] = peer
        await peers[b"/2"].send(OK.replace(b"ok", b"22"))
        await asyncio.sleep(0.01)
        await peers[b"/1"].send(OK.replace(b"ok", b"11"))
        got = b""
        while got.count(b"HTTP/1.1 200") < 2 or not got.endswith(b"22"):
            got += await client.read()

        assert got.index(b"\r\n\r\n11") < got.index(b"\r\n\r\n22")

    on_node(tmp_path, scenario)
