"""One app with everything behind it and no network: bytes in, bytes out, and whether anything unforeseen was raised.

The parts are the daemon's own: wire code, dispatch, handlers, an in-memory store and broker.
"""

import asyncio
import logging
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from components.contract import Message, StateStore, Surroundings, Timer, TopicName
from components.pubsub.in_memory import InMemoryPubSub
from components.state.in_memory import InMemoryStateStore
from noded.api.topic_scopes import topic_scopes
from noded.app import App, PubSubBinding, StateBinding
from noded.calls import Header, HttpCall
from noded.config.records import AppSpec
from noded.dispatch import Dispatcher
from noded.known_lines import KnownLines
from noded.node import Node
from noded.route_table import Candidate
from noded.routes import http_table
from noded.routes_grpc import grpc_table
from noded.server_grpc import GrpcDispatcher
from noded.server_http1 import Http1Wire
from noded.server_http2 import Http2Wire
from noded.wire.fields import HeaderBlock
from noded.wire.hpack import Decoder
from noded.wire.known_heads import KnownHeads
from tenancy.fairness import Turns
from tenancy.ledger import Books
from tenancy.namespacing import state_names, topic_names
from tenancy.tenant import Tenants
from tests.wire.recording_link import RecordingLink

MAX_BODY_BYTES = 1 << 16
PASSES = 24
"""Of the loop, after which every handler is done: one gives the loop back after each 32 events of a bulk."""
_ETAG = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_TABLE = http_table()
_METHODS = grpc_table()
_INVOKE = b"/v1.0/invoke/"
"""Where invocation begins, which reads its path itself: its params mean nothing, and are not compared."""


class _Unforeseen(logging.Handler):
    """Keeps what was logged as nobody's fault but the daemon's."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.raised: list[BaseException] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the exception."""
        error = record.exc_info[1] if record.exc_info else None
        self.raised.append(error or AssertionError(record.getMessage()))


_LOG = logging.getLogger("noded")


class ForgetfulHeads(KnownHeads):
    """Knows no head: every request is parsed."""

    __slots__ = ()

    def learn(self, section: bytes, headers: Sequence[Header], body_bytes: int) -> None:
        """Learn nothing."""


class ForgetfulLines(KnownLines):
    """Knows no line: every route is looked for."""

    __slots__ = ()

    def learn(self, line: bytes, candidate: Candidate, params: Sequence[str]) -> None:
        """Learn nothing."""


SHORT_BLOCK_BYTES = 16
"""Decoded in one go where nothing is remembered: what is decoded in pieces is compared with what is not."""


class ForgetfulDecoder(Decoder):
    """Knows no block: every one is decoded and judged."""

    __slots__ = ()

    def remembered(self, raw: bytes) -> HeaderBlock | None:
        """Nothing is remembered."""
        return None

    def _remember(self, raw: bytes, block: HeaderBlock) -> None:
        """Nothing is."""


class NoTimer:
    """A time that never comes."""

    def cancel(self) -> None:
        """Nothing waits."""


class NotedBroker(InMemoryPubSub):
    """The in-memory broker; what was published is written down."""

    published: list[tuple[str, Message]]

    async def publish(self, topic: TopicName, message: Message) -> None:
        """Publish, and note it."""
        self.published.append((topic, message))
        await super().publish(topic, message)


def _soon(_: Callable[[], None]) -> None:
    """Nothing of the components is due within one input."""


def _later(_seconds: float, _: Callable[[], None]) -> Timer:
    return NoTimer()


class LoneNode:
    """One app; `forgetful`: nothing is taken for known, so only the slow paths are walked."""

    def __init__(self, *, forgetful: bool = False) -> None:
        tenant = Tenants(clock=lambda: 0.0).attach("default", "a")
        self.app = App(AppSpec("a", "default"), tenant, Node(0.0), None, MAX_BODY_BYTES)
        self.forgetful = forgetful
        if forgetful:
            self.app.known_heads = ForgetfulHeads()
            self.app.known_lines = ForgetfulLines()
        surroundings = Surroundings(_soon, _soon, _later, lambda: 0.0, Path(), Books().open_ledger())
        store: StateStore = InMemoryStateStore(surroundings)
        self.app.state["s"] = StateBinding("s", store, state_names(None, "default", "a", "s"))
        self.broker = NotedBroker(surroundings)
        self.broker.published = []
        names = topic_names("default", "a")
        self.app.pubsub["p"] = PubSubBinding("p", self.broker, names, topic_scopes({}, "a"))
        turns = Turns(lambda: 0, _soon)
        self.seen: list[tuple[object, ...]] = []
        """Requests that reached dispatch: method, path, query, headers, body, route, params."""
        self._dispatcher = Dispatcher(_TABLE, turns)
        self._grpc = GrpcDispatcher(_METHODS, turns, _later)

    def http1(self, *, streams: bool = True) -> tuple[Http1Wire, RecordingLink]:
        """A new HTTP/1.1 connection; without `streams` every body is gathered, whatever its route."""
        link = RecordingLink(self.app)
        return Http1Wire(link, self._http, self._dispatcher.streams if streams else lambda _: False), link

    def http2(self) -> tuple[Http2Wire, RecordingLink]:
        """A new HTTP/2 connection."""
        link = RecordingLink(self.app)
        wire = Http2Wire(link, self._http, self._dispatcher.streams, partial(self._grpc.open, None), lambda: 0.0)
        if self.forgetful:
            wire.codec._decoder = ForgetfulDecoder(wire.codec._limits.max_header_list_bytes, SHORT_BLOCK_BYTES)
        return wire, link

    def _http(self, call: HttpCall) -> None:
        self._dispatcher.http(call)
        params = () if call.path.startswith(_INVOKE) else tuple(call.params)
        self.seen.append((call.method, call.path, call.query, tuple(call.headers), call.body, params, call.too_large))


Wire = Http1Wire | Http2Wire


def carry(wire: Wire, link: RecordingLink, pieces: Sequence[bytes]) -> None:
    """Feed a connection as the server does: in slices, no more than it wants; let every handler end.

    Raises what a handler raised that nobody foresaw: the daemon would answer 500 and log it.
    """
    unforeseen = _Unforeseen()
    _LOG.addHandler(unforeseen)
    try:
        _loop().run_until_complete(_carry(wire, link, pieces))
    finally:
        _LOG.removeHandler(unforeseen)
    if unforeseen.raised:
        raise unforeseen.raised[0]


async def _carry(wire: Wire, link: RecordingLink, pieces: Sequence[bytes]) -> None:
    for piece in pieces:
        rest = piece
        while rest and not (link.shut_down or link.aborted or link.stalls > 0):
            size = link.slice_bytes
            wire.feed(rest[:size])
            rest = rest[size:]
            while link.again:
                link.again = False
                wire.feed(b"")
    for _ in range(PASSES):
        await asyncio.sleep(0)


_loops: list[asyncio.AbstractEventLoop] = []


def _loop() -> asyncio.AbstractEventLoop:
    if not _loops:
        _loops.append(asyncio.new_event_loop())
    return _loops[0]


def close_loop() -> None:
    """Close the loop that handlers run on; the next input makes a new one."""
    while _loops:
        _loops.pop().close()


def without_etags(answers: bytes) -> bytes:
    """The same bytes with every etag, which is random, made one."""
    return _ETAG.sub(b"00000000-0000-4000-8000-000000000000", answers)
