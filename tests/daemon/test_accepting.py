"""Connections are accepted in their tenant's turn: by a clock that only work moves, on real sockets."""

import asyncio
import resource
import socket
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import uvloop

from noded.accepting import Accepting
from noded.calls import HttpCall, Reply
from noded.listener import Listener
from noded.opening import OPENING_BYTES
from noded.server import Connection, Serving
from noded.server_http1 import Http1Wire
from noded.server_http2 import Http2Wire
from tenancy.fairness import QUANTUM_NS, Turns
from tests.wire.recording_link import make_app, read_answers

GET = b"GET /%d HTTP/1.1\r\nHost: h\r\n\r\n"
PASSES = 20
"""Of the loop: more than anything takes that need not wait its turn."""


@dataclass
class Site:
    """Apps on one loop whose rounds are stepped by hand."""

    directory: Path
    tick_ns: int = 0
    """How far the clock goes on whenever it is read."""
    now_ns: int = 0
    later: deque[Callable[[], None]] = field(default_factory=deque)
    accepting: list[Accepting] = field(default_factory=list)
    asked: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.turns = Turns(self._clock_ns, self.later.append)
        self.serving = Serving(self.turns, self._http1, self._http2, lambda: 0.0, set())

    def listen(self, name: str) -> Listener:
        """Accept an app's connections."""
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(str(self.directory / name))
        sock.listen(64)
        sock.setblocking(False)
        listener = Listener(make_app(app_id=name, max_body_bytes=1 << 20), self.serving, only_http2=False, token=None)
        loop = asyncio.get_running_loop()
        self.accepting.append(Accepting(loop, listener, sock, self.turns, listener.app.turn))
        return listener

    async def connect(self, name: str) -> socket.socket:
        connected = socket.socket(socket.AF_UNIX)
        connected.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connected, str(self.directory / name))
        return connected

    async def passes(self) -> None:
        """Let the loop do all that does not wait for a round."""
        for _ in range(PASSES):
            await asyncio.sleep(0.0)

    async def round(self) -> None:
        for _ in range(len(self.later)):
            self.later.popleft()()
        await self.passes()

    def _clock_ns(self) -> int:
        self.now_ns += self.tick_ns
        return self.now_ns

    def _http1(self, connection: Connection) -> Http1Wire:
        return Http1Wire(connection, self._handle, lambda _: False)

    def _http2(self, connection: Connection) -> Http2Wire:
        return Http2Wire(connection, self._handle, lambda _: False, lambda *_: None, lambda: 0.0)

    def _handle(self, call: HttpCall) -> None:
        self.asked.append(call.path)
        call.exchange.reply(Reply(200, call.path))


def serve(tmp_path: Path, scenario: Callable[[Site], Awaitable[None]]) -> None:
    async def main() -> None:
        site = Site(tmp_path)
        try:
            await scenario(site)
        finally:
            site.tick_ns = 0
            for accepting in site.accepting:
                accepting.close()
            await site.passes()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


async def answers(connected: socket.socket, count: int) -> list[bytes]:
    received = b""
    async with asyncio.timeout(10):
        while len(found := read_answers(received)) < count:
            piece = await asyncio.get_running_loop().sock_recv(connected, 1 << 16)
            assert piece, "closed"
            received += piece
    return [answer.body for answer in found]


def test_who_has_time_left_is_accepted_at_once(tmp_path: Path) -> None:
    """No round in the way of a quiet tenant, however many connect."""

    async def scenario(site: Site) -> None:
        listener = site.listen("quiet")
        peers = [await site.connect("quiet") for _ in range(10)]
        await site.passes()
        assert len(listener.connections) == 10
        assert not site.later
        for peer in peers:
            peer.close()

    serve(tmp_path, scenario)


