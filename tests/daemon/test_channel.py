"""Calls to an app over its channel: connections, deadlines and failures, against an app played byte by byte."""

import asyncio
from pathlib import Path

import pytest

from noded.channel import ChannelBounds, HttpChannel
from noded.channel_contract import AppResponse, ChannelError
from noded.channel_dial import Address, parse_address
from noded.channel_exchange import ChannelTimeout
from noded.config.records import ChannelSpec
from tests.daemon.raw_app import OK, RawApp, answered, call, in_loop, with_app


def test_a_call_goes_out_whole_and_its_answer_comes_back(tmp_path: Path) -> None:
    """A call sends one request with host and length added, and gives status, headers and body of the answer."""

    async def scenario(app: RawApp, channel: HttpChannel) -> None:
        under_way = call(channel, body=b"hello")
        peer = await app.accept()

        assert await peer.request() == (
            b"POST /x HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\na: b\r\n\r\nhello"
        )
        await peer.send(b"HTTP/1.1 201 Created\r\nX-Y: z\r\ncontent-length: 2\r\n\r\nok")
        assert await under_way == AppResponse(201, ((b"x-y", b"z"), (b"content-length", b"2")), b"ok")

    with_app(tmp_path, scenario)


@pytest.mark.parametrize(("method", "length"), [(b"GET", False), (b"DELETE", False), (b"POST", True), (b"PUT", True)])
def test_an_empty_body_is_announced_where_a_body_is_usual(method: bytes, length: bool, tmp_path: Path) -> None:  # noqa: FBT001
    """A request of a method that usually has a body says content-length: 0; others say nothing."""

    async def scenario(app: RawApp, channel: HttpChannel) -> None:
        under_way = call(channel, method)
        peer = await app.accept()
        assert (b"content-length: 0\r\n" in await peer.request()) is length
        await peer.send(OK)
        await under_way

    with_app(tmp_path, scenario)


def test_one_connection_serves_calls_one_after_another(tmp_path: Path) -> None:
    """A connection is kept alive and used again."""

    async def scenario(app: RawApp, channel: HttpChannel) -> None:
        first = call(channel)
        peer = await app.accept()
        await peer.request()
        await peer.send(OK)
        await first
        await answered(channel, peer)
        await answered(channel, peer)

        assert app.nobody_connects()

    with_app(tmp_path, scenario)


def test_calls_at_the_same_time_have_a_connection_each(tmp_path: Path) -> None:
    """A slow call does not hold up another."""

    async def scenario(app: RawApp, channel: HttpChannel) -> None:
        slow = call(channel)
        first = await app.accept()
        await first.request()
        quick = call(channel)
        second = await app.accept()
        await second.request()
        await second.send(OK)
        await quick

        assert not slow.done()
        await first.send(OK)
        await slow

    with_app(tmp_path, scenario)


def test_an_app_may_listen_on_a_port() -> None:
    """A TCP address is reached too; the Host header then names it."""

    async def scenario(app: RawApp, channel: HttpChannel) -> None:
        under_way = call(channel)
        peer = await app.accept()
        assert f"host: {app.address}\r\n".encode() in await peer.request()
        await peer.send(OK)
        assert (await under_way).body == b"ok"

    with_app(None, scenario)


def test_a_slow_app_meets_the_deadline_and_nobody_else_does(tmp_path: Path) -> None:
    """A call past its deadline fails and its connection is closed; a call with more time goes on."""

    async def scenario(app: RawApp, channel: HttpChannel) -> None:
        late = call(channel, timeout_seconds=0.01)
        slow = await app.accept()
        await slow.request()
        patient = call(channel)
        other = await app.accept()
        await other.request()

        with pytest.raises(ChannelTimeout):
            await late
        assert await slow.read() == b""
        await other.send(OK)
        assert (await patient).status == 200

    with_app(tmp_path, scenario)


def test_waiting_for_a_free_connection_counts_towards_the_deadline(tmp_path: Path) -> None:
    """A call that never got a connection is late like any other."""

    async def scenario(app: RawApp, channel: HttpChannel) -> None:
        first = call(channel)
        peer = await app.accept()
        await peer.request()
        with pytest.raises(ChannelTimeout):
            await call(channel, timeout_seconds=0.01)
        await peer.send(OK)
        await first
        await answered(channel, peer)

    with_app(tmp_path, scenario, max_concurrency=1)


@pytest.mark.parametrize(
    "garbage",
    [b"SSH-2.0-OpenSSH\r\n\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nx", OK * 2],
)
def test_an_app_that_talks_nonsense_hurts_only_that_call(garbage: bytes, tmp_path: Path) -> None:
    """An answer that is not HTTP fails its call, closes its connection, and the next call has a new one."""

    async def scenario(app: RawApp, channel: HttpChannel) -> None:
        broken = call(channel)
        peer = await app.accept()
        await peer.request()
        await peer.send(garbage)
        with pytest.raises(ChannelError, match="not HTTP"):
            await broken
        assert await peer.read() == b""

        after = call(channel)
        fresh = await app.accept()
        await fresh.request()
        await fresh.send(OK)
        assert (await after).body == b"ok"

    with_app(tmp_path, scenario)


