"""Whatever legal life a connection leads, our codec and `h2` agree on what was said, and on every window."""

from random import Random

import h2.events
from hypothesis import given, settings
from hypothesis import strategies as st

from noded.wire.http2 import encode_block
from tests.property.http2_machine import COMMON, STREAMS, Connected, extra
from tests.property.http2_pair import Message
from tests.wire.http2_peer import REQUEST, RESPONSE

LIVES = settings(max_examples=60, deadline=None, derandomize=True)
SEEDS = st.integers(0, 1 << 32)
STEPS = st.integers(1, 150)


class H2Asks(Connected):
    """h2 is the client, our codec the server."""

    peer_is_client = True
    weights = COMMON | {"ask": 3, "we_answer": 2, "peer_prioritizes": 1}

    def ask(self, random: Random) -> None:
        """The peer begins a request."""
        headers, ends, priority = (*REQUEST, *extra(random)), random.random() < 0.1, random.choice((None, 1, 256))
        peer = self.pair.peer
        if peer.open_outbound_streams >= STREAMS or self.pair.ours.open_streams >= STREAMS:
            return
        stream_id = peer.get_next_available_stream_id()
        weight, parent = (None, None) if priority is None else (priority, 0)
        peer.send_headers(stream_id, headers, end_stream=ends, priority_weight=weight, priority_depends_on=parent)
        self.begin(stream_id, headers)
        self.sent_there[stream_id] = Message(ended=ends)

    def peer_prioritizes(self, random: Random) -> None:
        """PRIORITY frames, which we read and forget."""
        if self.open:
            self.pair.peer.prioritize(random.choice(self.open), random.randint(1, 256), depends_on=0)

    def we_answer(self, random: Random) -> None:
        """We begin an answer, perhaps before the request has ended."""
        waiting = [each for each in self._arrived() if each not in self.sent_here]
        if waiting:
            stream_id = random.choice(waiting)
            self.pair.ours.send_headers(stream_id, encode_block(RESPONSE), end_stream=False)
            self.sent_here[stream_id] = Message()

    def _arrived(self) -> list[int]:
        heads = {event[1]: event[2] for event in self.pair.recorder.events if event[0] == "headers"}
        for stream_id in self.open:
            assert stream_id not in heads or heads[stream_id] == self.asked[stream_id]
        return [stream_id for stream_id in self.open if stream_id in heads]

    def finish(self) -> None:
        """The peer ends every request; we answer those that were not, and end."""
        for stream_id in self.open:
            if not self.sent_there[stream_id].ended:
                self.pair.peer.end_stream(stream_id)
                self.sent_there[stream_id].ended = True
        self.settle()
        assert self._arrived() == self.open
        for stream_id in self.open:
            if stream_id not in self.sent_here:
                self.pair.ours.send_headers(stream_id, encode_block(RESPONSE), end_stream=False)
                self.sent_here[stream_id] = Message()
            if not self.sent_here[stream_id].ended:
                self.pair.ours.send_data(stream_id, b"", end_stream=True)
                self.sent_here[stream_id].ended = True


class WeAsk(Connected):
    """Our codec is the client, h2 the server."""

    peer_is_client = False
    weights = COMMON | {"ask": 3, "peer_answers": 2}

    def ask(self, random: Random) -> None:
        """We begin a request, where the peer's limit allows."""
        headers = (*REQUEST, *extra(random))
        ours = self.pair.ours
        if not ours.can_open:
            return
        stream_id = ours.open_stream()
        ours.send_headers(stream_id, encode_block(headers), end_stream=False)
        self.begin(stream_id, headers)
        self.sent_here[stream_id] = Message()

    def peer_answers(self, random: Random) -> None:
        """The peer begins an answer, perhaps after an interim one."""
        waiting = [each for each in self._arrived() if each not in self.sent_there]
        if waiting:
            stream_id = random.choice(waiting)
            if random.random() < 0.3:
                self.pair.peer.send_headers(stream_id, [(b":status", b"103")])
            self.pair.peer.send_headers(stream_id, RESPONSE)
            self.sent_there[stream_id] = Message()

    def _arrived(self) -> list[int]:
        heads = {
            event.stream_id: tuple((bytes(name), bytes(value)) for name, value in event.headers)
            for event in self.pair.heard
            if isinstance(event, h2.events.RequestReceived)
        }
        for stream_id in self.open:
            assert stream_id not in heads or heads[stream_id] == self.asked[stream_id]
        return [stream_id for stream_id in self.open if stream_id in heads]

    def finish(self) -> None:
        """We end every request; the peer answers those that were not, and ends."""
        for stream_id in self.open:
            if not self.sent_here[stream_id].ended:
                self.pair.ours.send_data(stream_id, b"", end_stream=True)
                self.sent_here[stream_id].ended = True
        self.settle()
        assert self._arrived() == self.open
        for stream_id in self.open:
            if stream_id not in self.sent_there:
                self.pair.peer.send_headers(stream_id, RESPONSE)
                self.sent_there[stream_id] = Message()
            if not self.sent_there[stream_id].ended:
                self.pair.peer.end_stream(stream_id)
                self.sent_there[stream_id].ended = True


@LIVES
@given(SEEDS, STEPS)
def test_an_h2_client_and_our_server_agree(seed: int, steps: int) -> None:
    """Bodies, trailers, resets, windows, settings, priorities, padding, CONTINUATION: all arrives, books balance."""
    H2Asks().live(seed, steps)


@LIVES
@given(SEEDS, STEPS)
def test_our_client_and_an_h2_server_agree(seed: int, steps: int) -> None:
    """The same the other way round."""
    WeAsk().live(seed, steps)
