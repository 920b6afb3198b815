"""gRPC of a running daemon, asked by grpcio: statuses, deadlines, cancellation, sizes, compression, streams."""

import gzip
import queue
import socket
import struct
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import grpc
import h2.config
import h2.connection
import h2.events
import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_status import rpc_status

from noded.proto import common_pb2, events_pb2, invoke_pb2, metadata_pb2, pubsub_pb2, state_pb2
from tests.daemon.server_clients import (
    MEMORY,
    PUBSUB,
    SERVICE,
    SQLITE,
    GrpcClient,
    RecordingApp,
    app,
    eventually,
    grpc_client,
    raw,
    recording_app,
    resources,
    used,
)
from tests.daemon_process import Daemon, running_daemon

ASK = metadata_pb2.GetMetadataRequest()


@pytest.fixture(scope="module")
def callee() -> Iterator[RecordingApp]:
    with recording_app("callee") as server:
        yield server


@pytest.fixture(scope="module")
def daemon(callee: RecordingApp) -> Iterator[Daemon]:
    described = resources(SQLITE, MEMORY, PUBSUB, app("a"), app("callee", channel=callee.channel))
    with running_daemon(described, {"a": "default", "callee": "default"}) as running:
        yield running


@pytest.fixture
def client(daemon: Daemon) -> Iterator[GrpcClient]:
    with grpc_client(daemon, "a") as connected:
        yield connected


def save(key: str, value: bytes) -> state_pb2.SaveStateRequest:
    request = state_pb2.SaveStateRequest(store_name="statestore")
    request.states.add(key=key, value=value)
    return request


def data(answer: object) -> bytes:
    assert isinstance(answer, state_pb2.GetStateResponse)
    return answer.data


def read(key: str) -> state_pb2.GetStateRequest:
    return state_pb2.GetStateRequest(store_name="statestore", key=key)


def refused(client: GrpcClient, method: str, request: object = ASK) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as caught:
        client(method, request)  # type: ignore[arg-type]
    return caught.value


def test_unary_calls_are_answered(client: GrpcClient) -> None:
    """What was saved is read back, byte for byte, through the same channel."""
    value = bytes(range(256)) * 16
    client("SaveState", save("k", value))
    assert data(client("GetState", read("k"))) == value


def test_errors_carry_their_details(client: GrpcClient) -> None:
    """Code, text and google.rpc details, as grpcio-status reads them."""
    error = refused(client, "GetState", state_pb2.GetStateRequest(store_name="none", key="k"))
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert error.details() == "state store none is not found"
    status = rpc_status.from_call(error)  # type: ignore[arg-type]
    info = ErrorInfo()
    assert status is not None
    assert status.details[0].Unpack(info)
    assert (info.reason, info.domain) == ("DAPR_STATE_NOT_FOUND", "dapr.io")


def test_a_text_beyond_ascii_survives_the_trailer(client: GrpcClient) -> None:
    """grpc-message is percent-encoded UTF-8."""
    error = refused(client, "GetState", state_pb2.GetStateRequest(store_name="ü%20\n", key="k"))
    assert error.details() == "state store ü%20\n is not found"


def test_a_method_dapr_has_not_is_unimplemented(client: GrpcClient) -> None:
    """So that SDKs fall back from a stable to an alpha spelling."""
    assert refused(client, "NoSuchMethod").code() == grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("path", ["/foreign.Service/Method", "/grpc.health.v1.Health/Check"])
def test_a_foreign_service_without_an_app_is_told_what_is_missing(client: GrpcClient, path: str) -> None:
    """It is another app's affair, and no app was named."""
    error = refused(client, path)
    assert error.code() == grpc.StatusCode.UNKNOWN
    assert error.details() == "cannot proxy request: missing dapr-callee-app-id or dapr-app-id metadata"


def test_refused_calls_leave_their_connection_as_it_was(client: GrpcClient) -> None:
    """However much they send, hundreds of calls to no method cost later calls neither window nor room."""
    for _ in range(300):
        refused(client, "NoSuchMethod", save("k", bytes(16 << 10)))
    client("SaveState", save("after", b"x" * (1 << 20)))
    assert len(data(client("GetState", read("after")))) == 1 << 20


def test_bytes_that_are_no_message_are_internal(client: GrpcClient) -> None:
    """The call fails by itself; the channel goes on."""
    with pytest.raises(grpc.RpcError) as caught:
        client.raw_unary("GetState", b"\xff\xff\xff")
    assert caught.value.code() == grpc.StatusCode.INTERNAL
    client("GetMetadata", ASK)


