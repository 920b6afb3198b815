"""The `h2` library as the other end, in both roles: whatever is said by one is understood by the other."""

from collections.abc import Sequence

import h2.config
import h2.connection
import h2.events
import h2.settings
from hypothesis import given, settings
from hypothesis import strategies as st

from noded.calls import Header
from noded.wire.http2 import HeaderBlock, Http2Connection, Http2Limits, encode_block
from noded.wire.http2_frames import encode_frame
from tests.wire.http2_peer import (
    REQUEST,
    RESPONSE,
    RESPONSE_BLOCK,
    TRAILERS,
    TRAILERS_BLOCK,
    Recorder,
    frames,
    open_client,
    open_server,
)

NAMES = st.sampled_from([b"traceparent", b"grpc-timeout", b"x-a", b"x-b"])
VALUES = st.text("abc019-=/ ", max_size=60).map(lambda text: text.strip().encode())
EXTRA = st.lists(st.tuples(NAMES, VALUES), max_size=4).map(tuple)
BODIES = st.one_of(st.binary(max_size=40), st.integers(0, 90_000).map(lambda size: bytes(range(250)) * (size // 250)))
CALLS = st.lists(st.tuples(EXTRA, BODIES, st.booleans()), min_size=1, max_size=6)
WINDOWS = st.sampled_from([1_000, 65_535, 200_000])
CUTS = st.lists(st.integers(1, 40_000), min_size=1, max_size=5)
Call = tuple[tuple[Header, ...], bytes, bool]


class Echo(Recorder):
    """A server that answers each request with its body, extra headers and trailers, taking bytes as they come."""

    def __init__(self, limits: Http2Limits) -> None:
        super().__init__()
        self.connection = Http2Connection(self, client=False, limits=limits)
        self.heads: dict[int, tuple[Header, ...]] = {}
        self.connection.start()

    def on_headers(self, stream_id: int, headers: HeaderBlock, end_stream: bool) -> None:  # noqa: FBT001
        self.heads[stream_id] = headers.headers
        super().on_headers(stream_id, headers, end_stream)
        if end_stream:
            self.answer(stream_id)

    def on_data(self, stream_id: int, data: bytes, end_stream: bool) -> None:  # noqa: FBT001
        super().on_data(stream_id, data, end_stream)
        self.connection.consumed(stream_id, len(data))
        if end_stream:
            self.answer(stream_id)

    def on_trailers(self, stream_id: int, headers: Sequence[Header]) -> None:
        self.answer(stream_id)

    def answer(self, stream_id: int) -> None:
        extra = encode_block(self.heads[stream_id][len(REQUEST) :])
        self.connection.send_response(stream_id, RESPONSE_BLOCK + extra, self.body(stream_id), TRAILERS_BLOCK)


def h2_peer(window: int, *, client: bool) -> h2.connection.H2Connection:
    """Give the other end, its window set and its opening queued."""
    config = h2.config.H2Configuration(client_side=client, header_encoding=None)
    peer = h2.connection.H2Connection(config)
    peer.local_settings = h2.settings.Settings(
        client=client, initial_values={h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window}
    )
    peer.initiate_connection()
    return peer


class Wire:
    """Carries bytes between a codec and an h2 peer, cut into pieces of changing size."""

    def __init__(self, ours: Http2Connection, peer: h2.connection.H2Connection, cuts: list[int]) -> None:
        self.ours = ours
        self.peer = peer
        self.cuts = cuts
        self.turn = 0

    def carry(self) -> list[h2.events.Event]:
        """Carry once in each direction; give what the peer heard, its DATA acknowledged."""
        for piece in self._pieces(self.peer.data_to_send()):
            self.ours.feed(piece)
        assert not self.ours.closed
        heard: list[h2.events.Event] = []
        for piece in self._pieces(self.ours.take_output()):
            heard += self.peer.receive_data(piece)
        for event in heard:
            if isinstance(event, h2.events.DataReceived) and event.flow_controlled_length:
                self.peer.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        return heard

    def _pieces(self, data: bytes) -> list[bytes]:
        pieces = []
        while data:
            self.turn += 1
            cut = self.cuts[self.turn % len(self.cuts)]
            pieces.append(data[:cut])
            data = data[cut:]
        return pieces


def send_what_fits(peer: h2.connection.H2Connection, unsent: dict[int, bytes], trailers: set[int]) -> None:
    """Send as much of each body as the windows allow, and the end when it is all sent."""
    for stream_id in list(unsent):
        body = unsent[stream_id]
        while body:
            size = min(peer.local_flow_control_window(stream_id), peer.max_outbound_frame_size, len(body))
            if size <= 0:
                break
            peer.send_data(stream_id, body[:size], pad_length=None)
            body = body[size:]
        unsent[stream_id] = body
        if not body:
            del unsent[stream_id]
            if stream_id in trailers:
                peer.send_headers(stream_id, TRAILERS, end_stream=True)
            else:
                peer.end_stream(stream_id)


@settings(max_examples=40, deadline=None)
@given(CALLS, WINDOWS, WINDOWS, CUTS)
def test_h2_client_gets_back_what_it_sent(calls: list[Call], theirs: int, ours: int, cuts: list[int]) -> None:
    """Requests of any size, headers and windows reach our server, and its answers reach an h2 client, whole."""
    limits = Http2Limits(
        stream_window_bytes=max(ours, 65_535), connection_window_bytes=max(ours, 65_535), auto_consume_bytes=500
    )
    echo = Echo(limits)
    peer = h2_peer(theirs, client=True)
    wire = Wire(echo.connection, peer, cuts)
    wire.carry()
    unsent, trailers = {}, set()
    for number, (extra, body, with_trailers) in enumerate(calls):
        stream_id = 2 * number + 1
        peer.send_headers(stream_id, [*REQUEST, *extra])
        unsent[stream_id] = body
        if with_trailers:
            trailers.add(stream_id)
    heard: list[h2.events.Event] = []
    for _ in range(3000):
        send_what_fits(peer, unsent, trailers)
        heard += wire.carry()
        if sum(isinstance(event, h2.events.StreamEnded) for event in heard) == len(calls):
            break

    for number, (extra, body, _) in enumerate(calls):
        stream_id = 2 * number + 1
        of_stream = [event for event in heard if getattr(event, "stream_id", None) == stream_id]
        heads = [tuple(e.headers) for e in of_stream if isinstance(e, h2.events.ResponseReceived)]
        assert heads == [(*RESPONSE, *extra)]
        assert body == b"".join(e.data for e in of_stream if isinstance(e, h2.events.DataReceived) and e.data)
        assert [tuple(e.headers) for e in of_stream if isinstance(e, h2.events.TrailersReceived)] == [TRAILERS]
    assert echo.connection.open_streams == 0


class H2Echo:
    """Makes an h2 server answer each request with its body and trailers."""

    def __init__(self, peer: h2.connection.H2Connection) -> None:
        self.peer = peer
        self.heads: dict[int, list[Header]] = {}
        self.bodies: dict[int, bytes] = {}
        self.unsent: dict[int, bytes] = {}

    def answer(self, heard: list[h2.events.Event]) -> None:
        for event in heard:
            if isinstance(event, h2.events.RequestReceived):
                self.heads[event.stream_id] = [(bytes(name), bytes(value)) for name, value in event.headers]
                self.bodies[event.stream_id] = b""
            elif isinstance(event, h2.events.DataReceived):
                self.bodies[event.stream_id] += event.data
            elif isinstance(event, h2.events.StreamEnded):
                self.peer.send_headers(event.stream_id, RESPONSE)
                self.unsent[event.stream_id] = self.bodies[event.stream_id]
        send_what_fits(self.peer, self.unsent, set(self.bodies))


@settings(max_examples=40, deadline=None)
@given(CALLS, WINDOWS, CUTS)
def test_our_client_gets_back_what_it_sent_to_an_h2_server(calls: list[Call], window: int, cuts: list[int]) -> None:
    """The same the other way round: our client calls, an h2 server answers with what it got."""
    recorder = Recorder()
    connection = Http2Connection(recorder, client=True, limits=Http2Limits(auto_consume_bytes=0))
    connection.start()
    peer = h2_peer(window, client=False)
    wire = Wire(connection, peer, cuts)
    wire.carry()
    wire.carry()
    for extra, body, with_trailers in calls:
        stream_id = connection.open_stream()
        connection.send_headers(stream_id, encode_block((*REQUEST, *extra)), end_stream=False)
        connection.send_data(stream_id, body, end_stream=not with_trailers)
        if with_trailers:
            connection.send_trailers(stream_id, TRAILERS_BLOCK)
    server = H2Echo(peer)
    taken = 0
    for _ in range(3000):
        server.answer(wire.carry())
        for heard in recorder.events[taken:]:
            if heard[0] == "data":
                connection.consumed(int(str(heard[1])), len(bytes(heard[2])))  # type: ignore[call-overload]
        taken = len(recorder.events)
        if sum(heard[0] == "trailers" for heard in recorder.events) == len(calls):
            break

    for number, (extra, body, _) in enumerate(calls):
        stream_id = 2 * number + 1
        assert server.heads[stream_id] == [*REQUEST, *extra]
        assert body == recorder.body(stream_id)
        assert ("trailers", stream_id, TRAILERS) in recorder.events
    assert connection.open_streams == 0


@given(
    st.lists(st.tuples(st.integers(0, 12), st.integers(0, 255), st.integers(0, 5), st.binary(max_size=30)), max_size=30)
)
def test_random_frames_never_raise(parts: list[tuple[int, int, int, bytes]]) -> None:
    """Whatever a peer sends, `feed` raises nothing, and what it answers is whole frames."""
    noise = b"".join(encode_frame(kind, flags, stream_id, payload) for kind, flags, stream_id, payload in parts)
    server, _ = open_server()
    client, _ = open_client()
    client.open_stream()
    for connection in (server, client):
        connection.feed(noise)
        frames(connection.take_output())
