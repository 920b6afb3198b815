"""How connections to an h2c app end: refused, lost, told to go, and cut off. What waited for them hears of it."""

import asyncio
import gc
from pathlib import Path
from typing import Any

import pytest

from noded.channel_contract import ChannelError
from noded.channel_exchange import AppRequest
from noded.channel_h2c import H2cChannel
from noded.config.records import AppProtocol, ChannelSpec
from noded.wire.http2 import ErrorCode, Http2Limits, encode_block
from noded.wire.http2_frames import END_HEADERS, END_STREAM, HEADERS, encode_frame
from tests.daemon.http2_app import App
from tests.daemon.raw_app import Recorder, in_loop
from tests.daemon.test_channel_h2c import ask, ok, with_app

SECONDS = 10.0


def test_an_app_that_is_not_there_fails_its_calls_and_nothing_else(tmp_path: Path) -> None:
    """Each probe of an app that is down is a refused connection: none leaves a failed task behind."""

    async def scenario(app: App, channel: H2cChannel) -> None:
        unforeseen: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: unforeseen.append(context))
        app.close()
        for _ in range(2):
            with pytest.raises(ChannelError, match="cannot reach the app"):
                await in_loop(channel.call(b"GET", b"/", (), b"", SECONDS))
        await asyncio.sleep(0)
        gc.collect()

        assert not unforeseen

    with_app(tmp_path, scenario)


@pytest.mark.parametrize("accepted", [False, True])
def test_a_channel_is_quiet_once_its_calls_have_failed(accepted: bool, tmp_path: Path) -> None:  # noqa: FBT001
    """Whether the app refused the connection or broke it off: a detach does not wait for it until its deadline."""

    async def scenario(app: App, channel: H2cChannel) -> None:
        if not accepted:
            app.close()
        under_way = in_loop(channel.call(b"GET", b"/", (), b"", SECONDS))
        if accepted:
            await app.begun()
        quiet = in_loop(channel.wait_quiet())
        assert not quiet.done()
        app.close()
        with pytest.raises(ChannelError):
            await under_way
        await asyncio.wait_for(quiet, SECONDS)

    with_app(tmp_path, scenario)


def test_a_channel_is_quiet_once_a_waiting_call_is_overdue(tmp_path: Path) -> None:
    """One that never had a connection counts as well."""

    async def scenario(app: App, channel: H2cChannel) -> None:
        under_way = in_loop(channel.call(b"GET", b"/", (), b"", 0.1))
        await app.accept_bare()  # which says nothing, so the connection is never made
        quiet = in_loop(channel.wait_quiet())
        with pytest.raises(ChannelError):
            await under_way
        await asyncio.wait_for(quiet, SECONDS)

    with_app(tmp_path, scenario)


def test_a_request_that_is_answered_before_its_end_is_broken_off(tmp_path: Path) -> None:
    """The app wants no more of it, whether it says so or not: the stream is not left open."""

    async def scenario(app: App, channel: H2cChannel) -> None:
        sink = Recorder()
        exchange = ask(channel, AppRequest(b"POST", b"/", (), None), sink)
        exchange.write(b"some")
        served = await app.begun()
        head = encode_frame(HEADERS, END_HEADERS | END_STREAM, 1, encode_block([(b":status", b"200")]))
        await asyncio.get_running_loop().sock_sendall(served.sock, head)
        await sink.hears("answer")
        await served.until(lambda: served.resets == [1])

    with_app(tmp_path, scenario)


def test_a_connection_that_is_to_go_is_closed_when_nothing_is_on_it(tmp_path: Path) -> None:
    """An app that says GOAWAY and keeps the connection does not hold one of the daemon's descriptors."""

    async def scenario(app: App, channel: H2cChannel) -> None:
        under_way = in_loop(channel.call(b"GET", b"/", (), b"", SECONDS))
        served = await app.begun()
        await ok(served, 1)
        await under_way
        served.codec.goaway(ErrorCode.NO_ERROR)
        await served.flush()

        async with asyncio.timeout(SECONDS):
            while await asyncio.get_running_loop().sock_recv(served.sock, 65536):
                pass

    with_app(tmp_path, scenario)


def test_an_app_that_reads_no_more_cannot_keep_its_connection(tmp_path: Path) -> None:
    """At the end of its channel what it has not taken is dropped, not kept until it reads."""
    body = bytes(8 << 20)

    async def scenario(_: App, __: H2cChannel) -> None:
        window = 2 * len(body)
        app = App(tmp_path / "unread", Http2Limits(stream_window_bytes=window, connection_window_bytes=window))
        channel = H2cChannel(ChannelSpec(app.address, AppProtocol.H2C), asyncio.get_running_loop())
        sink = Recorder()
        ask(channel, AppRequest(b"POST", b"/", (), body), sink)
        served = await app.begun()
        await channel.aclose()
        taken = 0
        async with asyncio.timeout(SECONDS):
            while piece := await asyncio.get_running_loop().sock_recv(served.sock, 1 << 20):
                taken += len(piece)
        app.close()

        assert taken < len(body) // 2

    with_app(tmp_path, scenario)
