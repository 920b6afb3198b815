"""The channel to a gRPC app: unary calls and streams over few connections, against an app held in the test's hands."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import uvloop

from noded.calls import Header
from noded.channel_contract import ChannelError
from noded.channel_grpc import GrpcAnswer, GrpcChannel
from noded.channel_http2 import StreamBounds
from noded.config.records import AppProtocol, ChannelSpec
from noded.http2_client import STREAM_WINDOW_BYTES, AppStream
from noded.wire.grpc import RESPONSE_HEAD, encode_request_head, encode_trailers
from noded.wire.http2 import ErrorCode, Http2Limits
from tests.daemon.http2_app import SECONDS, App
from tests.daemon.raw_app import in_loop

PATH = b"/a.B/C"


class Sink:
    """Writes down an answer."""

    abandoned = False

    def __init__(self) -> None:
        self.data = b""
        self.errors: list[str] = []
        self.drained = 0

    def on_head(self, headers: Sequence[Header], *, end: bool) -> None:
        """The same for all."""

    def on_piece(self, data: bytes, *, end: bool) -> None:
        self.data += data

    def on_trailers(self, headers: Sequence[Header]) -> None:
        """The end."""

    def on_error(self, error: ChannelError) -> None:
        self.errors.append(str(error))

    def on_drained(self) -> None:
        self.drained += 1


def with_app(
    tmp_path: Path,
    scenario: Callable[[App, GrpcChannel], Awaitable[None]],
    *,
    limits: Http2Limits | None = None,
    max_concurrency: int | None = None,
    bounds: StreamBounds | None = None,
) -> None:
    async def run() -> None:
        app = App(tmp_path / "app", limits)
        spec = ChannelSpec(app.address, AppProtocol.GRPC, max_concurrency)
        channel = GrpcChannel(spec, asyncio.get_running_loop(), bounds)
        try:
            await scenario(app, channel)
        finally:
            await channel.aclose()
            app.close()

    uvloop.run(run())


def call(channel: GrpcChannel, message: bytes = b"", seconds: float = SECONDS) -> "asyncio.Future[GrpcAnswer]":
    return in_loop(channel.call(PATH, message, (), seconds))


def stream(channel: GrpcChannel) -> tuple[AppStream, Sink]:
    sink = Sink()
    opened = AppStream(encode_request_head(PATH, b"localhost"), sink, math.inf)
    channel.open(opened, counted=False)
    return opened, sink


def test_calls_share_a_connection(tmp_path: Path) -> None:
    """Calls under way at once are streams of one connection, and may be answered in any order."""

    async def scenario(app: App, channel: GrpcChannel) -> None:
        calls = [call(channel, b"%d" % number) for number in range(3)]
        served = await app.accept()
        await served.until(lambda: len(served.ended) == 3)
        for stream_id in reversed(served.ended):
            await served.answer(stream_id, served.bodies[stream_id][5:])

        assert [(await each).message for each in calls] == [b"0", b"1", b"2"]
        assert served.heads[1][b":path"] == PATH
        assert served.heads[1][b"grpc-timeout"] == b"10000000u"

    with_app(tmp_path, scenario)


def test_an_app_that_allows_few_streams_gets_few(tmp_path: Path) -> None:
    """Above the app's own limit calls wait for one to end, or go to another connection."""

    async def scenario(app: App, channel: GrpcChannel) -> None:
        calls = [call(channel) for _ in range(3)]
        served = await app.accept()
        await served.until(lambda: len(served.ended) == 1)
        await served.answer(1)
        await served.until(lambda: len(served.ended) == 2)
        await served.answer(3)
        await served.until(lambda: len(served.ended) == 3)
        await served.answer(5)

        assert [(await each).status.code for each in calls] == [0, 0, 0]
        assert not served.resets

    with_app(tmp_path, scenario, limits=Http2Limits(max_concurrent_streams=1), bounds=StreamBounds(connections=1))


def test_max_concurrency_holds_for_calls(tmp_path: Path) -> None:
    """With max_concurrency so many unary calls are with the app, and others wait their turn."""

    async def scenario(app: App, channel: GrpcChannel) -> None:
        calls = [call(channel) for _ in range(3)]
        served = await app.accept()
        await served.until(lambda: len(served.ended) == 2)
        opened, _ = stream(channel)
        opened.write(b"", end=True)
        await served.until(lambda: 5 in served.ended)
        assert not any(each.done() for each in calls)
        await served.answer(1)
        await served.until(lambda: 7 in served.ended)
        await served.answer(3)
        await served.answer(7)

        assert [(await each).status.code for each in calls] == [0, 0, 0]

    with_app(tmp_path, scenario, max_concurrency=2)


def test_too_many_waiting_calls_fail_at_once(tmp_path: Path) -> None:
    """The queue for an app is bounded in calls."""

    async def scenario(app: App, channel: GrpcChannel) -> None:
        waiting = [call(channel) for _ in range(2)]
        refused = await call(channel)

        assert (refused.status.code, refused.status.message) == (14, "the app is busy: 2 calls wait for it")
        assert not any(each.done() for each in waiting)

    with_app(tmp_path, scenario, bounds=StreamBounds(waiting=2))


def test_a_call_that_is_not_answered_ends(tmp_path: Path) -> None:
    """After its time a call is DEADLINE_EXCEEDED and broken off at the app."""

    async def scenario(app: App, channel: GrpcChannel) -> None:
        late = call(channel, seconds=0.05)
        served = await app.accept()
        await served.until(lambda: served.resets == [1])

        assert (await late).status.code == 4

    with_app(tmp_path, scenario)


