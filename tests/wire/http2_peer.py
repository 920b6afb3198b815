"""The other end of the codec in tests: frames built by hand, output cut into frames, events written down."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from noded.calls import Header
from noded.wire.http2 import DEFAULT_LIMITS, PREFACE, HeaderBlock, Http2Connection, Http2Limits, encode_block
from noded.wire.http2_frames import (
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    encode_frame,
    encode_settings,
    unpack_head,
)

REQUEST: tuple[Header, ...] = (
    (b":method", b"POST"),
    (b":scheme", b"http"),
    (b":path", b"/dapr.proto.runtime.v1.Dapr/GetState"),
    (b":authority", b"localhost"),
    (b"te", b"trailers"),
    (b"content-type", b"application/grpc"),
)
RESPONSE: tuple[Header, ...] = ((b":status", b"200"), (b"content-type", b"application/grpc"))
TRAILERS: tuple[Header, ...] = ((b"grpc-status", b"0"),)
REQUEST_BLOCK = encode_block(REQUEST)
RESPONSE_BLOCK = encode_block(RESPONSE)
TRAILERS_BLOCK = encode_block(TRAILERS)
OPENING = PREFACE + encode_settings({})

Event = tuple[object, ...]


class Frame(NamedTuple):
    kind: int
    flags: int
    stream_id: int
    payload: bytes


class Recorder:
    """Writes down every event."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.blocks: list[HeaderBlock] = []

    def on_headers(self, stream_id: int, headers: HeaderBlock, end_stream: bool) -> None:  # noqa: FBT001
        self.blocks.append(headers)
        self.events.append(("headers", stream_id, headers.headers, end_stream))

    def on_data(self, stream_id: int, data: bytes, end_stream: bool) -> None:  # noqa: FBT001
        self.events.append(("data", stream_id, data, end_stream))

    def on_trailers(self, stream_id: int, headers: Sequence[Header]) -> None:
        self.events.append(("trailers", stream_id, headers))

    def on_reset(self, stream_id: int, error_code: int) -> None:
        self.events.append(("reset", stream_id, error_code))

    def on_writable(self, stream_id: int) -> None:
        self.events.append(("writable", stream_id))

    def on_goaway(self, last_stream_id: int, error_code: int) -> None:
        self.events.append(("goaway", last_stream_id, error_code))

    def body(self, stream_id: int) -> bytes:
        return b"".join(bytes(event[2]) for event in self.events if event[:2] == ("data", stream_id))  # type: ignore[call-overload]


def open_server(limits: Http2Limits = DEFAULT_LIMITS, opening: bytes = OPENING) -> tuple[Http2Connection, Recorder]:
    """Give a server whose peer has sent its preface and settings, its own opening already taken."""
    recorder = Recorder()
    connection = Http2Connection(recorder, client=False, limits=limits)
    connection.start()
    connection.feed(opening)
    connection.take_output()
    return connection, recorder


def feed_all(connection: Http2Connection, data: bytes) -> int:
    """Feed data, and nothing as often as a header block is put off; give how often."""
    connection.feed(data)
    times = 0
    while connection.put_off:
        connection.put_off = False
        connection.feed(b"")
        times += 1
    return times


def open_client(
    limits: Http2Limits = DEFAULT_LIMITS, settings: dict[int, int] | None = None
) -> tuple[Http2Connection, Recorder]:
    """Give a client whose server has sent its settings."""
    recorder = Recorder()
    connection = Http2Connection(recorder, client=True, limits=limits)
    connection.start()
    connection.feed(encode_settings(settings or {}))
    connection.take_output()
    return connection, recorder


def request(stream_id: int, body: bytes | None = None, block: bytes = REQUEST_BLOCK) -> bytes:
    """Build a complete request."""
    if body is None:
        return encode_frame(HEADERS, END_HEADERS | END_STREAM, stream_id, block)
    return encode_frame(HEADERS, END_HEADERS, stream_id, block) + encode_frame(DATA, END_STREAM, stream_id, body)


def frames(output: bytes) -> list[Frame]:
    """Cut what a codec sent into frames."""
    found, position = [], 0
    while position < len(output):
        length_and_kind, flags, stream_id = unpack_head(output, position)
        start = position + 9
        position = start + (length_and_kind >> 8)
        assert position <= len(output)
        found.append(Frame(length_and_kind & 0xFF, flags, stream_id, output[start:position]))
    return found


def deliveries(data: bytes) -> Iterator[list[bytes]]:
    """Give the ways bytes may arrive: whole, byte by byte, cut in two anywhere."""
    yield [data]
    yield [data[at : at + 1] for at in range(len(data))]
    for at in range(1, len(data), max(1, len(data) // 200)):
        yield [data[:at], data[at:]]
