"""gRPC: its framing, calls to the daemon in short form, messages of every method, and what apps answer."""

import contextlib
import gzip

from google.protobuf.message import DecodeError, Message

from noded.channel_grpc import GrpcAnswer
from noded.grpc_table import GrpcMethod
from noded.routes_grpc import grpc_table
from noded.runtime import bulk_grpc, deliver_grpc, subscriptions_grpc
from noded.runtime.asked import NotListed
from noded.wire import grpc, grpc_answers
from noded.wire.grpc import GrpcWireError, MessageReader, MessageTooLarge
from noded.wire.hpack import encode_block
from noded.wire.http2_frames import DATA, END_HEADERS, END_STREAM, HEADERS, PRIORITY, encode_frame
from tests.fuzz.cuts import cut, split_choice
from tests.fuzz.lone_node import LoneNode, carry, without_etags
from tests.fuzz.target import Target
from tests.wire.http2_peer import OPENING, frames

MAX_MESSAGE_BYTES = 4096
ENCODINGS = (b"identity", b"gzip", b"snappy")
METHODS = tuple(sorted(grpc_table()))


def framing(raw: bytes) -> None:
    """The same messages, or the same refusal, however a stream is cut; none larger than the limit."""
    choice, data = split_choice(raw)
    encoding = ENCODINGS[choice % 3]
    whole = _messages([data], encoding)
    assert whole == _messages(list(cut(data, choice)), encoding)
    assert all(len(message) <= MAX_MESSAGE_BYTES for message in whole[0])
    assert grpc.MessageReader(len(data)).feed(grpc.frame_message(data)) == [data]
    assert grpc.MessageReader(len(data) + 64, b"gzip").feed(grpc.frame_gzip_message(data)) == [data]
    _meter(data, choice)


def _messages(pieces: list[bytes], encoding: bytes) -> tuple[list[bytes], str]:
    reader = MessageReader(MAX_MESSAGE_BYTES, encoding)
    found: list[bytes] = []
    for piece in pieces:
        try:
            found += reader.feed(piece)
        except GrpcWireError as error:
            return [], type(error).__name__
    return found, "" if reader.is_empty else "waits"


def _meter(data: bytes, choice: int) -> None:
    whole, pieces = grpc_answers.MessageMeter(MAX_MESSAGE_BYTES), grpc_answers.MessageMeter(MAX_MESSAGE_BYTES)
    try:
        whole.feed(data)
    except MessageTooLarge:
        return
    for piece in cut(data, choice):
        pieces.feed(piece)
    assert (whole.begun, whole._left, whole._prefix) == (pieces.begun, pieces._left, pieces._prefix)


def header_texts(raw: bytes) -> None:
    """Timeouts, status texts, binary metadata, statuses: what was written is read again; the rest is refused."""
    try:
        seconds = grpc.parse_timeout(raw)
        assert abs(grpc.parse_timeout(grpc.encode_timeout(seconds)) - seconds) <= seconds * 0.01 + 1e-9
    except GrpcWireError:
        pass
    text = raw.decode("utf-8", "replace")
    assert grpc.decode_message(grpc.encode_message(text)) == text
    grpc.decode_message(raw)
    assert grpc.decode_binary(grpc.encode_binary(raw)) == raw
    with contextlib.suppress(GrpcWireError):
        grpc.decode_binary(raw)
    names = (b"grpc-status", b"grpc-message", b"grpc-status-details-bin", b"content-type")
    fields = list(zip(names, raw.split(b"\n"), strict=False))
    status = grpc_answers.status_of(fields)
    grpc.encode_trailers(status.code, status.message, status.details)
    grpc_answers.own_metadata(fields)
    grpc_answers.not_grpc([(b":status", b"200"), *fields])


def calls(raw: bytes) -> None:
    """Calls in short form, made thrice: answered alike with heads known or not, and cut; nothing unforeseen is raised.

    From the third on, calls behind the same head are taken whole.
    """
    choice, data = split_choice(raw)
    stream = OPENING + _written_out(data * 3)
    known = _serve([stream], forgetful=False)
    assert known == _serve([stream], forgetful=True)
    assert known == _serve(list(cut(stream, choice)), forgetful=False)


