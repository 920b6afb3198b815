"""What is compressed of gRPC's answers: as grpc-go's server does, those of calls that say they are compressed."""

import gzip
import socket
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from google.protobuf.message import Message
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, Event, ResponseReceived, StreamEnded

from noded.proto import common_pb2, pubsub_pb2, state_pb2
from noded.wire.grpc import frame_gzip_message, frame_message, unpack_prefix
from tests.daemon.server_clients import MEMORY, PUBSUB, app, raw, resources
from tests.daemon_process import Daemon, running_daemon

VALUE = b"z" * 500
SAVE = state_pb2.SaveStateRequest(store_name="memory", states=[common_pb2.StateItem(key="k", value=VALUE)])
GET = state_pb2.GetStateRequest(store_name="memory", key="k")
SUBSCRIBE = pubsub_pb2.SubscribeTopicEventsRequestAlpha1(
    initial_request=pubsub_pb2.SubscribeTopicEventsRequestInitialAlpha1(pubsub_name="pubsub", topic="t")
)


class Answered(NamedTuple):
    """An answer, as it came."""

    encoding: bytes | None
    body: bytes

    @property
    def message(self) -> bytes:
        compressed, size = unpack_prefix(self.body)
        assert size == len(self.body) - 5
        return gzip.decompress(self.body[5:]) if compressed else self.body[5:]


class Client:
    """One connection; its calls are one after another."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._codec = H2Connection(H2Configuration(client_side=True, header_encoding=None))
        self._codec.initiate_connection()

    def call(self, method: str, message: Message, encoding: bytes | None, *, compressed: bool) -> Answered:
        """Send one message, the last; what comes back."""
        stream_id = self._codec.get_next_available_stream_id()
        path = b"/dapr.proto.runtime.v1.Dapr/" + method.encode()
        head = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", path), (b":authority", b"x")]
        head += [(b"te", b"trailers"), (b"content-type", b"application/grpc")]
        head += [] if encoding is None else [(b"grpc-encoding", encoding)]
        frame = frame_gzip_message if compressed else frame_message
        self._codec.send_headers(stream_id, head)
        self._codec.send_data(stream_id, frame(message.SerializeToString()), end_stream=True)
        self._socket.sendall(self._codec.data_to_send())
        told, body = None, b""
        for event in self._events(stream_id):
            if isinstance(event, ResponseReceived):
                told = dict(event.headers).get(b"grpc-encoding")
            elif isinstance(event, DataReceived):
                body += event.data
        return Answered(told, body)

    def _events(self, stream_id: int) -> Iterator[Event]:
        """What comes on a stream until it ends."""
        while data := self._socket.recv(65536):
            for event in self._codec.receive_data(data):
                if getattr(event, "stream_id", stream_id) == stream_id:
                    yield event
                    if isinstance(event, StreamEnded):
                        return
            self._socket.sendall(self._codec.data_to_send())
        raise AssertionError("the connection ended")


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with running_daemon(resources(MEMORY, PUBSUB, app("a")), {"a": "default"}) as running:
        yield running


@pytest.fixture
def client(daemon: Daemon) -> Iterator[Client]:
    with raw(daemon.grpc_socket("a")) as connected:
        connected.settimeout(20)
        yield Client(connected)


@pytest.mark.parametrize("compressed", [True, False])
def test_a_call_that_says_gzip_is_answered_in_gzip(client: Client, compressed: bool) -> None:  # noqa: FBT001 - a case
    """Each one of a kind, whether its own message is compressed or not; an empty answer stays as it is."""
    for _ in range(3):
        saved = client.call("SaveState", SAVE, b"gzip", compressed=compressed)
        assert saved == (b"gzip", frame_message(b""))
        found = client.call("GetState", GET, b"gzip", compressed=compressed)
        assert (found.encoding, found.body[0], len(found.body) < len(VALUE)) == (b"gzip", 1, True)
        assert state_pb2.GetStateResponse.FromString(found.message).data == VALUE


@pytest.mark.parametrize("encoding", [None, b"identity"])
def test_other_answers_are_not_compressed(client: Client, encoding: bytes | None) -> None:
    """Nothing is added to them."""
    client.call("SaveState", SAVE, encoding, compressed=False)
    for _ in range(3):
        found = client.call("GetState", GET, encoding, compressed=False)
        assert (found.encoding, found.body[0]) == (None, 0)
        assert state_pb2.GetStateResponse.FromString(found.message).data == VALUE


def test_kinds_of_calls_do_not_mix_on_a_connection(client: Client) -> None:
    """The one is answered in gzip and the other not, in any order."""
    client.call("SaveState", SAVE, None, compressed=False)
    told = [client.call("GetState", GET, each, compressed=each == b"gzip").encoding for each in (None, b"gzip") * 3]

    assert told == [None, b"gzip"] * 3


def test_streams_are_answered_in_gzip(client: Client) -> None:
    """Every message of a stream that says gzip."""
    answer = client.call("SubscribeTopicEventsAlpha1", SUBSCRIBE, b"gzip", compressed=True)

    assert (answer.encoding, answer.body[0]) == (b"gzip", 1)
    first = pubsub_pb2.SubscribeTopicEventsResponseAlpha1.FromString(answer.message)
    assert first.HasField("initial_response")
