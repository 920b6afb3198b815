"""HTTP/2: raw frames to the server's and the client's codec, and header blocks against the `hpack` package."""

from functools import partial
from typing import Any

import hpack
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH

from noded.calls import Header
from noded.wire import huffman
from noded.wire.fields import REQUEST, TOO_LARGE, HeaderBlock
from noded.wire.hpack import Decoder, HpackError, encode_block
from noded.wire.http2 import Http2Connection, Http2Limits
from noded.wire.http2_frames import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HAS_PRIORITY,
    HEADERS,
    PADDED,
    PING,
    PREFACE,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    WINDOW_UPDATE,
    encode_frame,
    encode_settings,
)
from tests.fuzz.cuts import cut, split_choice
from tests.fuzz.lone_node import SHORT_BLOCK_BYTES, ForgetfulDecoder
from tests.fuzz.target import Target
from tests.wire.http2_peer import OPENING, REQUEST_BLOCK, RESPONSE_BLOCK, TRAILERS_BLOCK, Recorder, feed_all, frames
from tests.wire.http2_peer import REQUEST as REQUEST_HEAD

LIMITS = Http2Limits(
    max_concurrent_streams=4,
    stream_window_bytes=65_535,
    connection_window_bytes=65_535,
    auto_consume_bytes=64,
    reset_burst=30,
    control_burst=30,
)
LIST_BYTES = 4096
BLOCKS_TWICE = 2048


class Answering(Recorder):
    """Takes what comes and answers it, so that streams end, wait for window, and are known the next time."""

    connection: Http2Connection

    def on_headers(self, stream_id: int, headers: HeaderBlock, end_stream: bool) -> None:  # noqa: FBT001
        super().on_headers(stream_id, headers, end_stream)
        if headers.kind == REQUEST:
            headers.take = partial(self._take, headers.headers)

    def _take(self, head: tuple[Header, ...], *request: Any) -> None:
        """A request taken whole: noted and answered as if it had come by events."""
        stream_id, data, start, stop = request[-4:]
        self.events.append(("headers", stream_id, head, False))
        body = data[start:stop]
        answer = encode_frame(HEADERS, END_HEADERS, stream_id, RESPONSE_BLOCK) + encode_frame(
            DATA, 0, stream_id, body * 30
        )
        answer += encode_frame(HEADERS, END_HEADERS | END_STREAM, stream_id, TRAILERS_BLOCK)
        if self.connection.send_whole(answer, len(body) * 30):
            self.events.append(("data", stream_id, body, True))
        else:
            self.connection.open_received(stream_id)
            self.on_data(stream_id, body, True)

    def on_data(self, stream_id: int, data: bytes, end_stream: bool) -> None:  # noqa: FBT001
        super().on_data(stream_id, data, end_stream)
        self.connection.consumed(stream_id, len(data))
        if end_stream:
            self.connection.send_response(stream_id, RESPONSE_BLOCK, data * 30, TRAILERS_BLOCK)

    def on_trailers(self, stream_id: int, headers: object) -> None:
        self.connection.send_response(stream_id, RESPONSE_BLOCK, b"x", None)

    @property
    def said(self) -> list[tuple[object, ...]]:
        """The events, DATA put together: where frames are cut changes nothing, but pieces are a frame each anyway."""
        return self.events


def _run(pieces: list[bytes], *, client: bool, forgetful: bool = False) -> tuple[list[tuple[object, ...]], bytes, bool]:
    events = Answering()
    connection = Http2Connection(events, client=client, limits=LIMITS)
    events.connection = connection
    if forgetful:
        connection._decoder = ForgetfulDecoder(LIMITS.max_header_list_bytes, SHORT_BLOCK_BYTES)
    connection.start()
    if client:
        _call(connection)
    out = connection.take_output()
    for piece in pieces:
        feed_all(connection, piece)
        out += connection.take_output()
    frames(out.removeprefix(PREFACE))
    _check_books(connection)
    return events.said, out, connection.closed


def _call(connection: Http2Connection) -> None:
    for _ in range(3):
        stream_id = connection.open_stream()
        connection.send_response(stream_id, REQUEST_BLOCK, bytes(40_000), None)


def _check_books(connection: Http2Connection) -> None:
    """Windows add up: what was received is given back, taken, or held by an open stream."""
    if connection.closed:
        return
    held = sum(stream.held for stream in connection._streams.values())
    window = connection._receive_window + connection._credit + held
    assert window == LIMITS.connection_window_bytes
    assert connection._send_window >= 0
    for stream in connection._streams.values():
        assert 0 <= stream.receive_window + stream.credit <= LIMITS.stream_window_bytes
        backlog = stream.backlog
        assert (backlog is not None) == (stream.stream_id in connection._backlogged)
        if backlog is not None and backlog.size:
            assert connection._send_window <= 0 or stream.send_window <= 0, "sends nothing though it might"