def test_an_app_that_speaks_unasked_loses_the_connection(tmp_path: Path) -> None:
    """Bytes on an idle connection close it: they could pass for the answer to the next request."""

    async def scenario(app: RawApp, channel: HttpChannel) -> None:
        first = call(channel)
        peer = await app.accept()
        await peer.request()
        await peer.send(OK)
        await first
        await peer.send(OK)
        assert await peer.read() == b""

    with_app(tmp_path, scenario)


def test_a_body_that_lasts_until_the_app_closes_is_whole(tmp_path: Path) -> None:
    """An answer without length ends when the app closes in order."""

    async def scenario(app: RawApp, channel: HttpChannel) -> None:
        under_way = call(channel)
        peer = await app.accept()
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\n\r\nhel")
        await peer.send(b"lo")
        peer.close()

        assert (await under_way).body == b"hello"

    with_app(tmp_path, scenario)


def test_a_body_that_a_reset_ended_is_not_whole(tmp_path: Path) -> None:
    """Only an orderly close ends an answer without length; after a reset nobody knows whether it was all."""

    async def scenario(app: RawApp, channel: HttpChannel) -> None:
        under_way = call(channel)
        peer = await app.accept()
        await peer.read(1)
        await peer.send(b"HTTP/1.1 200 OK\r\n\r\nhel")
        peer.close()  # with the request unread: a reset

        with pytest.raises(ChannelError, match="connection to the app broke"):
            await under_way

    with_app(tmp_path, scenario)


def test_a_body_cut_short_is_an_error(tmp_path: Path) -> None:
    """An answer shorter than it said is no answer."""

    async def scenario(app: RawApp, channel: HttpChannel) -> None:
        under_way = call(channel)
        peer = await app.accept()
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nhello")
        peer.close()

        with pytest.raises(ChannelError, match="without a whole answer"):
            await under_way

    with_app(tmp_path, scenario)


def test_an_answer_over_the_bound_is_refused(tmp_path: Path) -> None:
    """A call gathers so many bytes of an answer, whether they come at once or in pieces, and no more."""

    async def scenario(app: RawApp, channel: HttpChannel) -> None:
        for answer in (b"content-length: 11\r\n\r\nhello world", b"content-length: 99\r\n\r\nhello world"):
            under_way = call(channel)
            peer = await app.accept()
            await peer.request()
            await peer.send(b"HTTP/1.1 200 OK\r\nconnection: close\r\n" + answer)

            with pytest.raises(ChannelError, match="over 10 bytes"):
                await under_way
            assert await peer.read() == b""

    with_app(tmp_path, scenario, ChannelBounds(answer_bytes=10))


def test_max_concurrency_makes_calls_wait_in_order(tmp_path: Path) -> None:
    """No more calls than max_concurrency are at the app at once; others wait, first come first served."""

    async def scenario(app: RawApp, channel: HttpChannel) -> None:
        calls = [in_loop(channel.call(b"GET", b"/%d" % i, [], b"", 30)) for i in range(3)]
        peer = await app.accept()
        for i, under_way in enumerate(calls):
            assert (await peer.request()).startswith(b"GET /%d " % i)
            assert app.nobody_connects()
            await peer.send(OK)
            await under_way

    with_app(tmp_path, scenario, max_concurrency=1)


def test_waiting_for_a_place_may_be_apart_from_the_deadline(tmp_path: Path) -> None:
    """An event's time begins when the app has it: one that waits its turn longer than that is not overdue."""

    async def scenario(app: RawApp, channel: HttpChannel) -> None:
        first = call(channel)
        second = in_loop(channel.call(b"GET", b"/2", (), b"", 0.3, 10))
        peer = await app.accept()
        await peer.request()
        await asyncio.sleep(0.6)
        await peer.send(OK)
        assert (await first).status == 200
        assert b"GET /2" in await peer.request()
        with pytest.raises(ChannelTimeout):
            await second

    with_app(tmp_path, scenario, max_concurrency=1)


def test_more_calls_than_may_wait_are_refused(tmp_path: Path) -> None:
    """The queue for an app is bounded by number and by bytes; beyond it a call fails at once."""

    async def scenario(app: RawApp, channel: HttpChannel) -> None:
        first = call(channel)
        peer = await app.accept()
        await peer.request()
        waiting = call(channel, body=b"12345678")
        with pytest.raises(ChannelError, match="the app is busy: 1 requests wait"):
            await call(channel, body=b"123")
        second = call(channel)
        with pytest.raises(ChannelError, match="the app is busy: 2 requests wait"):
            await call(channel)
        for under_way in (first, waiting, second):
            await peer.send(OK)
            await under_way
            if under_way is not second:
                await peer.request()

    with_app(tmp_path, scenario, ChannelBounds(waiting=2, waiting_bytes=10), max_concurrency=1)


