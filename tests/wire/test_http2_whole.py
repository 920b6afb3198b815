"""Requests taken whole: a known head and its one DATA frame, read together, cost no stream and lose no rule."""

import pytest
from hpack import Encoder

from noded.wire.http2 import PREFACE, ErrorCode, HeaderBlock, Http2Connection, Http2Limits, encode_block
from noded.wire.http2_frames import (
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PADDED,
    RST_STREAM,
    WINDOW_UPDATE,
    encode_frame,
    encode_settings,
)
from tests.wire.http2_peer import OPENING, REQUEST, REQUEST_BLOCK, Recorder, frames, open_server

LENGTH_BLOCK = encode_block((*REQUEST, (b"content-length", b"3")))


class Taker:
    """Writes down what was taken whole."""

    def __init__(self) -> None:
        self.blocks: list[HeaderBlock] = []
        self.taken: list[tuple[int, bytes]] = []

    def take(self, block: HeaderBlock, stream_id: int, data: bytes, start: int, stop: int) -> None:
        self.blocks.append(block)
        self.taken.append((stream_id, data[start:stop]))


def head(stream_id: int, block: bytes = REQUEST_BLOCK) -> bytes:
    return encode_frame(HEADERS, END_HEADERS, stream_id, block)


def body(stream_id: int, payload: bytes = b"abc", flags: int = END_STREAM) -> bytes:
    return encode_frame(DATA, flags, stream_id, payload)


def knowing_server(
    block: bytes = REQUEST_BLOCK, opening: bytes = OPENING, limits: Http2Limits | None = None
) -> tuple[Http2Connection, Recorder, Taker]:
    """Give a server that answered stream 1 and takes the next request with the same head whole."""
    connection, recorder = open_server(limits or Http2Limits(), opening)
    connection.feed(head(1, block) + body(1))
    taker = Taker()
    recorder.blocks[0].take = taker.take
    connection.send_response(1, b"\x88", b"", None)
    connection.take_output()
    recorder.events.clear()
    return connection, recorder, taker


@pytest.mark.parametrize("block", [REQUEST_BLOCK, LENGTH_BLOCK])
def test_known_heads_with_their_bodies_are_taken_whole(block: bytes) -> None:
    """Several in one read too; no event tells of them, and no stream is open."""
    connection, recorder, taker = knowing_server(block)

    connection.feed(head(3, block) + body(3) + head(5, block) + body(5, b"xyz"))
    assert taker.taken == [(3, b"abc"), (5, b"xyz")]
    assert (recorder.events, connection.open_streams, connection.closed) == ([], 0, False)


@pytest.mark.parametrize(
    "data",
    [
        head(3) + body(3, b"ab", 0) + body(3, b"c"),
        head(3) + body(3, b"\x01abc\0", END_STREAM | PADDED),
        head(3) + encode_frame(0xFA, 0, 0) + body(3),
        head(3) + body(3, b"abc", 0) + body(3, b""),
        head(7) + body(7),
    ],
    ids=["two pieces", "padded", "a frame between", "empty end", "ids left out"],
)
def test_what_comes_otherwise_opens_a_stream(data: bytes) -> None:
    """Whatever is not the plain pair of frames goes the way of all requests."""
    connection, recorder, taker = knowing_server()

    connection.feed(data)
    assert (taker.taken, connection.open_streams) == ([], 1)
    assert b"".join(bytes(event[2]) for event in recorder.events if event[0] == "data") == b"abc"  # type: ignore[call-overload]


def test_a_pair_cut_anywhere_is_one_request() -> None:
    """Cut in two at every place: it comes whole or by events, once."""
    pair = head(3) + body(3)
    for cut in range(len(pair) + 1):
        connection, recorder, taker = knowing_server()
        connection.feed(pair[:cut])
        connection.feed(pair[cut:])
        assert (recorder.body(3) or dict(taker.taken)[3], connection.closed) == (b"abc", False)
        assert not (recorder.events and taker.taken)


def test_a_body_of_another_length_than_announced_is_a_fault() -> None:
    """RFC 9113, section 8.1.1, holds for known heads."""
    connection, _, taker = knowing_server(LENGTH_BLOCK)

    connection.feed(head(3, LENGTH_BLOCK) + body(3, b"abcd"))
    reset = [frame.payload for frame in frames(connection.take_output()) if frame.kind == RST_STREAM]
    assert (taker.taken, reset) == ([], [ErrorCode.PROTOCOL_ERROR.to_bytes(4, "big")])