def server(raw: bytes) -> None:
    """Frames of a client: nothing is raised, the books balance, cuts and remembered blocks change nothing."""
    choice, data = split_choice(raw)
    data = OPENING + data
    whole = _run([data], client=False)
    assert whole == _run(list(cut(data, choice)), client=False)
    assert whole == _run([data], client=False, forgetful=True)


def client(raw: bytes) -> None:
    """Frames of a server: the same."""
    choice, data = split_choice(raw)
    whole = _run([data], client=True)
    assert whole == _run(list(cut(data, choice)), client=True)
    assert whole == _run([data], client=True, forgetful=True)


def blocks(raw: bytes) -> None:
    """Header blocks, each after its length in two bytes, and all again: as `hpack` reads them, remembered or not."""
    ours, forgetful, theirs = Decoder(LIST_BYTES), ForgetfulDecoder(LIST_BYTES), hpack.Decoder(LIST_BYTES)
    at = 0
    while at + 2 <= len(raw):
        size = int.from_bytes(raw[at : at + 2], "big") % 1024
        block = raw[at + 2 : at + 2 + size]
        at += 2 + size
        got = _decoded(ours, block)
        assert got == _decoded(forgetful, block)
        _compare(got, block, theirs)
        if got is None:
            return
        assert _entries(ours) == _entries(forgetful)
        assert ours._used == sum(entry[2] for entry in ours._entries) <= ours._capacity <= 4096


def _entries(decoder: Decoder) -> list[tuple[bytes, bytes]]:
    return [entry[0] for entry in decoder._entries]


def _decoded(decoder: Decoder, block: bytes) -> tuple[object, ...] | None:
    try:
        found = decoder.decode(block)
    except HpackError:
        return None
    return found.kind, found.headers, found.content_length


def _compare(ours: tuple[object, ...] | None, block: bytes, theirs: hpack.Decoder) -> None:
    """Hold it against `hpack`, which stops where a list is too long and so is no judge of the rest."""
    try:
        headers = tuple((bytes(name), bytes(value)) for name, value in theirs.decode(block, raw=True))
    except hpack.OversizedHeaderListError:
        assert ours is None or ours[0] == TOO_LARGE
        raise _Undecided from None
    except (hpack.HPACKError, UnicodeDecodeError):
        assert ours is None, "taken, though hpack refuses it"
        return
    if ours is None:
        assert _has_long_integer(block), "refused, though hpack takes it"
        raise _Undecided
    assert ours[1] == headers


def _has_long_integer(block: bytes) -> bool:
    """Integers of more than four bytes are refused by us: no length or index that fits a frame needs them."""
    return any(all(byte >= 0x80 for byte in block[at : at + 4]) for at in range(max(1, len(block) - 4)))


class _Undecided(Exception):
    """From here on the two may differ."""


def header_blocks(raw: bytes) -> None:
    """See `blocks`."""
    try:
        blocks(raw * 2 if len(raw) < BLOCKS_TWICE else raw)
    except _Undecided:
        return


def huffman_codes(raw: bytes) -> None:
    """Huffman codes as `hpack` reads and writes them."""
    coded = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH).encode(raw)
    assert huffman.decode(coded) == raw
    try:
        ours: bytes | None = huffman.decode(raw)
    except huffman.HuffmanError:
        ours = None
    try:
        theirs: bytes | None = hpack.huffman_table.decode_huffman(raw)
    except hpack.HPACKDecodingError:
        theirs = None
    assert ours == theirs
    headers = [(raw[:5], raw[5:])]
    assert [(bytes(n), bytes(v)) for n, v in hpack.Decoder().decode(encode_block(headers), raw=True)] == headers


def _block(data: bytes) -> bytes:
    return len(data).to_bytes(2, "big") + data


_INDEXED = hpack.Encoder().encode([(":method", "GET"), (":path", "/a"), ("x-a", "b" * 30), ("x-a", "b" * 30)])
_REQUEST = encode_frame(HEADERS, END_HEADERS, 1, REQUEST_BLOCK)
_KNOWN = b"".join(
    encode_frame(HEADERS, END_HEADERS, at, REQUEST_BLOCK) + encode_frame(DATA, END_STREAM, at, b"abc")
    for at in (1, 3, 5, 7)
)
_SIZED = encode_block((*REQUEST_HEAD, (b"content-length", b"3")))


def _whole(stream_id: int, body: bytes = b"abc", block: bytes = REQUEST_BLOCK) -> bytes:
    return encode_frame(HEADERS, END_HEADERS, stream_id, block) + encode_frame(DATA, END_STREAM, stream_id, body)


