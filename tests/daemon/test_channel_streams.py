"""Bodies in pieces over an app's channel, both ways: framing, backpressure, ends, and breaking off."""

import asyncio
from pathlib import Path

import pytest

from noded.channel import HttpChannel
from noded.channel_connection import HIGH_WRITE_BYTES
from noded.channel_exchange import AppExchange, AppRequest, ChannelTimeout
from tests.daemon.raw_app import OK, Peer, RawApp, Recorder, with_app

PIECE = b"x" * 65536


def upload(channel: HttpChannel, sink: Recorder, length: int | None = None) -> AppExchange:
    return channel.open(AppRequest(b"POST", b"/up", (), None, length), sink, 30)


def download(channel: HttpChannel, sink: Recorder, timeout_seconds: float = 30) -> AppExchange:
    return channel.open(AppRequest(b"GET", b"/down", ()), sink, timeout_seconds)


async def reads(peer: Peer, until: bytes) -> bytes:
    got = b""
    while not got.endswith(until):
        piece = await peer.read()
        assert piece
        got += piece
    return got


def test_a_body_of_unknown_length_goes_out_in_chunks(tmp_path: Path) -> None:
    """Pieces become chunks; an empty piece is none; the end is the last chunk."""

    async def scenario(app: RawApp, channel: HttpChannel) -> None:
        sink = Recorder()
        exchange = upload(channel, sink)
        peer = await app.accept()
        assert (
            await reads(peer, b"\r\n\r\n")
            == b"POST /up HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        assert exchange.write(b"hello")
        assert exchange.write(b"")
        assert exchange.write(b"world!")
        exchange.end()
        assert await reads(peer, b"0\r\n\r\n") == b"5\r\nhello\r\n6\r\nworld!\r\n0\r\n\r\n"
        await peer.send(OK)
        await sink.hears("answer")

        assert sink.events == [("answer", 200, b"ok")]

    with_app(tmp_path, scenario)


def test_a_body_of_known_length_goes_out_as_it_is(tmp_path: Path) -> None:
    """With a content-length the pieces are sent bare, and the connection is used again."""

    async def scenario(app: RawApp, channel: HttpChannel) -> None:
        peer: Peer | None = None
        for _ in range(2):
            sink = Recorder()
            exchange = upload(channel, sink, 10)
            exchange.write(b"hello")
            exchange.write(b"world")
            exchange.end()
            peer = peer or await app.accept()
            assert (await reads(peer, b"helloworld")).count(b"content-length: 10\r\n") == 1
            await peer.send(OK)
            await sink.hears("answer")

        assert app.nobody_connects()

    with_app(tmp_path, scenario)


def test_pieces_written_before_there_is_a_connection_wait_for_it(tmp_path: Path) -> None:
    """A writer is told to wait until the connection is there, and then told to go on."""

    async def scenario(app: RawApp, channel: HttpChannel) -> None:
        sink = Recorder()
        exchange = upload(channel, sink, 10)
        assert not exchange.write(b"hello")
        await sink.hears("drained")
        assert exchange.write(b"world")
        exchange.end()
        peer = await app.accept()

        await reads(peer, b"helloworld")

    with_app(tmp_path, scenario)


def test_a_slow_app_makes_the_writer_wait(tmp_path: Path) -> None:
    """While the app does not read, `write` soon says so; when it reads, the writer hears of it."""

    async def scenario(app: RawApp, channel: HttpChannel) -> None:
        sink = Recorder()
        exchange = upload(channel, sink)
        peer = await app.accept()
        written = 0
        while exchange.write(PIECE):
            written += len(PIECE)
            await asyncio.sleep(0)
            assert written < 100 * HIGH_WRITE_BYTES
        assert "drained" not in sink.names()
        while "drained" not in sink.names():
            assert await peer.read()

        assert exchange.write(b"more")
        exchange.abort()

    with_app(tmp_path, scenario)


def test_an_answer_comes_piece_by_piece(tmp_path: Path) -> None:
    """What the app flushes is given on at once: head, pieces, end."""

    async def scenario(app: RawApp, channel: HttpChannel) -> None:
        sink = Recorder()
        download(channel, sink)
        peer = await app.accept()
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        await sink.hears("head")
        await peer.send(b"5\r\nhello\r\n")
        await sink.hears("piece")
        assert sink.body == b"hello"
        await peer.send(b"1\r\n!\r\n0\r\n\r\n")
        await sink.hears("end")

        assert (sink.names(), sink.body) == (["head", "end"], b"hello!")

    with_app(tmp_path, scenario)


def test_a_paused_answer_is_not_read(tmp_path: Path) -> None:
    """While the sink pauses, the app's sending stalls; nothing piles up here; after `resume` the rest comes."""

    async def scenario(app: RawApp, channel: HttpChannel) -> None:
        sink = Recorder()
        exchange = download(channel, sink)
        peer = await app.accept()
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (64 * len(PIECE)))
        await sink.hears("head")
        exchange.pause()
        sending = asyncio.ensure_future(peer.send(PIECE * 64))
        for _ in range(50):
            await asyncio.sleep(0)
        assert not sending.done()
        assert sink.body == b""
        exchange.resume()
        await sending
        await sink.hears("end")

        assert len(sink.body) == 64 * len(PIECE)

    with_app(tmp_path, scenario)