@pytest.mark.parametrize("size", [4 << 20, (4 << 20) + 1, 6 << 20])
def test_a_message_over_the_limit_is_resource_exhausted(client: GrpcClient, size: int) -> None:
    """4 MiB as daprd; the channel goes on."""
    error = refused(client, "SaveState", save("big", bytes(size)))
    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    client("GetMetadata", ASK)


@pytest.mark.parametrize("size", [10, 100_000])
def test_a_gzip_compressed_request_is_read(daemon: Daemon, size: int) -> None:
    """A client compresses when told to, and reads the answer, which is compressed too."""
    with grpc_client(daemon, "a", compression=grpc.Compression.Gzip) as client:
        client("SaveState", save("gz", b"z" * size))
        assert data(client("GetState", read("gz"))) == b"z" * size


def test_a_compressed_message_that_grows_over_the_limit_is_refused(daemon: Daemon) -> None:
    """A few KiB that unpack to 8 MiB are bounded by what they unpack to."""
    with grpc_client(daemon, "a", compression=grpc.Compression.Gzip) as client:
        assert len(gzip.compress(bytes(8 << 20))) < 64 << 10
        error = refused(client, "SaveState", save("bomb", bytes(8 << 20)))
        assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        client("GetMetadata", ASK)


def test_calls_on_one_channel_run_side_by_side(client: GrpcClient) -> None:
    """Hundreds at once, each with its own answer."""
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda n: client("SaveState", save(f"c{n}", b"%d" % n)), range(300)))
        found = pool.map(lambda n: data(client("GetState", read(f"c{n}"))), range(300))
    assert list(found) == [b"%d" % number for number in range(300)]


def slow_call(client: GrpcClient, timeout: float | None) -> Any:
    """Invoke a method that takes half a second."""
    return client.unary("InvokeService").future(invoke_slow(), timeout=timeout)


def invoke_slow() -> invoke_pb2.InvokeServiceRequest:
    request = invoke_pb2.InvokeServiceRequest(id="callee")
    request.message.method = "slow"
    request.message.http_extension.verb = common_pb2.HTTPExtension.GET
    return request


def test_a_deadline_of_a_call_that_waits_is_kept(daemon: Daemon, client: GrpcClient) -> None:
    """The caller is told DEADLINE_EXCEEDED, what it used is given back, and the channel goes on."""
    call = slow_call(client, 0.1)
    with pytest.raises(grpc.RpcError) as caught:
        call.result()
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    eventually(lambda: in_flight(daemon), lambda count: count == 0)
    client("GetMetadata", ASK)


def test_the_daemon_itself_ends_a_call_at_its_deadline(daemon: Daemon) -> None:
    """A client that trusts the server to keep grpc-timeout gets its status in time."""
    with closing(raw(daemon.grpc_socket("a"))) as connected:
        headers = Call(connected).ask("InvokeService", invoke_slow().SerializeToString(), [("grpc-timeout", "50m")])
    assert headers["grpc-status"] == "4"


def in_flight(daemon: Daemon) -> float:
    return used(daemon, "default/a").get("concurrentRequests", {"used": 0})["used"]


def test_a_cancelled_call_gives_back_what_it_used(daemon: Daemon, client: GrpcClient, callee: RecordingApp) -> None:
    """The caller is gone: nothing stays counted for it, and other calls are not disturbed."""
    before = len(callee.at("/slow"))
    call = slow_call(client, 10)
    eventually(lambda: len(callee.at("/slow")) > before)
    call.cancel()
    assert call.code() == grpc.StatusCode.CANCELLED
    eventually(lambda: in_flight(daemon), lambda count: count == 0)
    client("GetMetadata", ASK)


def test_grpc_works_on_the_http_socket_too(daemon: Daemon) -> None:
    """The HTTP socket takes h2c with prior knowledge, gRPC and plain HTTP alike."""
    with closing(GrpcClient(f"unix:{daemon.http_socket('a')}")) as client:
        client("SaveState", save("h2c", b"v"))
        assert data(client("GetState", read("h2c"))) == b"v"
    with closing(raw(daemon.http_socket("a"))) as connected:
        call = Call(connected)
        assert call.get("/v1.0/state/statestore/h2c")[":status"] == "200"
        assert call.body == b"v"
        assert call.get("/v1.0/nothing")[":status"] == "404"