SERVER_SEEDS = (
    b"\1" + _KNOWN,
    b"\1" + _whole(1, block=_SIZED) + _whole(3, block=_SIZED) + _whole(5, b"abcd", _SIZED),
    b"\1" + _whole(1) + _whole(3) + _whole(9) + _whole(5),
    b"\1" + _whole(1) + _whole(3) + _whole(3),
    b"\1" + encode_settings({4: 100}) + b"".join(_whole(at, bytes(64)) for at in range(1, 21, 2)),
    b"\0" + encode_frame(HEADERS, END_HEADERS | END_STREAM, 1, REQUEST_BLOCK),
    b"\2" + encode_frame(HEADERS, 0, 1, REQUEST_BLOCK[:9])
    + encode_frame(CONTINUATION, END_HEADERS, 1, REQUEST_BLOCK[9:]),
    b"\3" + _REQUEST + encode_frame(DATA, PADDED, 1, b"\2abc\0\0") + encode_frame(HEADERS, 5, 1, TRAILERS_BLOCK),
    b"\4" + encode_frame(HEADERS, END_HEADERS | HAS_PRIORITY | PADDED, 1, b"\1\0\0\0\3\7" + REQUEST_BLOCK + b"\0"),
    b"\5" + _REQUEST + encode_frame(RST_STREAM, 0, 1, b"\0\0\0\x08") + encode_frame(DATA, 1, 1, b"late"),
    b"\6" + encode_settings({1: 0, 3: 1, 4: 10, 5: 16_384}) + _REQUEST + encode_frame(DATA, 1, 1, bytes(100))
    + encode_frame(WINDOW_UPDATE, 0, 1, b"\0\0\1\0") + encode_settings({4: 70_000}),
    b"\7" + encode_frame(PING, 0, 0, bytes(8)) + encode_frame(PRIORITY, 0, 9, b"\0\0\0\1\1") + encode_frame(0x77, 1, 0)
    + encode_frame(GOAWAY, 0, 0, bytes(8)) + encode_frame(WINDOW_UPDATE, 0, 0, b"\x7f\xff\0\0"),
    b"\x08" + encode_frame(PUSH_PROMISE, END_HEADERS, 1, b"\0\0\0\2" + REQUEST_BLOCK),
)  # fmt: skip
_HEAD = encode_frame(HEADERS, END_HEADERS, 1, RESPONSE_BLOCK)
CLIENT_SEEDS = (
    b"\1" + encode_settings({4: 100_000}) + _HEAD + encode_frame(DATA, 0, 1, b"ok")
    + encode_frame(HEADERS, 5, 1, TRAILERS_BLOCK),
    b"\2" + encode_settings({3: 1, 4: 0}) + encode_frame(HEADERS, END_HEADERS | END_STREAM, 3, RESPONSE_BLOCK),
    b"\3" + encode_settings({}) + encode_frame(HEADERS, END_HEADERS, 1, encode_block([(b":status", b"103")])) + _HEAD
    + encode_frame(DATA, END_STREAM, 1),
    b"\4" + encode_settings({}) + encode_frame(GOAWAY, 0, 0, b"\0\0\0\1\0\0\0\0")
    + encode_frame(RST_STREAM, 0, 1, bytes(4)),
    b"\5" + encode_settings({2: 0}) + encode_frame(WINDOW_UPDATE, 0, 0, b"\0\1\0\0")
    + encode_frame(WINDOW_UPDATE, 0, 1, b"\0\1\0\0"),
)  # fmt: skip
_FRAME_WORDS = (
    _REQUEST, _HEAD, encode_frame(DATA, END_STREAM, 1, b"abc"), encode_frame(HEADERS, 5, 1, TRAILERS_BLOCK),
    encode_frame(RST_STREAM, 0, 1, b"\0\0\0\x08"), encode_frame(PING, 0, 0, bytes(8)), encode_settings({4: 5}),
    encode_frame(WINDOW_UPDATE, 0, 1, b"\0\0\0\5"), encode_frame(DATA, 0, 3), b"\0\0\0\3", b"\0\0\0\5",
    b"\x7f\xff\xff\xff",
    encode_block([(b"content-length", b"3")]), encode_block([(b"te", b"gzip")]), encode_block([(b":status", b"200")]),
)  # fmt: skip

TARGETS = (
    Target("http2_server", server, SERVER_SEEDS, _FRAME_WORDS),
    Target("http2_client", client, CLIENT_SEEDS, _FRAME_WORDS),
    Target(
        "hpack",
        header_blocks,
        (
            _block(REQUEST_BLOCK) * 2,
            _block(_INDEXED) * 2 + _block(b"\xbe\xbf"),
            _block(b"\x20\x3f\xe1\x1f" + _INDEXED) + _block(b"\xbe"),
            _block(b"\x40\x01a\x01b\xbe\x3f\x01"),
            _block(b"\x40\x01a\x01b") + _block(b"\xbe") + _block(b"\x40\x01c\x01d") + _block(b"\xbe"),
            _block(b"\x10\x03abc\x85\xae\xc3\x77\x1a\x4b"),
        ),
        (
            b"\x20",
            b"\x3f\xe1\x1f",
            b"\x40",
            b"\xbe",
            b"\x7f\x80\x01",
            b"\xff\xff\xff\xff\x7f",
            b"\x82\x86\x84",
            _INDEXED,
        ),
    ),
    Target(
        "huffman",
        huffman_codes,
        (b"", b"www.example.com", bytes(range(256)), b"\xff" * 5, b"\xff\xff\xff\xfc"),
        (),
        512,
    ),
)