def test_connections_wait_their_tenants_turn_and_others_are_accepted_meanwhile(tmp_path: Path) -> None:
    """Peers of a tenant that used up its time stay in the backlog; one of them is accepted per turn; none is lost."""

    async def scenario(site: Site) -> None:
        hostile, quiet = site.listen("hostile"), site.listen("quiet")
        site.tick_ns = QUANTUM_NS
        site.turns.spent(hostile.app.turn, 10 * QUANTUM_NS)
        peers = [await site.connect("hostile") for _ in range(5)]
        await site.passes()
        assert len(hostile.connections) == 0
        site.tick_ns = 0
        peers.append(await site.connect("quiet"))
        await site.passes()
        assert len(quiet.connections) == 1, "nobody else's connections wait"
        site.tick_ns = QUANTUM_NS
        before, taken = 0, []
        while before < 5:
            await site.round()
            taken.append(len(hostile.connections) - before)
            before += taken[-1]
            assert len(taken) < 100
        assert max(taken) == 1
        for peer in peers:
            peer.close()

    serve(tmp_path, scenario)


def test_connecting_and_leaving_is_charged(tmp_path: Path) -> None:
    """Peers that come and go without a word use up their own tenant's time, and until its turn are accepted no more."""

    async def scenario(site: Site) -> None:
        listener = site.listen("a")
        site.tick_ns = QUANTUM_NS // 20
        for _ in range(20):
            (await site.connect("a")).close()
            await site.passes()
        assert listener.app.turn.served_ns > QUANTUM_NS
        assert site.later, "somebody waits"

    serve(tmp_path, scenario)


def test_a_new_connection_is_read_a_little_until_its_turn(tmp_path: Path) -> None:
    """A full socket is not read at one go; what was left in it follows in order, once what was read is fed."""

    async def scenario(site: Site) -> None:
        listener = site.listen("a")
        peer = await site.connect("a")
        await site.passes()
        site.turns.spent(listener.app.turn, QUANTUM_NS)
        asked = [b"/%d" % number for number in range(4 * OPENING_BYTES // len(GET))]
        peer.send(b"".join(GET % number for number in range(len(asked))))
        await site.passes()
        assert listener.app.turn.unparsed_bytes == OPENING_BYTES
        while site.asked != asked:
            assert site.later, "the rest is never read"
            await site.round()
        assert await answers(peer, len(asked)) == asked
        peer.close()

    serve(tmp_path, scenario)


def test_who_connects_while_descriptors_are_lacking_is_accepted_later(tmp_path: Path) -> None:
    """Nobody is turned away, and the loop does not spin: it is tried again after RETRY_SECONDS."""

    async def scenario(site: Site) -> None:
        listener = site.listen("a")
        with await site.connect("a") as peer, socket.socket() as last:
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (last.fileno(), hard))
            try:
                await site.passes()
                assert not listener.connections
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            await asyncio.get_running_loop().sock_sendall(peer, GET % 7)
            assert await answers(peer, 1) == [b"/7"]

    serve(tmp_path, scenario)


def test_a_bug_in_making_a_connection_ends_that_connection_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged; the rounds go on, and the next connection is accepted."""

    async def scenario(site: Site) -> None:
        listener = site.listen("a")
        broken = [ZeroDivisionError()]

        def admits(connection: Connection) -> bool:
            if broken:
                raise broken.pop()
            return Listener.admits(listener, connection)

        listener.admits = admits  # type: ignore[method-assign]
        site.turns.spent(listener.app.turn, QUANTUM_NS)
        with await site.connect("a") as bad, await site.connect("a") as good:
            await site.passes()
            while not listener.connections:
                assert site.later, "nobody waits"
                await site.round()
            assert await asyncio.get_running_loop().sock_recv(bad, 1) == b""
            await asyncio.get_running_loop().sock_sendall(good, GET % 7)
            assert await answers(good, 1) == [b"/7"]
        assert "connection broken" in caplog.text

    serve(tmp_path, scenario)


@pytest.mark.parametrize("owes", [0, 10 * QUANTUM_NS])
def test_nobody_is_accepted_once_closed(tmp_path: Path, owes: int) -> None:
    """Whether or not somebody waits for the turn: the peer is told, and no later round accepts it."""

    async def scenario(site: Site) -> None:
        listener = site.listen("a")
        site.turns.spent(listener.app.turn, owes)
        with await site.connect("a") as peer:
            if owes:
                await site.passes()
            for _ in range(2):
                site.accepting[0].close()
            with pytest.raises(ConnectionResetError):
                await asyncio.get_running_loop().sock_recv(peer, 1)
        await site.round()
        await site.round()
        assert not listener.connections

    serve(tmp_path, scenario)