def test_plain_http_2_works_on_the_grpc_socket(daemon: Daemon) -> None:
    """What is no gRPC is served as HTTP."""
    with closing(raw(daemon.grpc_socket("a"))) as connected:
        assert Call(connected).get("/v1.0/healthz/outbound")[":status"] == "204"


def test_http_1_on_the_grpc_socket_is_turned_away(daemon: Daemon) -> None:
    """It is no HTTP/2: the connection ends, and no other is disturbed."""
    with grpc_client(daemon, "a") as client, closing(raw(daemon.grpc_socket("a"))) as connected:
        connected.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        while connected.recv(65536):
            pass
        client("GetMetadata", ASK)


class Call:
    """HTTP/2 by the h2 library on a bare socket, one request at a time."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self._h2.initiate_connection()
        self.body = b""

    def ask(self, method: str, message: bytes, more: list[tuple[str, str]]) -> dict[str, str]:
        """Make a unary gRPC call; its headers and trailers together."""
        framed = struct.pack("!BI", 0, len(message)) + message
        fields = [(":method", "POST"), (":path", SERVICE + method), ("content-type", "application/grpc"), *more]
        return self._exchange(fields, framed)

    def get(self, path: str) -> dict[str, str]:
        return self._exchange([(":method", "GET"), (":path", path)], None)

    def _exchange(self, fields: list[tuple[str, str]], body: bytes | None) -> dict[str, str]:
        stream = self._h2.get_next_available_stream_id()
        head = [*fields[:2], (":scheme", "http"), (":authority", "localhost"), *fields[2:]]
        self._h2.send_headers(stream, head, end_stream=body is None)
        if body is not None:
            self._h2.send_data(stream, body, end_stream=True)
        headers: dict[str, str] = {}
        self.body = b""
        while True:
            self._socket.sendall(self._h2.data_to_send())
            for event in self._h2.receive_data(self._socket.recv(65536)):
                if isinstance(event, h2.events.ResponseReceived | h2.events.TrailersReceived):
                    headers |= {str(name): str(value) for name, value in event.headers or ()}
                elif isinstance(event, h2.events.DataReceived):
                    self.body += event.data or b""
                elif isinstance(event, h2.events.StreamEnded):
                    return headers


@pytest.mark.parametrize(
    ("method", "message", "status"),
    [
        ("SaveState", save("again", b"v").SerializeToString(), "0"),
        ("GetState", read("again").SerializeToString(), "0"),
        ("GetState", state_pb2.GetStateRequest(store_name="none", key="k").SerializeToString(), "3"),
        ("GetState", b"\xff", "13"),
    ],
    ids=["waits for its commit", "answered in place", "refused", "unreadable"],
)
def test_calls_that_repeat_a_head_are_answered_as_the_first_was(
    daemon: Daemon, method: str, message: bytes, status: str
) -> None:
    """A head that came before is handled by what is known of it; what its calls used is given back."""
    with closing(raw(daemon.grpc_socket("a"))) as connected:
        call = Call(connected)
        answers = [(call.ask(method, message, []), call.body) for _ in range(6)]
    assert answers[0][0]["grpc-status"] == status
    assert answers == answers[:1] * 6
    eventually(lambda: in_flight(daemon), lambda count: count == 0)


def test_a_malformed_deadline_is_refused_whatever_is_known_of_the_head(daemon: Daemon) -> None:
    """The same refusal at the first call with such a head and at later ones; calls with sound deadlines go on."""
    with closing(raw(daemon.grpc_socket("a"))) as connected:
        call = Call(connected)
        answers = [
            call.ask("GetState", read("k").SerializeToString(), [("grpc-timeout", timeout)])
            for timeout in ("soon", "1S", "2S", "soon", "late", "3S")
        ]
    assert [answer["grpc-status"] for answer in answers] == ["13", "0", "0", "13", "13", "0"]
    assert answers[3]["grpc-message"] == answers[0]["grpc-message"] != answers[4]["grpc-message"]


# Streaming subscribe.


class Subscriber:
    """A streaming subscription of grpcio's, that acknowledges what it gets."""

    def __init__(self, client: GrpcClient, topic: str) -> None:
        self._outbox: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        initial = pubsub_pb2.SubscribeTopicEventsRequestInitialAlpha1(pubsub_name="pubsub", topic=topic)
        self._outbox.put(pubsub_pb2.SubscribeTopicEventsRequestAlpha1(initial_request=initial).SerializeToString())
        self.call = client.stream(iter(self._outbox.get, None))
        next(self.call)  # the acceptance

    def next(self) -> bytes:
        """The next event's data, acknowledged."""
        return self.event().data

    def event(self) -> events_pb2.TopicEventRequest:
        """The next event, acknowledged."""
        event = pubsub_pb2.SubscribeTopicEventsResponseAlpha1.FromString(next(self.call)).event_message
        processed = pubsub_pb2.SubscribeTopicEventsRequestProcessedAlpha1(id=event.id)
        verdict = pubsub_pb2.SubscribeTopicEventsRequestAlpha1(event_processed=processed)
        self._outbox.put(verdict.SerializeToString())
        return event

    def half_close(self) -> None:
        self._outbox.put(None)


