"""Invocations whose bodies come in pieces: they pass as they come, a slow side slows the other, and breaks are told."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tests.daemon.invoke_node import Client, InvokeNode, caller_and_callee, on_node
from tests.daemon.raw_app import OK, Peer

PIECE = b"x" * 65536
MANY = 1024
"""Pieces: 64 MiB, far more than may wait on the way."""
MAX_ON_THE_WAY = 8 << 20
"""Kernel buffers of four sockets, and ours: bounded, whatever is sent."""

POST_CALLEE = b"POST /v1.0/invoke/callee/method/up HTTP/1.1\r\nhost: x\r\n"
GET_CALLEE = b"GET /v1.0/invoke/callee/method/down HTTP/1.1\r\nhost: x\r\n\r\n"


async def begun(node: InvokeNode, request: bytes) -> tuple[Client, Peer, bytes]:
    """Attach two apps and send the beginning of a request; the two ends, and the head that the callee got."""
    node.attach("callee")
    client = await node.client(node.attach("caller", max_body_bytes=MANY * len(PIECE)))
    await client.send(request)
    peer = await node.apps["callee"].accept()
    got = b""
    while b"\r\n\r\n" not in got:
        got += await peer.read()
    return client, peer, got


async def stalls(send: Callable[[bytes], Awaitable[None]]) -> tuple[int, asyncio.Future[None]]:
    """Send pieces until nothing more goes out; how many bytes did, and the send that is stuck."""
    for sent in range(MANY):
        sending = asyncio.ensure_future(send(PIECE))
        done, _ = await asyncio.wait([sending], timeout=0.3)
        if not done:
            return sent * len(PIECE), sending
    raise AssertionError("nothing holds the sender back")


async def read_all(peer: Peer, size: int) -> int:
    """Read so many bytes, or to the end; how many came."""
    got = 0
    while got < size and (piece := await peer.read(1 << 20)):
        got += len(piece)
    return got


def test_a_request_body_of_known_length_passes_as_it_comes(tmp_path: Path) -> None:
    """The callee gets the head and each piece before the caller sends the next; its length is kept."""

    async def scenario(node: InvokeNode) -> None:
        client, peer, head = await begun(node, POST_CALLEE + b"content-length: 10\r\n\r\n")
        assert b"\r\ncontent-length: 10\r\n" in head
        for piece in (b"hello", b"world"):
            await client.send(piece)
            assert await peer.read() == piece
        await peer.send(OK)

        assert (await client.answer()).body == b"ok"

    on_node(tmp_path, scenario)


def test_a_chunked_request_passes_in_chunks(tmp_path: Path) -> None:
    """A body of unknown length is of unknown length to the callee too."""

    async def scenario(node: InvokeNode) -> None:
        client, peer, head = await begun(node, POST_CALLEE + b"transfer-encoding: chunked\r\n\r\n")
        assert b"\r\ntransfer-encoding: chunked\r\n" in head
        await client.send(b"5\r\nhello\r\n")
        assert await peer.read() == b"5\r\nhello\r\n"
        await client.send(b"0\r\n\r\n")
        assert await peer.read() == b"0\r\n\r\n"
        await peer.send(OK)

        assert (await client.answer()).body == b"ok"

    on_node(tmp_path, scenario)


def test_a_caller_that_expects_100_gets_it(tmp_path: Path) -> None:
    """The node answers Expect: 100-continue itself; the callee is not asked."""

    async def scenario(node: InvokeNode) -> None:
        request = POST_CALLEE + b"content-length: 2\r\nexpect: 100-continue\r\n\r\n"
        client, peer, head = await begun(node, request)
        assert await client.read() == b"HTTP/1.1 100 Continue\r\n\r\n"
        await client.send(b"hi")
        assert (b"expect" in head, await peer.read()) == (False, b"hi")
        await peer.send(OK)

        assert (await client.answer()).status == 200

    on_node(tmp_path, scenario)


def test_events_pass_one_by_one(tmp_path: Path) -> None:
    """A stream of server-sent events reaches the caller event by event, for as long as it lasts."""

    async def scenario(node: InvokeNode) -> None:
        client, peer, _ = await begun(node, GET_CALLEE[:-2] + b"accept: text/event-stream\r\n\r\n")
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        head = await client.read()
        assert b"content-type: text/event-stream\r\n" in head
        for i in range(3):
            event = b"data: %d\n\n" % i
            await peer.send(b"%x\r\n%b\r\n" % (len(event), event))
            assert event in await client.read()
        await peer.send(b"0\r\n\r\n")

        assert await client.read() == b"0\r\n\r\n"

    on_node(tmp_path, scenario)


def test_a_callee_that_does_not_read_holds_the_caller_back(tmp_path: Path) -> None:
    """A body that the callee does not take is not taken from the caller either, beyond a bound."""

    async def scenario(node: InvokeNode) -> None:
        size = MANY * len(PIECE)
        client, peer, _ = await begun(node, POST_CALLEE + b"content-length: %d\r\n\r\n" % size)
        sent, stuck = await stalls(client.send)
        assert sent < MAX_ON_THE_WAY
        reading = asyncio.ensure_future(read_all(peer, size))
        await stuck
        for _ in range(MANY - sent // len(PIECE) - 1):
            await client.send(PIECE)
        assert await reading == size
        await peer.send(OK)

        assert (await client.answer()).body == b"ok"

    on_node(tmp_path, scenario)


@pytest.mark.parametrize("chunked", [True, False])
def test_a_caller_that_does_not_read_holds_the_callee_back(chunked: bool, tmp_path: Path) -> None:  # noqa: FBT001
    """An answer that the caller does not take is not taken from the callee either, beyond a bound."""

    async def scenario(node: InvokeNode) -> None:
        size = MANY * len(PIECE)
        client, peer, _ = await begun(node, GET_CALLEE)
        framing = b"" if chunked else b"content-length: %d\r\n" % size
        await peer.send(b"HTTP/1.1 200 OK\r\n%b\r\n" % framing)  # chunked to the caller: until close from the callee
        sent, stuck = await stalls(peer.send)
        assert sent < MAX_ON_THE_WAY
        reading = asyncio.ensure_future(client.answer())
        await stuck
        for _ in range(MANY - sent // len(PIECE) - 1):
            await peer.send(PIECE)
        if chunked:
            peer.close()
        answer = await reading

        assert len(answer.body) == size
        assert answer.all(b"content-length") == ([] if chunked else [b"%d" % size])

    on_node(tmp_path, scenario)


@pytest.mark.parametrize("when", ["sending", "waiting", "reading"])
def test_a_caller_that_vanishes_ends_the_call(when: str, tmp_path: Path) -> None:
    """When the caller dies, before, while or after the callee begins to answer, the callee's connection is closed."""

    async def scenario(node: InvokeNode) -> None:
        request = POST_CALLEE + b"content-length: 9\r\n\r\n" if when == "sending" else GET_CALLEE
        unread = GET_CALLEE.replace(b"callee", b"nobody")  # closing with bytes unread resets, as a crash does
        client, peer, _ = await begun(node, unread + request)
        if when == "reading":
            await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhel")
        client.close()

        assert await peer.read() == b""

    on_node(tmp_path, scenario)


