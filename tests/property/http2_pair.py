"""A codec of ours and an `h2` connection facing each other: bytes carried between them, both books compared."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import h2.config
import h2.connection
import h2.events
import h2.settings

from noded.calls import Header
from noded.wire.http2 import Http2Connection
from noded.wire.http2_frames import (
    CONTINUATION,
    END_HEADERS,
    HEADERS,
    PADDED,
    PREFACE,
    encode_frame,
)
from tests.wire.http2_peer import Recorder, frames
from tests.wire.recording_link import cut

ROUNDS = 400
"""Of carrying bytes until nothing moves: more is a deadlock, or a ping-pong without end."""


@dataclass
class Message:
    """What one side sent on one stream, or the other received."""

    body: bytes = b""
    trailers: tuple[Header, ...] | None = None
    ended: bool = False


@dataclass
class Pair:
    """Our codec, its events, and the h2 peer."""

    ours: Http2Connection
    recorder: Recorder
    peer: h2.connection.H2Connection
    heard: list[h2.events.Event] = field(default_factory=list)
    unread: dict[int, int] = field(default_factory=dict)
    """{stream: bytes the peer received and has not acknowledged}"""

    def carry(self, cuts: Sequence[int], splits: Sequence[int]) -> bool:
        """Carry what each has to say, cut; header blocks of the peer are split and padded. False: nothing moved."""
        to_us = _split_blocks(self.peer.data_to_send(), splits)
        for piece in cut(to_us, cuts):
            self.ours.feed(piece)
        assert not self.ours.closed, "the codec found fault with what h2 said"
        to_peer = self.ours.take_output()
        for piece in cut(to_peer, cuts):
            for event in self.peer.receive_data(piece):
                self._note(event)
        return bool(to_us or to_peer)

    def settle(self, cuts: Sequence[int], splits: Sequence[int]) -> None:
        """Carry until all is said."""
        for _ in range(ROUNDS):
            if not self.carry(cuts, splits):
                return
        raise AssertionError("the two never fall silent")

    def _note(self, event: h2.events.Event) -> None:
        self.heard.append(event)
        if isinstance(event, h2.events.DataReceived):
            self.unread[event.stream_id] = self.unread.get(event.stream_id, 0) + event.flow_controlled_length

    def acknowledge(self, stream_id: int, size: int) -> None:
        """The peer's application took so many bytes of a stream."""
        size = min(size, self.unread.get(stream_id, 0))
        if size:
            self.unread[stream_id] -= size
            self.peer.acknowledge_received_data(size, stream_id)

    def received(self, stream_id: int) -> Message:
        """What the peer has of a stream."""
        found = Message()
        for event in self.heard:
            if getattr(event, "stream_id", None) != stream_id:
                continue
            if isinstance(event, h2.events.DataReceived):
                found.body += event.data or b""
            elif isinstance(event, h2.events.TrailersReceived):
                found.trailers = tuple((bytes(name), bytes(value)) for name, value in event.headers)
            elif isinstance(event, h2.events.StreamEnded):
                found.ended = True
        return found

    def received_here(self, stream_id: int) -> Message:
        """What we have of a stream."""
        found = Message(self.recorder.body(stream_id))
        for event in self.recorder.events:
            if event[1] != stream_id:
                continue
            if event[0] == "trailers":
                assert isinstance(event[2], tuple)
                found.trailers, found.ended = event[2], True
            elif event[0] in {"headers", "data"} and event[3]:
                found.ended = True
        return found

    def compare_books(self) -> None:
        """Once all is said and taken, each side's windows are what the other believes them to be, and none is lost."""
        ours, peer, limits = self.ours, self.peer, self.ours._limits
        assert ours._receive_window == peer.outbound_flow_control_window
        assert ours._receive_window + ours._credit == limits.connection_window_bytes, "bytes taken were not given back"
        assert ours._send_window == peer.inbound_flow_control_window
        for stream_id, stream in ours._streams.items():
            theirs = peer.streams.get(stream_id)
            if theirs is None or theirs.closed:
                continue
            if stream.receiving:
                assert stream.receive_window + stream.credit == limits.stream_window_bytes, "the same of a stream"
                assert stream.receive_window == theirs.outbound_flow_control_window
            if stream.sending:
                assert stream.send_window == theirs.inbound_flow_control_window


def h2_peer(*, client: bool, settings: dict[h2.settings.SettingCodes, int]) -> h2.connection.H2Connection:
    """Give the other end, its opening queued."""
    peer = h2.connection.H2Connection(h2.config.H2Configuration(client_side=client, header_encoding=None))
    peer.local_settings = h2.settings.Settings(client=client, initial_values=settings)
    peer.initiate_connection()
    return peer


def _split_blocks(data: bytes, splits: Sequence[int]) -> bytes:
    """Split each header block into HEADERS, padded, and CONTINUATION frames of these sizes."""
    if not splits:
        return data
    opening = PREFACE if data.startswith(PREFACE) else b""
    out = [opening]
    for frame in frames(data.removeprefix(PREFACE)):
        if frame.kind != HEADERS or frame.flags & PADDED:
            out.append(encode_frame(*frame))
            continue
        first = splits[0] + 5  # a priority, where there is one, stays in the first piece
        flags = (frame.flags | PADDED) & ~END_HEADERS
        padding = splits[-1] % 7
        out.append(
            encode_frame(HEADERS, flags, frame.stream_id, bytes((padding,)) + frame.payload[:first] + bytes(padding))
        )
        rest = cut(frame.payload[first:], [max(split, len(frame.payload) // 8) for split in splits])
        out += [encode_frame(CONTINUATION, 0, frame.stream_id, piece) for piece in rest]
        out.append(encode_frame(CONTINUATION, END_HEADERS, frame.stream_id))
    return b"".join(out)