def publish(client: GrpcClient, topic: str, value: bytes) -> None:
    client("PublishEvent", pubsub_pb2.PublishEventRequest(pubsub_name="pubsub", topic=topic, data=value))


def subscriptions(daemon: Daemon) -> float:
    return used(daemon, "default/a").get("subscriptions", {"used": 0})["used"]


def test_calls_with_a_new_trace_each_keep_their_own_metadata(daemon: Daemon, client: GrpcClient) -> None:
    """What is known of a head is never one call's trace: each event carries that of its own publisher."""
    subscriber = Subscriber(client, "traced")
    traces = [f"00-{number:032x}-{number:016x}-01" for number in range(1, 9)]
    with closing(raw(daemon.grpc_socket("a"))) as connected:
        call = Call(connected)
        request = pubsub_pb2.PublishEventRequest(pubsub_name="pubsub", topic="traced", data=b"x").SerializeToString()
        for trace in traces:
            headers = [("grpc-timeout", "5S"), ("traceparent", trace)]
            assert call.ask("PublishEvent", request, headers)["grpc-status"] == "0"
    seen = [str(subscriber.event().extensions["traceparent"]) for _ in traces]
    assert [trace.split("-")[1] for trace in seen] == [trace.split("-")[1] for trace in traces]
    subscriber.half_close()


def test_a_streaming_subscriber_gets_events_until_it_cancels(daemon: Daemon, client: GrpcClient) -> None:
    """Events come in order; cancelling ends the subscription, and a new one gets what is published then."""
    subscriber = Subscriber(client, "stream")
    for number in range(20):
        publish(client, "stream", b"%d" % number)
    assert [subscriber.next() for _ in range(20)] == [b"%d" % number for number in range(20)]
    subscriber.call.cancel()
    eventually(lambda: subscriptions(daemon), lambda count: count == 0)
    again = Subscriber(client, "stream")
    publish(client, "stream", b"new")
    assert again.next() == b"new"
    again.half_close()
    assert again.call.code() == grpc.StatusCode.OK
    eventually(lambda: subscriptions(daemon), lambda count: count == 0)


def test_a_subscriber_whose_connection_breaks_leaves_nothing(daemon: Daemon) -> None:
    """Subscription and stream are given back when the channel is gone."""
    with grpc_client(daemon, "a") as client:
        subscriber = Subscriber(client, "broken")
        assert subscriptions(daemon) == 1
        del subscriber
    eventually(lambda: subscriptions(daemon), lambda count: count == 0)
    assert used(daemon, "default/a").get("streams", {"used": 0})["used"] == 0


def test_a_stream_has_a_deadline_too(daemon: Daemon, client: GrpcClient) -> None:
    """grpc-timeout ends a stream as it ends a call."""
    call = client.stream(iter(queue.SimpleQueue[bytes]().get, None), timeout=0.2)
    with pytest.raises(grpc.RpcError) as caught:
        next(call)
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    eventually(lambda: used(daemon, "default/a").get("streams", {"used": 0})["used"], lambda count: count == 0)


def test_subscribers_are_ended_when_the_daemon_stops() -> None:
    """SIGTERM ends open streams with a status at once, for they could last for ever; the daemon ends with 0."""
    with running_daemon(resources(PUBSUB, app("a")), {"a": "default"}) as daemon, grpc_client(daemon, "a") as client:
        subscriber = Subscriber(client, "t")
        ended: list[tuple[grpc.StatusCode, str]] = []
        waiting = threading.Thread(target=lambda: ended.append((subscriber.call.code(), subscriber.call.details())))
        waiting.start()
        assert daemon.stop() == 0
        waiting.join(10)
        assert ended == [(grpc.StatusCode.UNAVAILABLE, "the daemon is stopping")]
