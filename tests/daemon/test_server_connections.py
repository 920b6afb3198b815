"""App-facing connections on real sockets: order through stalls, slow and silent peers, garbage, half-closed ends."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import uvloop

from noded.calls import Exchange, HttpCall, Reply
from noded.http1_known import MAX_PIPELINED
from noded.listener import Listener
from noded.server import (
    HEAD_SECONDS,
    HIGH_WRITE_BYTES,
    LINGER_SECONDS,
    PREFACE,
    STALLED_SECONDS,
    Connection,
    Serving,
)
from noded.server_http1 import Http1Wire
from noded.server_http2 import Http2Wire
from noded.sweeping import sweep
from tenancy.fairness import Turns
from tests.wire.recording_link import make_app, read_answers

GET = b"GET /%d HTTP/1.1\r\nHost: h\r\n\r\n"


@dataclass
class Server:
    """One app's HTTP socket, served by the daemon's own parts, its handlers answered by the test."""

    path: Path
    calls: list[HttpCall] = field(default_factory=list)
    answer: Callable[[HttpCall], None] | None = None
    now: float = 0.0

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        turns = Turns(lambda: int(loop.time() * 1e9), loop.call_soon)
        self.serving = Serving(turns, self._http1, self._http2, lambda: self.now, set())
        self.listener = Listener(make_app(max_body_bytes=1 << 20), self.serving, only_http2=False, token=None)
        self.server = await loop.create_unix_server(self.listener, str(self.path))

    def _http1(self, connection: Connection) -> Http1Wire:
        return Http1Wire(connection, self._handle, lambda _: False)

    def _http2(self, connection: Connection) -> Http2Wire:
        return Http2Wire(connection, self._handle, lambda _: False, lambda *_: None, lambda: self.now)

    def _handle(self, call: HttpCall) -> None:
        self.calls.append(call)
        if self.answer is not None:
            self.answer(call)

    async def connect(self) -> socket.socket:
        connected = socket.socket(socket.AF_UNIX)
        connected.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connected, str(self.path))
        return connected

    async def until(self, condition: Callable[[], bool]) -> None:
        """Let the loop run until it is so."""
        async with asyncio.timeout(10):
            while not condition():  # noqa: ASYNC110 - what is waited for is seen, not told
                await asyncio.sleep(0)


def serve(tmp_path: Path, scenario: Callable[[Server], Awaitable[None]]) -> None:
    async def main() -> None:
        server = Server(tmp_path / "s")
        await server.start()
        try:
            await scenario(server)
        finally:
            server.listener.abort()
            server.server.close()
            await asyncio.sleep(0)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


async def send(connected: socket.socket, data: bytes) -> None:
    await asyncio.get_running_loop().sock_sendall(connected, data)


async def receive(connected: socket.socket, answers: int) -> list[bytes]:
    """The bodies of so many answers."""
    received = b""
    async with asyncio.timeout(10):
        while len(found := read_answers(received)) < answers:
            piece = await asyncio.get_running_loop().sock_recv(connected, 1 << 16)
            assert piece, f"closed after {len(found)} answers"
            received += piece
    return [answer.body for answer in found]


async def until_closed(connected: socket.socket) -> bytes:
    received = b""
    async with asyncio.timeout(10):
        try:
            while piece := await asyncio.get_running_loop().sock_recv(connected, 1 << 16):
                received += piece
        except (ConnectionResetError, BrokenPipeError):
            return received
    return received


def reply_path(call: HttpCall) -> None:
    call.exchange.reply(Reply(200, call.path))


def test_order_is_kept_through_stalls(tmp_path: Path) -> None:
    """With too many requests under way the rest waits, in pieces; answering frees it, and every answer is in order."""

    async def scenario(server: Server) -> None:
        many = 20 * MAX_PIPELINED
        with await server.connect() as peer:
            await send(peer, b"".join(GET % number for number in range(many)))
            await server.until(lambda: len(server.calls) >= MAX_PIPELINED)
            for _ in range(100):
                await asyncio.sleep(0)
            assert len(server.calls) < 3 * MAX_PIPELINED, "the rest is not served before there is room"
            answered = 0
            while answered < many:
                await server.until(lambda answered=answered: len(server.calls) > answered)  # type: ignore[misc]
                waiting, answered = server.calls[answered:], len(server.calls)
                for call in reversed(waiting):
                    reply_path(call)
            assert await receive(peer, many) == [b"/%d" % number for number in range(many)]

    serve(tmp_path, scenario)


@pytest.mark.parametrize("extra", [0, 1, 5, 300])
def test_a_peer_that_ends_its_side_is_answered_what_it_asked(tmp_path: Path, extra: int) -> None:
    """Whatever was sent before the end is served, also what still waited behind a stall; then the close."""

    async def scenario(server: Server) -> None:
        many = MAX_PIPELINED + extra
        with await server.connect() as peer:
            await send(peer, b"".join(GET % number for number in range(many)))
            peer.shutdown(socket.SHUT_WR)
            await server.until(lambda: len(server.calls) >= MAX_PIPELINED)
            for _ in range(20):
                await asyncio.sleep(0)
            answered = 0
            while answered < many:
                await server.until(lambda answered=answered: len(server.calls) > answered)  # type: ignore[misc]
                waiting, answered = server.calls[answered:], len(server.calls)
                for call in waiting:
                    reply_path(call)
            bodies = [answer.body for answer in read_answers(await until_closed(peer))]
            assert bodies == [b"/%d" % number for number in range(many)]
        await server.until(lambda: not server.listener.connections)

    serve(tmp_path, scenario)


def test_what_arrived_before_a_drain_is_answered(tmp_path: Path) -> None:
    """A stopping daemon finishes the requests under way, the last answer says so, and the connection closes."""

    async def scenario(server: Server) -> None:
        with await server.connect() as peer, await server.connect() as idle:
            await send(peer, b"".join(GET % number for number in range(10)))
            await server.until(lambda: len(server.calls) == 10 and len(server.listener.connections) == 2)
            server.listener.drain()
            assert await until_closed(idle) == b""
            for call in server.calls:
                reply_path(call)
            answers = read_answers(await until_closed(peer))
            assert [answer.body for answer in answers] == [b"/%d" % number for number in range(10)]
            assert answers[-1].headers[b"connection"] == b"close"

    serve(tmp_path, scenario)


def test_half_an_upload_leaves_nothing_when_its_peer_goes(tmp_path: Path) -> None:
    """A client that dies in the middle of a body holds no connection."""

    async def scenario(server: Server) -> None:
        with await server.connect() as peer:
            await send(peer, b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nhalf")
            await server.until(lambda: bool(server.listener.connections))
            for _ in range(20):
                await asyncio.sleep(0)
        await server.until(lambda: not server.listener.connections)
        assert server.calls == []

    serve(tmp_path, scenario)


@pytest.mark.parametrize("start", [b"G", b"GET / HTTP/1.1\r\nHost", b"PRI * HTTP/2.0\r\n"])
def test_half_a_head_is_cut_off_after_its_time(tmp_path: Path, start: bytes) -> None:
    """A peer that begins a request must bring its head within HEAD_SECONDS; more bytes buy it no time."""

    async def scenario(server: Server) -> None:
        with await server.connect() as slow, await server.connect() as idle:
            await send(slow, start)
            await server.until(lambda: bool(server.serving.suspects))
            server.now += HEAD_SECONDS
            sweep(server.serving)
            server.now += 0.1
            sweep(server.serving)
            assert await until_closed(slow) == b""
            server.answer = reply_path
            await send(idle, GET % 1)
            assert await receive(idle, 1) == [b"/1"], "a connection that is merely idle has no deadline"

    serve(tmp_path, scenario)


def test_a_head_that_came_in_time_has_no_deadline_any_more(tmp_path: Path) -> None:
    """The handler may take as long as it likes."""

    async def scenario(server: Server) -> None:
        with await server.connect() as peer:
            request = GET % 7
            await send(peer, request[:9])
            await server.until(lambda: bool(server.serving.suspects))
            await send(peer, request[9:])
            await server.until(lambda: bool(server.calls))
            server.now += 10 * HEAD_SECONDS
            sweep(server.serving)
            reply_path(server.calls[0])
            assert await receive(peer, 1) == [b"/7"]

    serve(tmp_path, scenario)


def test_half_a_frame_is_cut_off_after_its_time(tmp_path: Path) -> None:
    """A peer must bring a frame it begins within HEAD_SECONDS; one whose frames arrive has that time for each."""
    slow_frame = b"\0\0\x08\x06\0\0\0\0\0"
    settings = PREFACE + b"\0\0\0\x04\0\0\0\0\0"

    async def scenario(server: Server) -> None:
        with await server.connect() as slow, await server.connect() as busy:
            await send(slow, settings + slow_frame)
            await send(busy, settings + slow_frame)
            await server.until(lambda: len(server.serving.suspects) == 2)
            server.now += HEAD_SECONDS
            await send(slow, b"1")
            await send(busy, bytes(8) + slow_frame)
            await server.until(lambda: min(each.suspect_since or 0.0 for each in server.serving.suspects) == 0.0)
            await server.until(lambda: max(each.suspect_since or 0.0 for each in server.serving.suspects) > 0.0)
            server.now += 0.1
            sweep(server.serving)
            await until_closed(slow)
            assert len(server.listener.connections) == 1, "the other has brought a frame since"

    serve(tmp_path, scenario)


def test_a_peer_that_still_sends_can_read_its_answer(tmp_path: Path) -> None:
    """The answer and its end are there at once; the peer has LINGER_SECONDS to look, and what it sends is dropped."""

    async def scenario(server: Server) -> None:
        with await server.connect() as peer:
            await send(peer, b"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: x\r\n\r\n")
            assert (await until_closed(peer)).startswith(b"HTTP/1.1 400 Bad Request\r\n")
            await send(peer, b"x" * 1000)
            await server.until(lambda: bool(server.serving.suspects))
            assert len(server.listener.connections) == 1
            server.now += LINGER_SECONDS + 0.1
            sweep(server.serving)
            await server.until(lambda: not server.listener.connections)

    serve(tmp_path, scenario)


def test_a_peer_that_still_sends_and_leaves_is_forgotten_at_once(tmp_path: Path) -> None:
    """Nobody is waited for who is gone."""

    async def scenario(server: Server) -> None:
        with await server.connect() as peer:
            await send(peer, b"garbage\r\n\r\n")
            assert (await until_closed(peer)).startswith(b"HTTP/1.1 400 Bad Request\r\n")
        await server.until(lambda: not server.listener.connections)
        assert not server.serving.suspects

    serve(tmp_path, scenario)


def test_a_peer_that_never_reads_is_bounded_and_then_cut_off(tmp_path: Path) -> None:
    """Beyond HIGH_WRITE_BYTES of unread answers it is served no more, and after STALLED_SECONDS it is closed."""

    async def scenario(server: Server) -> None:
        size = 64 << 10
        server.answer = lambda call: call.exchange.reply(Reply(200, bytes(size)))
        with await server.connect() as mute:
            await send(mute, b"".join(GET % number for number in range(1000)))
            await server.until(lambda: bool(server.serving.suspects))
            for _ in range(200):
                await asyncio.sleep(0)
            kept = len(server.calls) * size
            slice_of_answers = 100 * size
            assert kept < HIGH_WRITE_BYTES + (1 << 20) + slice_of_answers
            before = len(server.calls)
            server.now += STALLED_SECONDS + 0.1
            sweep(server.serving)
            await server.until(lambda: not server.listener.connections)
            assert len(server.calls) == before

    serve(tmp_path, scenario)


def test_a_slow_reader_is_served_when_it_reads_again(tmp_path: Path) -> None:
    """Nothing is lost or reordered by the wait."""

    async def scenario(server: Server) -> None:
        server.answer = lambda call: call.exchange.reply(Reply(200, call.path + bytes(64 << 10)))
        with await server.connect() as slow:
            await send(slow, b"".join(GET % number for number in range(20)))
            await server.until(lambda: bool(server.serving.suspects))
            bodies = await receive(slow, 20)
            assert [body.rstrip(b"\0") for body in bodies] == [b"/%d" % number for number in range(20)]
            await server.until(lambda: not server.serving.suspects)

    serve(tmp_path, scenario)


def test_a_peer_that_does_not_read_the_last_answer_is_cut_off_too(tmp_path: Path) -> None:
    """Closing after an answer does not wait for ever for it to be read."""

    async def scenario(server: Server) -> None:
        server.answer = lambda call: call.exchange.reply(Reply(200, bytes(1 << 20)))
        with await server.connect() as mute:
            await send(mute, b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
            await server.until(lambda: bool(server.calls))
            assert len(server.listener.connections) == 1
            server.now += STALLED_SECONDS + 0.1
            sweep(server.serving)
            await server.until(lambda: not server.listener.connections)

    serve(tmp_path, scenario)


@pytest.mark.parametrize(
    "junk", [b"\0\xff" * 500, b"garbage\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", PREFACE + b"x" * 99]
)  # fmt: skip
def test_garbage_ends_its_own_connection_only(tmp_path: Path, junk: bytes) -> None:
    """Other connections of the same app are served before, between and after."""

    async def scenario(server: Server) -> None:
        server.answer = reply_path
        with await server.connect() as good:
            for number in range(3):
                with await server.connect() as bad:
                    await send(bad, junk)
                    await until_closed(bad)
                await send(good, GET % number)
                assert await receive(good, 1) == [b"/%d" % number]
        assert all(call.path != b"*" for call in server.calls)

    serve(tmp_path, scenario)


def test_a_bug_in_a_wire_ends_its_own_connection_only(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever escapes from serving a slice is logged, and closes that connection."""

    async def scenario(server: Server) -> None:
        def answer(call: HttpCall) -> None:
            if call.path == b"/13":
                raise ZeroDivisionError
            reply_path(call)

        server.answer = answer
        with await server.connect() as good, await server.connect() as bad:
            await send(bad, GET % 13)
            assert await until_closed(bad) == b""
            await send(good, GET % 1)
            assert await receive(good, 1) == [b"/1"]
        assert "connection broken" in caplog.text

    serve(tmp_path, scenario)