def test_an_answer_that_breaks_off_is_not_passed_for_whole(tmp_path: Path) -> None:
    """When the callee dies inside its answer the caller's connection breaks too: a cut body never looks complete."""

    async def scenario(node: InvokeNode) -> None:
        client, peer, _ = await begun(node, GET_CALLEE)
        await peer.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n")
        got = await client.read()
        peer.close()
        with suppress(ConnectionResetError):
            while piece := await client.read():
                got += piece

        assert got.endswith(b"5\r\nhello\r\n")

    on_node(tmp_path, scenario)


def test_an_early_answer_reaches_a_caller_that_still_sends(tmp_path: Path) -> None:
    """A callee may refuse a body without reading it; the caller hears so."""

    async def scenario(node: InvokeNode) -> None:
        client, peer, _ = await begun(node, POST_CALLEE + b"content-length: 99\r\n\r\nx")
        await peer.send(b"HTTP/1.1 413 Too Large\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n\r\nno")
        answer = await client.answer()

        assert (answer.status, answer.body) == (413, b"no")
        assert await peer.read() in (b"x", b"")

    on_node(tmp_path, scenario)


def test_a_body_over_the_callers_limit_is_refused_at_its_head(tmp_path: Path) -> None:
    """A body that announces more than the caller may send is 500 ERR_DIRECT_INVOKE, and the callee hears nothing."""

    async def scenario(node: InvokeNode) -> None:
        node.attach("callee")
        client = await node.client(node.attach("caller", max_body_bytes=10))
        answer = await client.ask(POST_CALLEE + b"content-length: 11\r\n\r\nx")

        assert answer.status == 500
        assert answer.body.startswith(
            b'{"errorCode":"ERR_DIRECT_INVOKE","message":"failed to invoke, id: callee, err: '
        )
        assert answer.body.endswith(b'too large"}')
        assert node.apps["callee"].nobody_connects()

    on_node(tmp_path, scenario)


def test_a_refused_upload_is_answered_before_it_is_sent(tmp_path: Path) -> None:
    """An upload to nobody is refused at its head."""

    async def scenario(node: InvokeNode) -> None:
        client = await node.client(node.attach("caller"))
        answer = await client.ask(POST_CALLEE + b"content-length: 99\r\n\r\nx")

        assert answer.status == 500

    on_node(tmp_path, scenario)


def test_a_caller_that_closes_while_it_waits_ends_the_call(tmp_path: Path) -> None:
    """The callee's connection is closed: nobody is there for its answer."""

    async def scenario(node: InvokeNode) -> None:
        client = await caller_and_callee(node)
        await client.send(GET_CALLEE)
        peer = await node.apps["callee"].accept()
        await peer.request()
        client.close()

        assert await peer.read() == b""

    on_node(tmp_path, scenario)
