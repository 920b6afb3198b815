"""An app that comes up late, goes, and comes again: which calls notice, and what is sent twice."""

import asyncio
from pathlib import Path

import pytest
import uvloop

from noded.channel import HttpChannel
from noded.channel_contract import ChannelError
from noded.config.records import ChannelSpec
from tests.daemon.raw_app import OK, RawApp, call, with_app

sockets = pytest.mark.parametrize("unix", [True, False], ids=["unix", "tcp"])


def test_an_app_may_come_up_later(tmp_path: Path) -> None:
    """Nothing connects before the first call; a call to an app that is not there fails at once; later ones reach it."""

    async def run() -> None:
        path = tmp_path / "app.sock"
        channel = HttpChannel(ChannelSpec(f"unix:{path}"), asyncio.get_running_loop())
        with pytest.raises(ChannelError, match=r"cannot reach the app at .*app\.sock"):
            await call(channel)
        app = RawApp(path)
        assert app.nobody_connects()
        under_way = call(channel)
        peer = await app.accept()
        await peer.request()
        await peer.send(OK)
        assert (await under_way).body == b"ok"
        await channel.aclose()
        app.close()

    uvloop.run(run())


def test_everyone_who_waits_for_an_app_that_is_not_there_is_told(tmp_path: Path) -> None:
    """When no connection can be made, all who wait for one fail, not only the first."""

    async def scenario(app: RawApp, channel: HttpChannel) -> None:
        app.close()
        failures = await asyncio.gather(*(call(channel) for _ in range(5)), return_exceptions=True)

        assert [type(failure) for failure in failures] == [ChannelError] * 5

    with_app(tmp_path, scenario, max_concurrency=2)


@sockets
@pytest.mark.parametrize("method", [b"GET", b"POST"])
def test_a_connection_closed_while_idle_is_not_used(method: bytes, unix: bool, tmp_path: Path) -> None:  # noqa: FBT001
    """An app that was restarted between two calls answers the second on a new connection, whatever the method."""

    async def scenario(app: RawApp, channel: HttpChannel) -> None:
        first = call(channel)
        peer = await app.accept()
        await peer.request()
        await peer.send(OK)
        await first
        peer.close()  # the loop has not noticed when the next call is made
        second = call(channel, method)
        fresh = await app.accept()
        await fresh.request()
        await fresh.send(OK)

        assert (await second).status == 200

    with_app(tmp_path if unix else None, scenario)


@sockets
def test_a_request_the_app_may_have_acted_on_is_not_repeated(unix: bool, tmp_path: Path) -> None:  # noqa: FBT001
    """A POST that the app read before it closed is not sent again: it may have been done."""

    async def scenario(app: RawApp, channel: HttpChannel) -> None:
        first = call(channel)
        peer = await app.accept()
        await peer.request()
        await peer.send(OK)
        await first
        second = call(channel)
        await peer.request()
        peer.close()

        with pytest.raises(ChannelError, match="without a whole answer"):
            await second
        assert app.nobody_connects()

    with_app(tmp_path if unix else None, scenario)


def test_a_repeatable_request_is_sent_again_once(tmp_path: Path) -> None:
    """A GET whose kept connection closed unanswered goes out on a new one; if that closes too, it fails."""

    async def scenario(app: RawApp, channel: HttpChannel) -> None:
        first = call(channel, b"GET")
        peer = await app.accept()
        await peer.request()
        await peer.send(OK)
        await first
        second = call(channel, b"GET")
        await peer.request()
        peer.close()
        fresh = await app.accept()
        await fresh.request()
        fresh.close()

        with pytest.raises(ChannelError, match="without a whole answer"):
            await second
        assert app.nobody_connects()

    with_app(tmp_path, scenario)


def test_an_answer_that_began_is_not_asked_for_again(tmp_path: Path) -> None:
    """Once a byte of the answer came, a broken connection is an error even for a GET."""

    async def scenario(app: RawApp, channel: HttpChannel) -> None:
        first = call(channel, b"GET")
        peer = await app.accept()
        await peer.request()
        await peer.send(OK)
        await first
        second = call(channel, b"GET")
        await peer.request()
        await peer.send(b"H")
        peer.close()

        with pytest.raises(ChannelError):
            await second
        assert app.nobody_connects()

    with_app(tmp_path, scenario)