def test_a_paused_connection_reads_again_for_the_next_request(tmp_path: Path) -> None:
    """A sink that paused on the last piece leaves no mark on the connection."""

    async def scenario(app: RawApp, channel: HttpChannel) -> None:
        class Pausing(Recorder):
            def on_piece(self, piece: bytes) -> None:
                super().on_piece(piece)
                exchange.pause()

        sink = Pausing()
        exchange = download(channel, sink)
        peer = await app.accept()
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n")
        await sink.hears("head")
        await peer.send(b"ok")
        await sink.hears("end")
        again = Recorder()
        download(channel, again)
        await peer.request()
        await peer.send(OK)
        await again.hears("answer")

    with_app(tmp_path, scenario)


def test_an_early_answer_ends_the_request(tmp_path: Path) -> None:
    """An app may answer before it read all of the body: the answer counts, the rest is not sent."""

    async def scenario(app: RawApp, channel: HttpChannel) -> None:
        sink = Recorder()
        exchange = upload(channel, sink)
        peer = await app.accept()
        await reads(peer, b"\r\n\r\n")
        await peer.send(b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n")
        await sink.hears("answer")

        assert exchange.closed
        assert exchange.write(b"more")
        exchange.end()
        assert await peer.read() == b""
        assert sink.events == [("answer", 413, b"")]

    with_app(tmp_path, scenario)


@pytest.mark.parametrize("when", ["waiting", "sent", "answering"])
def test_breaking_off_closes_the_connection_and_is_silent(when: str, tmp_path: Path) -> None:
    """An exchange broken off at any moment tells its sink nothing more and frees its connection."""

    async def scenario(app: RawApp, channel: HttpChannel) -> None:
        sink = Recorder()
        exchange = download(channel, sink)
        if when == "waiting":
            exchange.abort()
            peer = await app.accept()
        else:
            peer = await app.accept()
            await peer.request()
            if when == "answering":
                await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhel")
                await sink.hears("head")
            exchange.abort()
            assert await peer.read() == b""
        heard = list(sink.events)
        after = Recorder()
        download(channel, after)
        peer = peer if when == "waiting" else await app.accept()
        await peer.request()
        await peer.send(OK)
        await after.hears("answer")

        assert sink.events == heard

    with_app(tmp_path, scenario, max_concurrency=1)


@pytest.mark.parametrize("waiting", [True, False])
def test_an_answer_nobody_wants_is_broken_off(waiting: bool, tmp_path: Path) -> None:  # noqa: FBT001
    """A sink may be abandoned: its request is then broken off soon, whether it was sent or still waits."""

    async def scenario(app: RawApp, channel: HttpChannel) -> None:
        first = Recorder()
        download(channel, first)
        peer = await app.accept()
        await peer.request()
        second = Recorder()
        exchange = download(channel, second)
        (second if waiting else first).abandoned = True
        if waiting:
            while not exchange.closed:  # noqa: ASYNC110 - it is silent, by the rule
                await asyncio.sleep(0.01)
        else:
            assert await peer.read() == b""

        assert first.events == second.events == []

    with_app(tmp_path, scenario, max_concurrency=1)


def test_the_deadline_is_for_the_head_unless_set_anew(tmp_path: Path) -> None:
    """A sink may lengthen the deadline when the head is there; else the body is late like the head."""

    async def scenario(app: RawApp, channel: HttpChannel) -> None:
        sink = Recorder()
        download(channel, sink, timeout_seconds=0.05)
        peer = await app.accept()
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhel")
        await sink.hears("error")

        assert sink.events[-1] == ("error", ChannelTimeout)
        assert await peer.read() == b""

    with_app(tmp_path, scenario)


def test_an_answer_broken_off_is_told(tmp_path: Path) -> None:
    """When the app dies inside its answer, the sink hears an error after what came."""

    async def scenario(app: RawApp, channel: HttpChannel) -> None:
        sink = Recorder()
        download(channel, sink)
        peer = await app.accept()
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n")
        await sink.hears("piece")
        peer.close()
        await sink.hears("error")

        assert (sink.names(), sink.body) == (["head", "error"], b"hello")

    with_app(tmp_path, scenario)