def _serve(pieces: list[bytes], *, forgetful: bool) -> tuple[bytes, bool]:
    node = LoneNode(forgetful=forgetful)
    wire, link = node.http2()
    carry(wire, link, pieces)
    answers = without_etags(bytes(link.sent))
    frames(answers)
    wire.lost()
    assert not node.app.tenant.gate.app.used["streams"]
    return answers, link.shut_down


_HEADS = (
    *(
        encode_block(
            [(b":method", b"POST"), (b":scheme", b"http"), (b":path", path), (b":authority", b"h"),
             (b"content-type", b"application/grpc"), *extra]
        )
        for path in METHODS
        for extra in ((), ((b"grpc-encoding", b"gzip"),))
    ),
    encode_block([(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/v1.0/state/s/k"), (b":authority", b"h")]),
    encode_block([(b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/v1.0/state/s"), (b":authority", b"h")]),
    encode_block([(b":method", b"HEAD"), (b":scheme", b"http"), (b":path", b"/v1.0/metadata"), (b":authority", b"h")]),
    encode_block([(b":method", b"CONNECT"), (b":authority", b"h")]),
    encode_block(
        [(b":method", b"POST"), (b":scheme", b"http"), (b":path", METHODS[0]), (b":authority", b"h"),
         (b"content-type", b"application/grpc"), (b"grpc-timeout", b"1S"), (b"content-length", b"5")]
    ),
)  # fmt: skip


def _written_out(data: bytes) -> bytes:
    """Write short form as frames: (what, which, size, payload), stream ids counted up by heads."""
    out, at, stream_id = [], 0, -1
    while at + 3 <= len(data):
        what, which, size = data[at : at + 3]
        payload = data[at + 3 : at + 3 + size]
        at += 3 + len(payload)
        match what % 8:
            case 0 | 1:
                stream_id += 2
                ends = END_STREAM if what % 8 == 1 else 0
                out.append(encode_frame(HEADERS, END_HEADERS | ends, stream_id, _HEADS[which % len(_HEADS)] + payload))
            case 2 | 3:  # a call: head and message
                stream_id += 2
                out.append(encode_frame(HEADERS, END_HEADERS, stream_id, _HEADS[which % len(_HEADS)]))
                message = payload if what % 8 == 3 else grpc.frame_message(payload)
                out.append(encode_frame(DATA, END_STREAM, stream_id, message))
            case 4:
                out.append(encode_frame(DATA, which, max(stream_id, 1), payload))
            case 5:
                message = grpc.frame_gzip_message(payload)
                out.append(encode_frame(DATA, which & END_STREAM, max(stream_id - (which & 6), 1), message))
            case 6:  # ids are left out
                stream_id += which & 6
                out.append(encode_frame(PRIORITY, 0, max(stream_id, 1), payload[:5]))
            case _:
                out.append(encode_frame(which >> 4, which & 15, max(stream_id, 0) if what & 8 else 0, payload))
    return b"".join(out)


def messages(raw: bytes) -> None:
    """Any bytes as the message of any unary method: answered, and only with errors of the table."""
    choice, data = split_choice(raw)
    path = METHODS[choice % len(METHODS)]
    head = _HEADS[2 * (choice % len(METHODS))]
    node = LoneNode()
    wire, link = node.http2()
    stream = b"".join(
        encode_frame(HEADERS, END_HEADERS, stream_id, head)
        + encode_frame(DATA, END_STREAM, stream_id, grpc.frame_message(data))
        for stream_id in (1, 3)
    )
    carry(wire, link, [OPENING + stream])
    if _method(path).unary is not None:
        assert not wire.streams, "left unanswered"
    wire.lost()


def _method(path: bytes) -> GrpcMethod:
    return grpc_table()[path]


def app_messages(raw: bytes) -> None:
    """What gRPC apps answer: to events, batches, and the question which topics they want."""
    choice, data = split_choice(raw)
    answer = GrpcAnswer(grpc_answers.GrpcStatus(choice % 17 if choice > 64 else 0, "told"), data, (), ())
    deliver_grpc.judge(answer)
    bulk_grpc.judge(answer, ["1", "2"])
    with contextlib.suppress(NotListed):
        subscriptions_grpc.read(answer)


def _populated(message: Message) -> bytes:
    """A message with every field set, two deep."""
    _populate(message, 3)
    return message.SerializeToString()


def _populate(message: Message, depth: int) -> None:
    for field in message.DESCRIPTOR.fields:
        entry = field.message_type
        value = {field.TYPE_STRING: "k", field.TYPE_BYTES: b'"v"', field.TYPE_BOOL: True}.get(field.type, 1)
        try:
            if entry is None:
                setattr(message, field.name, value)
            elif depth and not entry.GetOptions().map_entry:
                part = getattr(message, field.name)
                _populate(part.add() if hasattr(part, "add") else part, depth - 1)
        except (AttributeError, TypeError):
            getattr(message, field.name).append(value)
        except DecodeError:
            continue


def _named(message: bytes) -> bytes:
    return message.replace(b"\x0a\x01k", b"\x0a\x01s", 1)


MESSAGE_SEEDS = tuple(
    bytes((at,)) + seed
    for at, path in enumerate(METHODS)
    if (request := _method(path).request) is not None
    for seed in (b"", _populated(request()), _named(_populated(request())))
)

TARGETS = (
    Target(
        "grpc_framing",
        framing,
        (
            b"\0" + grpc.frame_message(b"abc") * 3,
            b"\1" + grpc.frame_gzip_message(b"abc" * 50),
            b"\1" + b"\1" + (len(gzip.compress(bytes(8000)))).to_bytes(4, "big") + gzip.compress(bytes(8000)),
            b"\2" + grpc.frame_gzip_message(b"a"),
            b"\3\2\0\0\0\1a",
            b"\3\0\0\0\x10\1",
        ),
        (b"\0\0\0\0\0", b"\1\0\0\0\0", b"\0\0\0\x10\0", grpc.frame_gzip_message(b"")),
    ),
    Target(
        "grpc_header_texts",
        header_texts,
        (b"1S", b"99999999n", b"0\nall%20well\nYWJj", b"14\n%E2%9C%93%", b"x\n%zz\n=", b"-1", b"99999999H"),
        (b"%", b"\n", b"H", b"u", b"="),
        256,
    ),
    Target(
        "grpc_calls",
        calls,
        (
            *(
                bytes((1, 2, 2 * at, len(seed) - 1)) + seed[1:]
                for at, seed in enumerate(MESSAGE_SEEDS[1::3])
                if len(seed) < 256
            ),
            b"\1" + bytes((0, 0, 0, 4, 0, 5, 0, 0, 0, 0, 1)) + bytes((2, 0, 3)) + b"abc" + bytes((2, 0, 3)) + b"abc",
            b"\2" + bytes((0, 1, 0, 5, 1, 2)) + b"ab" + bytes((6, 0x30, 4, 0, 0, 0, 8)),
            b"\3" + bytes((1, 36, 0, 2, 37, 2)) + b"[]",
            *(b"\4" + bytes((3, 2 * at, 7)) + b"\1\0\0\0\2\n\0" for at in range(len(METHODS))),
            b"\5" + bytes((3, len(_HEADS) - 1, 5, 0, 0, 0, 0, 0, 3, len(_HEADS) - 1, 6, 0, 0, 0, 0, 1, 0)),
            b"\6" + bytes((2, 10, 0, 6, 2, 5, 0, 0, 0, 1, 1)),
        ),
        (bytes((2, 4, 4)), bytes((0, 0, 0)), bytes((4, 1, 0)), bytes((14, 0x30, 4, 0, 0, 0, 8)), b"\n\1s\x12\1k"),
        1024,
    ),
    Target(
        "grpc_messages",
        messages,
        MESSAGE_SEEDS,
        (b"\n\1s", b"\x12\1k", b"\n\1p", b"\x12\1t", b"||", b"\xff\xff\xff\xff\x0f"),
    ),
    Target(
        "grpc_app_messages",
        app_messages,
        (b"\0", b"\0\x08\1", b"\0\n\5\n\x011\x10\1", b"\0\n\x0a\n\1p\x12\1t\x2a\2/x", b"\x50\x08\2"),
        (b"\x08\1", b"\n\2", b"\xff\xff\xff\xff\x0f"),
    ),
)