def test_an_app_that_speaks_something_else_is_unavailable(tmp_path: Path) -> None:
    """An answer that is no HTTP/2 fails the call at once."""

    async def scenario(app: App, channel: GrpcChannel) -> None:
        failing = call(channel)
        with await app.accept_bare() as sock:
            await asyncio.get_running_loop().sock_sendall(sock, b"HTTP/1.1 400 Bad Request\r\n\r\n")
            answer = await failing

        assert (answer.status.code, "does not speak HTTP/2" in answer.status.message) == (14, True)

    with_app(tmp_path, scenario)


def test_a_call_the_app_did_not_look_at_is_sent_again(tmp_path: Path) -> None:
    """REFUSED_STREAM says that nothing was done: the call goes out once more, and then fails."""

    async def scenario(app: App, channel: GrpcChannel) -> None:
        calls = [call(channel), call(channel)]
        served = await app.accept()
        await served.until(lambda: len(served.ended) == 2)
        served.codec.reset(1, ErrorCode.REFUSED_STREAM)
        served.codec.reset(3, ErrorCode.REFUSED_STREAM)
        await served.until(lambda: len(served.ended) == 4)
        await served.answer(5)
        served.codec.reset(7, ErrorCode.REFUSED_STREAM)
        await served.flush()

        assert [(await each).status.code for each in calls] == [0, 14]

    with_app(tmp_path, scenario)


def test_a_leaving_connection_finishes_what_it_has(tmp_path: Path) -> None:
    """After GOAWAY calls under way are answered there, and others go to a new connection."""

    async def scenario(app: App, channel: GrpcChannel) -> None:
        first = call(channel)
        served = await app.accept()
        await served.until(lambda: served.ended == [1])
        served.codec.goaway(0)
        await served.flush()
        late = call(channel)
        following = await app.accept()
        await following.until(lambda: following.ended == [1])
        await following.answer(1, b"new")
        await served.answer(1, b"old")

        assert ((await first).message, (await late).message) == (b"old", b"new")

    with_app(tmp_path, scenario)


def test_detaching_ends_what_is_under_way(tmp_path: Path) -> None:
    """Calls with the app, and those that wait, fail when the channel closes."""

    async def scenario(app: App, channel: GrpcChannel) -> None:
        under_way = [call(channel), call(channel)]
        served = await app.accept()
        await served.until(lambda: served.ended == [1])
        await channel.aclose()

        for each in under_way:
            assert (await each).status.message == "the app was detached"

    with_app(tmp_path, scenario, max_concurrency=1)


def test_a_slow_taker_holds_its_window_and_no_other(tmp_path: Path) -> None:
    """Data nobody took stops its stream at the window; the others of the connection go on."""

    async def scenario(app: App, channel: GrpcChannel) -> None:
        opened, sink = stream(channel)
        served = await app.accept()
        await served.until(lambda: 1 in served.heads)
        served.codec.send_headers(1, RESPONSE_HEAD, end_stream=False)
        assert not served.codec.send_data(1, bytes(2 * STREAM_WINDOW_BYTES), end_stream=False)
        await served.flush()
        beside = call(channel)
        await served.until(lambda: 3 in served.ended)
        await served.answer(3)
        await beside

        assert len(sink.data) == STREAM_WINDOW_BYTES
        opened.consumed(len(sink.data))
        await served.until(lambda: not served.codec.pending(1))
        await _eventually(lambda: len(sink.data) == 2 * STREAM_WINDOW_BYTES)

    with_app(tmp_path, scenario)


def test_a_slow_app_is_told_to_its_caller(tmp_path: Path) -> None:
    """A request above the app's window waits, and its writer is told when it has gone."""

    async def scenario(app: App, channel: GrpcChannel) -> None:
        opened, sink = stream(channel)
        served = await app.accept()
        await served.until(lambda: 1 in served.heads)
        assert opened.write(b"x")
        assert not opened.write(bytes(1 << 20))
        await served.until(lambda: len(served.bodies[1]) >= 65535)
        assert not sink.drained
        for _ in range(20):
            served.codec.consumed(1, len(served.bodies[1]))
            if len(served.bodies[1]) > 1 << 20:
                break
            before = len(served.bodies[1])
            await served.until(lambda before=before: len(served.bodies[1]) > before)  # type: ignore[misc]
        await _eventually(lambda: sink.drained == 1)

    with_app(tmp_path, scenario)


def test_what_is_written_before_there_is_a_connection_is_kept(tmp_path: Path) -> None:
    """An app bound late gets a request's beginning all the same."""

    async def scenario(app: App, channel: GrpcChannel) -> None:
        opened, sink = stream(channel)
        assert not opened.write(b"early")
        served = await app.accept()
        await served.until(lambda: served.bodies.get(1) == b"early")
        opened.write(b" late", end=True)
        await served.until(lambda: served.ended == [1])

        assert served.bodies[1] == b"early late"
        assert sink.drained == 1

    with_app(tmp_path, scenario)


def test_an_answer_of_status_only_is_an_answer(tmp_path: Path) -> None:
    """A head that ends the call carries its status."""

    async def scenario(app: App, channel: GrpcChannel) -> None:
        failing = call(channel)
        served = await app.accept()
        await served.until(lambda: served.ended == [1])
        served.codec.send_headers(1, RESPONSE_HEAD + encode_trailers(5, "no"), end_stream=True)
        await served.flush()

        assert ((await failing).status.code, (await failing).status.message) == (5, "no")

    with_app(tmp_path, scenario)


async def _eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(SECONDS):
        while not condition():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.001)