def test_an_id_used_twice_ends_the_connection() -> None:
    """A stream that was never opened here is closed all the same."""
    connection, _, taker = knowing_server()

    connection.feed(head(3) + body(3) + head(3) + body(3))
    assert (taker.taken, connection.closed) == ([(3, b"abc")], True)


def test_bodies_taken_whole_give_their_window_back() -> None:
    """The connection's window never runs dry."""
    limits = Http2Limits(connection_window_bytes=70_000)
    connection, _, taker = knowing_server(limits=limits)

    for stream_id in range(3, 43, 2):
        connection.feed(head(stream_id) + body(stream_id, bytes(10_000)))
    granted = [frame for frame in frames(connection.take_output()) if frame.kind == WINDOW_UPDATE]
    assert (len(taker.taken), connection.closed) == (20, False)
    assert sum(int.from_bytes(frame.payload, "big") for frame in granted) > 20 * 10_000 - 70_000


def test_an_answer_beyond_the_window_needs_a_stream() -> None:
    """`send_whole` sends what fits, or nothing; on the opened stream the answer waits for window."""
    connection, _, _ = knowing_server(opening=PREFACE + encode_settings({4: 4}))

    connection.feed(head(3) + body(3) + head(5) + body(5))
    assert connection.send_whole(b"frames", 4)
    assert not connection.send_whole(b"frames", 5)
    assert connection.take_output() == b"frames"
    connection.open_received(5)
    connection.send_response(5, b"\x88", b"abcde", None)
    assert (connection.pending(5), connection.open_streams) == (1, 1)


TRACED = (*REQUEST, (b"grpc-timeout", b"1S"), (b"traceparent", b"00-11-22-01"), (b"a", b"1"))


class Learner(Recorder):
    """Takes, from the second on, every request that is like one before."""

    def __init__(self) -> None:
        super().__init__()
        self.taker = Taker()

    def on_headers(self, stream_id: int, headers: HeaderBlock, end_stream: bool) -> None:  # noqa: FBT001
        super().on_headers(stream_id, headers, end_stream)
        headers.take = self.taker.take


def traced(stream_id: int, index: int, value: bytes, encoder: Encoder) -> bytes:
    """A request like TRACED whose field at `index` has this value, from an encoder that fills the dynamic table."""
    fields = [*TRACED]
    fields[index] = (fields[index][0], value)
    return head(stream_id, encoder.encode(fields)) + body(stream_id)


def learning_server() -> tuple[Http2Connection, Learner, Encoder]:
    """Give a server that has met TRACED."""
    learner, encoder = Learner(), Encoder()
    connection = Http2Connection(learner, client=False, limits=Http2Limits(max_concurrent_streams=1000))
    connection.start()
    connection.feed(OPENING + traced(1, 0, b"POST", encoder))
    return connection, learner, encoder


@pytest.mark.parametrize(("index", "value"), [(6, b"2S"), (7, b"00-33-44-01")], ids=["timeout", "trace"])
def test_heads_that_differ_in_what_changes_with_every_call_are_taken_whole(index: int, value: bytes) -> None:
    """A new trace context or deadline makes no new kind of request; each block still says what it said."""
    connection, learner, encoder = learning_server()

    connection.feed(traced(3, index, value, encoder) + traced(5, index, value + b"0", encoder))
    assert learner.taker.taken == [(3, b"abc"), (5, b"abc")]
    assert [block.headers[index][1] for block in learner.taker.blocks] == [value, value + b"0"]
    assert (len(learner.blocks), connection.closed) == (1, False)


@pytest.mark.parametrize(("index", "value"), [(2, b"/other"), (8, b"2")], ids=["path", "another field"])
def test_heads_that_differ_otherwise_are_new(index: int, value: bytes) -> None:
    """Kin have all other fields in common."""
    connection, learner, encoder = learning_server()

    connection.feed(traced(3, index, value, encoder))
    assert (learner.taker.taken, len(learner.blocks)) == ([], 2)
    assert learner.blocks[1].headers[index][1] == value


def test_kinds_of_heads_are_forgotten_beyond_a_bound() -> None:
    """A peer that sends ever new kinds costs a bounded memory, and is served on."""
    connection, learner, encoder = learning_server()

    for number in range(200):
        connection.feed(traced(3 + 4 * number, 8, b"%d" % number, encoder))
        connection.feed(traced(5 + 4 * number, 8, b"%d" % number, encoder))
    assert (len(learner.blocks) + len(learner.taker.taken), connection.closed) == (401, False)
    assert len(connection._decoder._kinships) <= 64
