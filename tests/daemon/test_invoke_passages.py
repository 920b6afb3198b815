"""Calls over a way met before. Rule: the callee and the caller see what they saw the first time."""

from pathlib import Path

import pytest

from noded.api.invoke_target import find_target, is_plain_method
from tests.daemon.invoke_node import GET_CALLEE, InvokeNode, caller_and_callee, headers_of, on_node, passed
from tests.daemon.raw_app import OK

POST = b"POST /v1.0/invoke/callee/method/a/b?x=%20y HTTP/1.1\r\nhost: x\r\ncookie: c=1\r\ncontent-length: 2\r\n\r\nhi"


@pytest.mark.parametrize("request_bytes", [GET_CALLEE, POST])
def test_the_second_call_is_as_the_first(request_bytes: bytes, tmp_path: Path) -> None:
    """Request line, headers in any order, body, and the answer with its status, headers and body."""
    answer = OK.replace(b"\r\n\r\n", b"\r\ncontent-type: text/x\r\nserver: s\r\n\r\n")

    async def scenario(node: InvokeNode) -> None:
        client = await caller_and_callee(node)
        await client.send(request_bytes)
        peer = await node.apps["callee"].accept()
        seen = []
        for again in (True, True, False):
            got = await peer.request()
            await peer.send(answer)
            answered = await client.answer()
            seen.append((got.partition(b"\r\n")[0], sorted(headers_of(got)), got[-2:], answered))
            if again:
                await client.send(request_bytes)

        assert node.node.passages
        assert seen[0] == seen[1] == seen[2]

    on_node(tmp_path, scenario)


def test_a_way_is_forgotten_when_its_app_goes(tmp_path: Path) -> None:
    """The next call finds nobody, as the first would have; nothing keeps the app."""

    async def scenario(node: InvokeNode) -> None:
        client = await caller_and_callee(node)
        callee = node.node.find("default", "callee")
        assert callee is not None
        await passed(node, client, GET_CALLEE)
        node.node.remove(callee)

        assert not node.node.passages
        assert (await client.ask(GET_CALLEE)).status == 500

    on_node(tmp_path, scenario)


def test_headers_met_before_still_say_whom_to_call(tmp_path: Path) -> None:
    """A known dapr-app-id beats the path each time."""
    request = GET_CALLEE.replace(b"\r\n\r\n", b"\r\ndapr-app-id: other\r\n\r\n")

    async def scenario(node: InvokeNode) -> None:
        client = await caller_and_callee(node)
        node.attach("other")
        await passed(node, client, GET_CALLEE)
        await client.send(request)
        peer = await node.apps["other"].accept()
        for again in (True, False):
            assert (await peer.request()).startswith(b"GET /v1.0/invoke/callee/method/echo HTTP/1.1\r\n")
            await peer.send(OK)
            await client.answer()
            if again:
                await client.send(request)

    on_node(tmp_path, scenario)


@pytest.mark.parametrize("method", [b"a", b"a/b.c", b"a..", b"a@b/~"])
def test_a_plain_method_is_sent_as_it_came(method: bytes) -> None:
    """What the short way takes, the long way calls clean."""
    target = find_target(b"/v1.0/invoke/app/method/" + method, None, None)

    assert is_plain_method(method)
    assert target is not None
    assert target.clean


@pytest.mark.parametrize("method", [b"", b"/a", b"a/", b"a//b", b".a", b"a/..", b"a/./b", b"a%2f", b"a+b", b"a\n"])
def test_a_method_to_be_cleaned_goes_the_long_way(method: bytes) -> None:
    """Escapes, empty segments and segments that begin with a dot are read in full."""
    assert is_plain_method(method) is None
