"""The channel to an h2c app: the same calls as by HTTP/1.1, as streams, against an app held in the test's hands."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import uvloop

from noded.channel_contract import ChannelError
from noded.channel_exchange import NO_DEADLINE, AppRequest, ChannelTimeout
from noded.channel_h2c import H2cChannel, H2cExchange
from noded.channel_http2 import StreamBounds
from noded.config.records import AppProtocol, ChannelSpec
from noded.http2_client import STREAM_WINDOW_BYTES
from noded.wire.http1 import request_head
from noded.wire.http2 import ErrorCode, encode_block
from tests.daemon.http2_app import App, Served
from tests.daemon.raw_app import Recorder, in_loop

OK_BLOCK = encode_block([(b":status", b"200"), (b"content-length", b"2")])
HEAD_BLOCK = encode_block([(b":status", b"200"), (b"x-a", b"b")])


def with_app(
    tmp_path: Path,
    scenario: Callable[[App, H2cChannel], Awaitable[None]],
    *,
    max_concurrency: int | None = None,
    bounds: StreamBounds | None = None,
) -> None:
    async def run() -> None:
        app = App(tmp_path / "app")
        spec = ChannelSpec(app.address, AppProtocol.H2C, max_concurrency)
        channel = H2cChannel(spec, asyncio.get_running_loop(), bounds)
        try:
            await scenario(app, channel)
        finally:
            await channel.aclose()
            app.close()

    uvloop.run(run())


def ask(channel: H2cChannel, request: AppRequest, sink: Recorder, seconds: float = 10.0) -> H2cExchange:
    return channel.open(request, sink, seconds)


async def asked(app: App, ended: int = 1) -> Served:
    """Accept, and read until so many requests are whole."""
    served = await app.accept()
    await served.until(lambda: len(served.ended) >= ended)
    return served


async def ok(served: Served, stream_id: int) -> None:
    served.codec.send_response(stream_id, OK_BLOCK, b"ok", None)
    await served.flush()


def test_a_call_is_a_stream(tmp_path: Path) -> None:
    """Method, path and query, headers and body arrive as HTTP/2 has them; the whole answer comes back."""

    async def scenario(app: App, channel: H2cChannel) -> None:
        under_way = in_loop(channel.call(b"POST", b"/x?q=1", [(b"x-a", b"b")], b"body", 10))
        served = await asked(app)
        await ok(served, 1)
        answer = await under_way

        assert served.heads[1] == {
            b":method": b"POST",
            b":scheme": b"http",
            b":authority": b"localhost",
            b":path": b"/x?q=1",
            b"content-length": b"4",
            b"x-a": b"b",
        }
        assert served.bodies[1] == b"body"
        assert (answer.status, answer.headers, answer.body) == (200, ((b"content-length", b"2"),), b"ok")

    with_app(tmp_path, scenario)


def test_a_head_written_for_http1_says_the_same(tmp_path: Path) -> None:
    """Deliveries and known passages write their heads once: host becomes :authority, names lower case."""

    async def scenario(app: App, channel: H2cChannel) -> None:
        head = request_head(b"PUT", b"/y", b"localhost", [(b"X-Mixed", b" v: w ")], b"content-length: 1\r\n")
        sink = Recorder()
        ask(channel, AppRequest(b"PUT", b"/y", (), b"z", None, head), sink)
        served = await asked(app)

        assert served.heads[1][b":path"] == b"/y"
        assert served.heads[1][b"x-mixed"] == b"v: w"
        assert b"host" not in served.heads[1]

    with_app(tmp_path, scenario)


def test_calls_share_a_connection(tmp_path: Path) -> None:
    """Calls at the same time are streams of one connection, answered in any order."""

    async def scenario(app: App, channel: H2cChannel) -> None:
        calls = [in_loop(channel.call(b"GET", b"/%d" % number, (), b"", 10)) for number in range(3)]
        served = await app.accept()
        await served.until(lambda: len(served.heads) == 3)
        for stream_id in (5, 3, 1):
            served.codec.send_response(stream_id, HEAD_BLOCK, served.heads[stream_id][b":path"], None)
        await served.flush()

        assert [(await each).body for each in calls] == [b"/0", b"/1", b"/2"]

    with_app(tmp_path, scenario)


def test_an_answer_of_one_read_is_given_in_one_call(tmp_path: Path) -> None:
    """Head and body that arrive together are one whole answer, even where the stream's end comes apart."""

    async def scenario(app: App, channel: H2cChannel) -> None:
        sink = Recorder()
        ask(channel, AppRequest(b"GET", b"/", ()), sink)
        served = await app.begun()
        served.codec.send_headers(1, HEAD_BLOCK, end_stream=False)
        served.codec.send_data(1, b"he", end_stream=False)
        served.codec.send_data(1, b"llo", end_stream=False)
        served.codec.send_data(1, b"", end_stream=True)
        await served.flush()
        await sink.hears("answer")

        assert sink.events == [("answer", 200, b"hello")]

    with_app(tmp_path, scenario)