def test_idle_connections_are_closed(tmp_path: Path) -> None:
    """A connection that nobody used for a while is closed by us."""

    async def scenario(app: RawApp, channel: HttpChannel) -> None:
        first = call(channel)
        peer = await app.accept()
        await peer.request()
        await peer.send(OK)
        await first

        assert await peer.read() == b""

    with_app(tmp_path, scenario, ChannelBounds(idle_seconds=0.0))


@pytest.mark.parametrize("value", [b"1\r\nx: 2", b"1\n", b"\0"])
def test_a_header_cannot_smuggle_a_request(value: bytes, tmp_path: Path) -> None:
    """A header value with a line break or NUL fails the call before a byte is sent; the connection stays good."""

    async def scenario(app: RawApp, channel: HttpChannel) -> None:
        with pytest.raises(ChannelError, match="line break"):
            await in_loop(channel.call(b"GET", b"/", [(b"x", value)], b"", 30))
        peer = await app.accept()
        await answered(channel, peer)

    with_app(tmp_path, scenario)


def test_closing_the_channel_fails_what_is_under_way_and_what_comes(tmp_path: Path) -> None:
    """A detached app's calls end at once, those waiting included, and no new one begins."""

    async def scenario(app: RawApp, channel: HttpChannel) -> None:
        sent = call(channel)
        peer = await app.accept()
        await peer.request()
        waiting = call(channel)
        await channel.aclose()
        later = call(channel)

        for under_way in (sent, waiting, later):
            with pytest.raises(ChannelError, match="the app was detached"):
                await under_way
        assert await peer.read() == b""
        assert app.nobody_connects()

    with_app(tmp_path, scenario, max_concurrency=1)


def test_waiting_for_quiet_ends_soon_after_the_last_call(tmp_path: Path) -> None:
    """A channel is quiet at once without calls, and else when the last is answered."""

    async def scenario(app: RawApp, channel: HttpChannel) -> None:
        await in_loop(channel.wait_quiet())
        under_way = call(channel)
        peer = await app.accept()
        await peer.request()
        quiet = in_loop(channel.wait_quiet())
        await asyncio.sleep(0.3)
        assert not quiet.done()
        await peer.send(OK)
        await asyncio.wait_for(quiet, 10)
        assert (await under_way).status == 200

    with_app(tmp_path, scenario)


def test_closing_while_a_connection_is_being_made_leaves_none(tmp_path: Path) -> None:
    """A connection that opens after the channel closed is closed too."""

    async def scenario(app: RawApp, channel: HttpChannel) -> None:
        under_way = call(channel)
        await channel.aclose()
        with pytest.raises(ChannelError):
            await under_way
        await asyncio.sleep(0)

        assert app.nobody_connects() or await (await app.accept()).read() == b""

    with_app(tmp_path, scenario)


def test_two_channels_never_share_a_connection(tmp_path: Path) -> None:
    """Channels are per tenant: equal addresses do not make them share."""

    async def scenario(app: RawApp, channel: HttpChannel) -> None:
        other = HttpChannel(ChannelSpec(app.address), asyncio.get_running_loop())
        first = call(channel)
        peer = await app.accept()
        await peer.request()
        await peer.send(OK)
        await first
        second = call(other)
        await (await app.accept()).request()
        await other.aclose()
        with pytest.raises(ChannelError):
            await second

    with_app(tmp_path, scenario)


@pytest.mark.parametrize(
    ("text", "address", "host"),
    [
        ("unix:/run/a.sock", Address("/run/a.sock"), b"localhost"),
        ("unix:///run/a.sock", Address("/run/a.sock"), b"localhost"),
        ("127.0.0.1:80", Address(None, "127.0.0.1", 80), b"127.0.0.1:80"),
        ("[::1]:8080", Address(None, "::1", 8080), b"[::1]:8080"),
    ],
)
def test_addresses(text: str, address: Address, host: bytes) -> None:
    """An app's address is host:port or unix:/path."""
    assert parse_address(text) == address
    assert address.host_header == host


@pytest.mark.parametrize(
    "text",
    [
        "",
        "80",
        ":80",
        "h:",
        "h:0",
        "h:65536",
        "h:x",
        "a..b:80",
        f"{'h' * 64}:80",
        "unix:",
        "unix:a.sock",
        "/run/a.sock",
    ],
)
def test_what_is_no_address_is_said(text: str) -> None:
    """An address that is none is refused when the channel is made, and quoted."""
    with pytest.raises(ValueError, match="channel address") as refused:
        parse_address(text)
    assert repr(text) in str(refused.value)


def test_a_connection_that_opens_as_its_time_ends_is_counted_once(tmp_path: Path) -> None:
    """Otherwise the channel took itself for busy for ever: it would never be quiet again, and open one too many."""

    async def scenario(app: RawApp, _: HttpChannel) -> None:
        for number in range(100):
            bounds = ChannelBounds(connect_seconds=number % 40 * 1e-5)
            channel = HttpChannel(ChannelSpec(app.address), asyncio.get_running_loop(), bounds)
            under_way = call(channel, timeout_seconds=0.0)
            with pytest.raises(ChannelError):
                await under_way
            await asyncio.wait_for(in_loop(channel.wait_quiet()), 10)
            await channel.aclose()

    with_app(None, scenario)
