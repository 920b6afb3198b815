"""Answer heads met before. Rule: an answer means the same whether its head is known or not, however it arrives."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from noded.calls import Header
from noded.channel import HttpChannel
from noded.channel_contract import AppResponse, ChannelError
from noded.wire.known_answers import MAX_HEADS, KnownAnswers
from tests.daemon.raw_app import OK, Peer, RawApp, answered, call, with_app

NO_CONTENT = b"HTTP/1.1 204 No Content\r\nserver: x\r\n\r\n"
LENGTH: list[Header] = [(b"content-length", b"2")]


def whole(data: bytes) -> list[bytes]:
    return [data]


def in_two(data: bytes) -> list[bytes]:
    return [data[:-1], data[-1:]]


def by_byte(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


async def opened(app: RawApp, channel: HttpChannel) -> Peer:
    """A connection whose app has answered OK once, so that its head is known."""
    under_way = call(channel)
    peer = await app.accept()
    await peer.request()
    await peer.send(OK)
    await under_way
    return peer


async def answers(channel: HttpChannel, peer: Peer, pieces: list[bytes], method: bytes = b"POST") -> AppResponse:
    """Call, and answer in pieces, the loop turning in between."""
    under_way = call(channel, method)
    await peer.request()
    for piece in pieces:
        await peer.send(piece)
        await asyncio.sleep(0)
    return await under_way


@pytest.mark.parametrize("cut", [whole, in_two, by_byte])
@pytest.mark.parametrize("answer", [OK, NO_CONTENT, OK.replace(b"200 OK", b"500 No")])
def test_an_answer_is_the_same_when_its_head_is_known(
    cut: Callable[[bytes], list[bytes]], answer: bytes, tmp_path: Path
) -> None:
    """The first is parsed, the next recognised, the last if it is whole; all give status, headers and body."""

    async def scenario(app: RawApp, channel: HttpChannel) -> None:
        peer = await opened(app, channel)
        parsed = await answers(channel, peer, whole(answer))
        assert channel.answers.find(answer.partition(b"\r\n\r\n")[0]) is not None

        assert await answers(channel, peer, whole(answer)) == parsed
        assert await answers(channel, peer, cut(answer)) == parsed
        await answered(channel, peer)

    with_app(tmp_path, scenario)


def test_the_body_after_a_known_head_is_this_answers_own(tmp_path: Path) -> None:
    """Only the head is remembered."""

    async def scenario(app: RawApp, channel: HttpChannel) -> None:
        peer = await opened(app, channel)

        assert (await answers(channel, peer, [OK[:-2] + b"no"])).body == b"no"
        assert (await answers(channel, peer, [OK[:-2] + b"on"])).body == b"on"

    with_app(tmp_path, scenario)


@pytest.mark.parametrize(
    ("method", "answer"),
    [(b"POST", OK + b"!"), (b"POST", OK + OK), (b"HEAD", OK)],
    ids=["a byte", "an answer", "a body for HEAD"],
)
def test_bytes_that_do_not_belong_to_the_answer_end_the_connection(
    method: bytes, answer: bytes, tmp_path: Path
) -> None:
    """A known head excuses nothing: what follows must be the announced body, and a HEAD has none."""

    async def scenario(app: RawApp, channel: HttpChannel) -> None:
        peer = await opened(app, channel)

        with pytest.raises(ChannelError, match="not HTTP"):
            await answers(channel, peer, [answer], method)
        assert await peer.read() == b""

    with_app(tmp_path, scenario)


def test_an_answer_to_head_is_read_as_one_after_the_same_head_came_with_a_body(tmp_path: Path) -> None:
    """Its content-length says what a GET would bring."""

    async def scenario(app: RawApp, channel: HttpChannel) -> None:
        peer = await opened(app, channel)

        assert (await answers(channel, peer, [OK[:-2]], b"HEAD")).body == b""
        await answered(channel, peer)

    with_app(tmp_path, scenario)


@pytest.mark.parametrize(
    ("answer", "headers", "body"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", [], b""),
        (b"HTTP/1.1 200 OK\r\nx: 2\r\n\r\nok", [*LENGTH, *LENGTH], b"ok"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", LENGTH, b"ok"),
        (b"HTTP/1.1 200 OK\r\nx: 2\r\n\r\n2\r\nok\r\n0\r\n\r\n", [(b"transfer-encoding", b"chunked")], b"ok"),
        (b"HTTP/1.1 200 OK\r\nx: 2\r\n\r\nok", [*LENGTH, (b"trailer", b"x")], b"ok"),
        (b"HTTP/1.1 200 OK\r\nx: 2\r\n\r\n", LENGTH, b""),
        (b"HTTP/1.1 200 OK\r\nx: " + b"2" * 2048 + b"\r\n\r\nok", LENGTH, b"ok"),
    ],
    ids=["until close", "two lengths", "interim", "chunked", "trailer", "head only", "long"],
)
def test_an_answer_that_is_not_plain_is_not_remembered(answer: bytes, headers: list[Header], body: bytes) -> None:
    """What the head alone does not decide is for the parser, each time."""
    known = KnownAnswers()
    known.learn(answer, 200, headers, body)

    assert known.find(answer.partition(b"\r\n\r\n")[0]) is None


def test_the_memory_of_heads_is_bounded() -> None:
    """When it is full everything is forgotten, and learning goes on."""
    known = KnownAnswers()
    heads = [b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx: %d" % number for number in range(MAX_HEADS + 1)]
    for head in heads:
        known.learn(head + b"\r\n\r\nok", 200, LENGTH, b"ok")

    assert [number for number, head in enumerate(heads) if known.find(head) is not None] == [MAX_HEADS]
