"""Random, legal lives of an HTTP/2 connection between a codec of ours and `h2`, whichever is the server."""

from collections.abc import Mapping
from random import Random
from unittest.mock import patch

import h2.events
import h2.exceptions
import h2.settings
from h2.windows import WindowManager

from noded.calls import Header
from noded.wire.http2 import Http2Connection, Http2Limits, encode_block
from tests.property.http2_pair import Message, Pair, h2_peer
from tests.wire.http2_peer import TRAILERS, Recorder

Codes = h2.settings.SettingCodes

STREAMS = 6
LIMITS = Http2Limits(
    max_concurrent_streams=STREAMS,
    stream_window_bytes=65_535,
    connection_window_bytes=100_000,
    auto_consume_bytes=300,
    max_continuations=16,
)
SIZES = (0, 1, 9, 300, 16_384, 40_000, 70_000)
WINDOWS = (0, 1, 1000, 65_535, 65_535, 200_000)
WHOLE = (1 << 20,)
NAMES = (b"traceparent", b"x-a", b"x-b", b"accept")
VALUES = (b"1", b"00-4bf9-00f0-01", b"/a=b", b"v" * 3000)


def sizes(random: Random) -> int:
    """Draw a number of bytes: the edges, or any."""
    return random.choice((*SIZES, random.randint(0, 70_000)))


def extra(random: Random) -> tuple[Header, ...]:
    """Draw headers of a request."""
    return tuple((random.choice(NAMES), random.choice(VALUES)) for _ in range(random.choice((0, 1, 1, 4))))


_h2_consumed = WindowManager.window_consumed


def _consumed(window: WindowManager, size: int) -> None:
    """As `h2` counts, but an empty frame needs no window: RFC 9113, section 6.9.1."""
    if size:
        _h2_consumed(window, size)


COMMON = {
    "carry": 8,
    "peer_sends": 4,
    "peer_ends": 1,
    "we_send": 4,
    "we_end": 1,
    "we_take": 3,
    "peer_takes": 3,
    "peer_changes_settings": 1,
    "peer_widens": 1,
    "ping": 1,
    "peer_resets": 1,
    "we_reset": 1,
}