def test_http_2_is_told_from_http_1_by_its_preface_however_it_is_cut(tmp_path: Path) -> None:
    """The preface may come byte by byte; a request that begins like it is HTTP/1.1's affair."""

    async def scenario(server: Server) -> None:
        for text in (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n"):
            with await server.connect() as peer:
                for at in range(len(text)):
                    await send(peer, text[at : at + 1])
                    await asyncio.sleep(0)
                if text.startswith(b"PRI"):
                    await send(peer, b"\0\0\0\x04\0\0\0\0\0")
                    first = await asyncio.get_running_loop().sock_recv(peer, 9)
                    assert first[3] == 4, "SETTINGS"
                else:
                    await server.until(lambda: bool(server.calls))
                    assert server.calls[0].method == b"PUT"

    serve(tmp_path, scenario)


def test_an_answer_after_its_peer_is_gone_goes_nowhere(tmp_path: Path) -> None:
    """The handler is not disturbed, and nothing is written to a connection that is no more."""

    async def scenario(server: Server) -> None:
        with await server.connect() as peer:
            await send(peer, GET % 1)
            await server.until(lambda: bool(server.calls))
            server.listener.abort()
        await server.until(lambda: not server.listener.connections)
        exchange: Exchange = server.calls[0].exchange
        assert exchange.closed
        exchange.reply(Reply(200))

    serve(tmp_path, scenario)


def test_a_connection_that_is_being_accepted_while_the_daemon_stops_is_closed(tmp_path: Path) -> None:
    """The loop makes a connection in two steps; stopping between them closes it, and fails nothing."""

    async def scenario(server: Server) -> None:
        for stop in (server.listener.drain, server.listener.abort):
            with await server.connect() as peer:
                await server.until(lambda: bool(server.listener.connections))
                stop()
                assert await until_closed(peer) == b""
            await server.until(lambda: not server.listener.connections)

    serve(tmp_path, scenario)