def test_an_answer_passes_as_it_is_written(tmp_path: Path) -> None:
    """The head comes before there is a body, each piece before the next is written; trailers end it and are dropped."""

    async def scenario(app: App, channel: H2cChannel) -> None:
        sink = Recorder()
        ask(channel, AppRequest(b"GET", b"/", ()), sink)
        served = await app.begun()
        served.codec.send_headers(1, HEAD_BLOCK, end_stream=False)
        await served.flush()
        await sink.hears("head")
        served.codec.send_data(1, b"data: 1", end_stream=False)
        await served.flush()
        await sink.hears("piece")
        served.codec.send_trailers(1, encode_block([(b"x-trailer", b"t")]))
        await served.flush()
        await sink.hears("end")

        assert sink.names() == ["head", "end"]
        assert sink.body == b"data: 1"

    with_app(tmp_path, scenario)


@pytest.mark.parametrize("length", [None, 10])
def test_a_request_passes_in_pieces(length: int | None, tmp_path: Path) -> None:
    """The first piece is there before the second is written; a length is announced where it is known."""

    async def scenario(app: App, channel: H2cChannel) -> None:
        sink = Recorder()
        exchange = ask(channel, AppRequest(b"POST", b"/", (), None, length), sink)
        exchange.write(b"hello")
        served = await app.accept()
        await served.until(lambda: served.bodies.get(1) == b"hello")
        exchange.write(b"world")
        exchange.end()
        await served.until(lambda: bool(served.ended))

        assert served.bodies[1] == b"helloworld"
        assert served.heads[1].get(b"content-length") == (None if length is None else b"%d" % length)
        assert b"transfer-encoding" not in served.heads[1]

    with_app(tmp_path, scenario)


def test_a_paused_answer_stops_the_app(tmp_path: Path) -> None:
    """Without window for more than one stream holds, the app stops; resumed, it sends the rest."""

    async def scenario(app: App, channel: H2cChannel) -> None:
        sink = Recorder()
        exchange = ask(channel, AppRequest(b"GET", b"/", ()), sink)
        served = await app.begun()
        served.codec.send_headers(1, HEAD_BLOCK, end_stream=False)
        await served.flush()
        await sink.hears("head")
        exchange.pause()
        served.codec.send_data(1, bytes(4 * STREAM_WINDOW_BYTES), end_stream=True)
        await served.flush()
        await sink.has(STREAM_WINDOW_BYTES)
        ask(channel, AppRequest(b"GET", b"/", ()), Recorder())
        await served.until(lambda: 3 in served.heads)  # behind any window that was given
        assert served.codec.pending(1) == 3 * STREAM_WINDOW_BYTES

        exchange.resume()
        await served.until(lambda: not served.codec.pending(1))
        await sink.hears("end")
        assert len(sink.body) == 4 * STREAM_WINDOW_BYTES

    with_app(tmp_path, scenario)


def test_max_concurrency_makes_calls_wait_in_order(tmp_path: Path) -> None:
    """The second stream begins when the first has ended, not before."""

    async def scenario(app: App, channel: H2cChannel) -> None:
        calls = [in_loop(channel.call(b"GET", b"/%d" % number, (), b"", 10)) for number in range(3)]
        served = await app.accept()
        for number, stream_id in enumerate((1, 3, 5)):
            await served.until(lambda stream_id=stream_id: stream_id in served.heads)  # type: ignore[misc]
            assert len(served.heads) == number + 1
            await ok(served, stream_id)
            assert (await calls[number]).status == 200

    with_app(tmp_path, scenario, max_concurrency=1)