class Connected:
    """Both sides open; subclasses say who asks and who answers."""

    peer_is_client: bool
    weights: Mapping[str, int]
    """What may happen, and how often."""

    def __init__(self) -> None:
        recorder = Recorder()
        ours = Http2Connection(recorder, client=not self.peer_is_client, limits=LIMITS)
        ours.start()
        settings = {Codes.INITIAL_WINDOW_SIZE: 65_535}
        if not self.peer_is_client:
            settings[Codes.MAX_CONCURRENT_STREAMS] = STREAMS
        self.pair = Pair(ours, recorder, h2_peer(client=self.peer_is_client, settings=settings))
        self.pair.settle(WHOLE, ())
        self.open: list[int] = []
        """Streams that nobody reset."""
        self.asked: dict[int, tuple[Header, ...]] = {}
        self.sent_here: dict[int, Message] = {}
        self.sent_there: dict[int, Message] = {}
        self.taken: dict[int, int] = {}
        self.reset: set[int] = set()

    # What both do.

    def carry(self, random: Random) -> None:
        """Bytes arrive."""
        cuts = random.choice((WHOLE, [random.randint(1, 200), random.randint(1, 20_000)], [random.randint(9, 999)]))
        splits = random.choice(((), [random.randint(0, 60) for _ in range(random.randint(1, 4))]))
        self.pair.carry(cuts, splits)
        for event in self.pair.heard:
            if isinstance(event, h2.events.StreamReset) and event.stream_id not in self.reset:
                self.give_up(event.stream_id)
        for told in self.pair.recorder.events:
            assert told[0] != "reset" or told[1] in self.reset, "the codec broke off what was legal"

    def peer_sends(self, random: Random) -> None:
        """The peer sends as much of a body as its window allows."""
        stream_id = self.pick_sending(random, self.sent_there)
        if stream_id is None:
            return
        size, padding = sizes(random), random.choice((None, None, 0, 1, 255))
        peer, sent = self.pair.peer, self.sent_there[stream_id]
        overhead = 0 if padding is None else padding + 1
        for _ in range(8):
            room = min(peer.local_flow_control_window(stream_id), peer.max_outbound_frame_size)
            step = min(size, room - overhead)
            if step < 0:
                return
            data = bytes([len(sent.body) % 251]) * step
            peer.send_data(stream_id, data, pad_length=padding)
            sent.body += data
            size -= step
            if not size:
                return

    def peer_ends(self, random: Random) -> None:
        """The peer ends its side, with trailers or without."""
        stream_id = self.pick_sending(random, self.sent_there)
        if stream_id is None:
            return
        sent = self.sent_there[stream_id]
        if random.random() < 0.4:
            self.pair.peer.send_headers(stream_id, TRAILERS, end_stream=True)
            sent.trailers = TRAILERS
        else:
            self.pair.peer.end_stream(stream_id)
        sent.ended = True

    def we_send(self, random: Random) -> None:
        """We send; what no window allows waits."""
        stream_id = self.pick_sending(random, self.sent_here)
        if stream_id is None:
            return
        sent = self.sent_here[stream_id]
        data = bytes([len(sent.body) % 251]) * sizes(random)
        self.pair.ours.send_data(stream_id, data, end_stream=False)
        sent.body += data

    def we_end(self, random: Random) -> None:
        """We end our side. A server that does so before the request ended asks for no more of it."""
        stream_id = self.pick_sending(random, self.sent_here)
        if stream_id is None or not self.may_end_here(stream_id):
            return
        sent = self.sent_here[stream_id]
        if random.random() < 0.4:
            self.pair.ours.send_trailers(stream_id, encode_block(TRAILERS))
            sent.trailers = TRAILERS
        else:
            self.pair.ours.send_data(stream_id, b"", end_stream=True)
        sent.ended = True

    def we_take(self, random: Random) -> None:
        """Our application takes some of what came."""
        if self.open:
            self.take(random.choice(self.open), sizes(random))

    def peer_takes(self, random: Random) -> None:
        """The peer's application takes some."""
        if self.open:
            self.pair.acknowledge(random.choice(self.open), sizes(random))

    def peer_changes_settings(self, random: Random) -> None:
        """The peer changes what it allows, while streams are under way."""
        self.pair.peer.update_settings(
            {
                Codes.INITIAL_WINDOW_SIZE: random.choice(WINDOWS),
                Codes.HEADER_TABLE_SIZE: random.choice((0, 100, 4096)),
            }
        )

    def peer_widens(self, random: Random) -> None:
        """The peer gives more window than it must."""
        self.pair.peer.increment_flow_control_window(random.randint(1, 7000))

    def ping(self, _: Random) -> None:
        """Both ask for a sign of life."""
        self.pair.peer.ping(b"12345678")
        self.pair.ours.ping()

    def peer_resets(self, random: Random) -> None:
        """The peer breaks a stream off, whatever is on its way."""
        known = [stream_id for stream_id in self.open if stream_id in self.pair.peer.streams]
        if known:
            stream_id = random.choice(known)
            self.give_up(stream_id)
            try:
                self.pair.peer.reset_stream(stream_id, 8)
            except h2.exceptions.StreamClosedError:
                return

    def we_reset(self, random: Random) -> None:
        """We do."""
        known = [stream_id for stream_id in self.open if stream_id in self.pair.ours._streams]
        if known:
            stream_id = random.choice(known)
            self.give_up(stream_id)
            self.pair.ours.reset(stream_id, 8)

    # What they need.

    def begin(self, stream_id: int, headers: tuple[Header, ...]) -> None:
        """Note a new stream."""
        self.open.append(stream_id)
        self.asked[stream_id] = headers
        self.taken[stream_id] = 0

    def give_up(self, stream_id: int) -> None:
        """Nothing more is expected of a stream."""
        self.reset.add(stream_id)
        if stream_id in self.open:
            self.open.remove(stream_id)

    def pick_sending(self, random: Random, sent: dict[int, Message]) -> int | None:
        """A stream on which that side has begun and not ended."""
        able = [stream_id for stream_id in self.open if stream_id in sent and not sent[stream_id].ended]
        return random.choice(able) if able else None

    def may_end_here(self, stream_id: int) -> bool:
        """Whether ending our side breaks nothing off."""
        return not self.peer_is_client or self.pair.received_here(stream_id).ended

    def take(self, stream_id: int, size: int) -> None:
        """Our application takes at most `size` bytes more."""
        size = min(size, len(self.pair.recorder.body(stream_id)) - self.taken[stream_id])
        self.taken[stream_id] += size
        self.pair.ours.consumed(stream_id, size)

    def live(self, seed: int, steps: int) -> None:
        """Lead a life of so many steps, the same for the same seed, and come to its end."""
        random = Random(seed)
        acts = [getattr(self, name) for name, weight in self.weights.items() for _ in range(weight)]
        with patch.object(WindowManager, "window_consumed", _consumed):
            for _ in range(steps):
                random.choice(acts)(random)
            self.end()

    def end(self) -> None:
        """End what is open, take everything: both have all that the other sent, and the books agree."""
        self.pair.peer.update_settings({Codes.INITIAL_WINDOW_SIZE: 65_535})
        self.settle()
        self.pair.compare_books()
        self.finish()
        self.settle()
        for stream_id in self.open:
            if stream_id in self.sent_there:
                assert self.pair.received_here(stream_id) == self.sent_there[stream_id]
            if stream_id in self.sent_here:
                assert self.pair.received(stream_id) == self.sent_here[stream_id]
        assert not self.pair.ours._backlogged, "something waits for a window that is there"
        self.pair.compare_books()
        assert self.pair.ours.open_streams == 0

    def settle(self) -> None:
        """Take all that comes until nothing does."""
        moved = True
        while moved:
            self.pair.settle(WHOLE, ())
            moved = False
            for stream_id, size in self.pair.unread.items():
                moved = moved or size > 0
                self.pair.acknowledge(stream_id, size)
            for stream_id in self.open:
                moved = moved or self.taken[stream_id] < len(self.pair.recorder.body(stream_id))
                self.take(stream_id, 1 << 30)

    def finish(self) -> None:
        """End every side of every open stream."""
        raise NotImplementedError