def test_waiting_for_a_place_may_be_apart_from_the_deadline(tmp_path: Path) -> None:
    """An event's time begins when the app has it: one that waits its turn longer than that is not overdue."""

    async def scenario(app: App, channel: H2cChannel) -> None:
        first = in_loop(channel.call(b"GET", b"/1", (), b"", 10))
        second = in_loop(channel.call(b"GET", b"/2", (), b"", 0.3, 10))
        served = await app.accept()
        await served.until(lambda: 1 in served.heads)
        await asyncio.sleep(0.6)
        await ok(served, 1)
        await served.until(lambda: 3 in served.heads)

        assert (await first).status == 200
        with pytest.raises(ChannelTimeout):
            await second

    with_app(tmp_path, scenario, max_concurrency=1)


def test_a_place_is_free_again_however_a_call_ends(tmp_path: Path) -> None:
    """Broken off, past its deadline, abandoned: the next in line goes on."""

    async def scenario(app: App, channel: H2cChannel) -> None:
        late, left, unwanted, last = (Recorder() for _ in range(4))
        ask(channel, AppRequest(b"GET", b"/late", ()), late, seconds=0.0)
        served = await app.begun()
        exchange = ask(channel, AppRequest(b"GET", b"/left", ()), left)
        ask(channel, AppRequest(b"GET", b"/unwanted", ()), unwanted)
        ask(channel, AppRequest(b"GET", b"/last", ()), last)
        await late.hears("error")
        await served.until(lambda: 3 in served.heads)
        exchange.abort()
        await served.until(lambda: 5 in served.heads)
        unwanted.abandoned = True
        await served.until(lambda: 7 in served.heads)

        assert late.events == [("error", ChannelTimeout)]
        assert served.heads[7][b":path"] == b"/last"
        assert served.resets == [1, 3, 5]
        assert not left.events
        assert not unwanted.events

    with_app(tmp_path, scenario, max_concurrency=1)


def test_what_the_app_did_not_look_at_is_sent_again_once(tmp_path: Path) -> None:
    """REFUSED_STREAM means that nothing was done with the request."""

    async def scenario(app: App, channel: H2cChannel) -> None:
        sink = Recorder()
        ask(channel, AppRequest(b"POST", b"/", (), b"body"), sink)
        served = await asked(app)
        served.codec.reset(1, ErrorCode.REFUSED_STREAM)
        await served.until(lambda: 3 in served.ended)
        assert served.bodies[3] == b"body"
        served.codec.reset(3, ErrorCode.REFUSED_STREAM)
        await served.flush()
        await sink.hears("error")

    with_app(tmp_path, scenario)


def test_no_deadline_holds_once_the_head_is_there(tmp_path: Path) -> None:
    """An endless answer is not cut: its taker lifts the deadline."""

    async def scenario(app: App, channel: H2cChannel) -> None:
        sink = Recorder()
        exchange = ask(channel, AppRequest(b"GET", b"/", ()), sink, seconds=0.3)
        served = await app.begun()
        served.codec.send_headers(1, HEAD_BLOCK, end_stream=False)
        await served.flush()
        await sink.hears("head")
        exchange.deadline = NO_DEADLINE
        other = in_loop(channel.call(b"GET", b"/", (), b"", 0.5))  # its deadline is noticed after the first's would be
        with pytest.raises(ChannelTimeout):
            await other

        assert sink.names() == ["head"]

    with_app(tmp_path, scenario)


@pytest.mark.parametrize("value", [b"a\r\nx: y", b"a\0"])
def test_what_http_cannot_say_is_refused(value: bytes, tmp_path: Path) -> None:
    """The rules of HTTP/1.1 hold: an app behind another server gets no smuggled header."""

    async def scenario(app: App, channel: H2cChannel) -> None:
        with pytest.raises(ChannelError):
            await in_loop(channel.call(b"GET", b"/", [(b"x-a", value)], b"", 10))

    with_app(tmp_path, scenario)


def test_waiting_for_quiet_ends_with_the_last_call(tmp_path: Path) -> None:
    """A channel is quiet at once without calls, and else when the last is answered."""

    async def scenario(app: App, channel: H2cChannel) -> None:
        await in_loop(channel.wait_quiet())
        under_way = in_loop(channel.call(b"GET", b"/", (), b"", 10))
        served = await app.begun()
        quiet = in_loop(channel.wait_quiet())
        assert not quiet.done()
        await ok(served, 1)
        await asyncio.wait_for(quiet, 10)
        assert (await under_way).status == 200

    with_app(tmp_path, scenario)
