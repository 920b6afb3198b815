"""A gRPC app behind the daemon, by grpcio: AppCallback, and a service of its own with all four kinds of call."""

import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message

from noded.proto import appcallback_pb2, common_pb2, events_pb2

CALLBACK = "dapr.proto.runtime.v1.AppCallback"
ECHO = "test.Echo"
WAIT_SECONDS = 15.0
Metadata = dict[str, str | bytes]
Status = events_pb2.TopicEventResponse


class GrpcApp:
    """What it was asked, and how it answers."""

    def __init__(
        self,
        socket: Path,
        topics: list[appcallback_pb2.TopicSubscription] | None = None,
        credentials: grpc.ServerCredentials | None = None,
    ) -> None:
        """`topics` None: it has no ListTopicSubscriptions. With `credentials` it serves TLS at a port instead."""
        self.port = 0
        self._credentials = credentials
        self.socket = socket
        self.topics = topics
        self.metadata: list[Metadata] = []
        """Of every call of its own service, in order."""
        self.invoked: list[tuple[common_pb2.InvokeRequest, Metadata]] = []
        self.events: list[tuple[events_pb2.TopicEventRequest, Metadata]] = []
        self.on_event: Callable[[events_pb2.TopicEventRequest, grpc.ServicerContext], int] = lambda *_: Status.SUCCESS
        self.on_invoke: Callable[[common_pb2.InvokeRequest, grpc.ServicerContext], bytes] = lambda asked, _: (
            asked.data.value
        )
        self.deadlines: list[float | None] = []
        self.cancelled = threading.Event()
        self.produced = 0
        """Messages that its endless answer has handed to gRPC."""
        self._server: grpc.Server | None = None

    @property
    def channel(self) -> dict[str, str]:
        """The App resource's `channel`."""
        return {"protocol": "grpc", "address": f"unix:{self.socket}"}

    def start(self) -> None:
        server = self._server = grpc.server(ThreadPoolExecutor(16), options=[("grpc.max_receive_message_length", -1)])
        callbacks = {"OnInvoke": typed(common_pb2.InvokeRequest, self._on_invoke)}
        callbacks["OnTopicEvent"] = typed(events_pb2.TopicEventRequest, self._on_topic_event)
        if self.topics is not None:
            callbacks["ListTopicSubscriptions"] = typed(Empty, self._list)
        own = {
            "Unary": grpc.unary_unary_rpc_method_handler(self._unary),
            "Fail": grpc.unary_unary_rpc_method_handler(self._fail),
            "Hang": grpc.unary_unary_rpc_method_handler(self._hang),
            "Count": grpc.unary_stream_rpc_method_handler(self._count),
            "Endless": grpc.unary_stream_rpc_method_handler(self._endless),
            "Join": grpc.stream_unary_rpc_method_handler(self._join),
            "Chat": grpc.stream_stream_rpc_method_handler(self._chat),
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(CALLBACK, callbacks),))
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(ECHO, own),))
        if self._credentials is not None:
            self.port = server.add_secure_port("127.0.0.1:0", self._credentials)
        else:
            server.add_insecure_port(f"unix:{self.socket}")
        server.start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.stop(None).wait()
            self._server = None

    # AppCallback.

    def _list(self, _: Message, context: grpc.ServicerContext) -> Message:
        return appcallback_pb2.ListTopicSubscriptionsResponse(subscriptions=self.topics)

    def _on_topic_event(self, event: events_pb2.TopicEventRequest, context: grpc.ServicerContext) -> Message:
        self.events.append((event, metadata_of(context)))
        return Status(status=self.on_event(event, context))  # type: ignore[arg-type]

    def _on_invoke(self, asked: common_pb2.InvokeRequest, context: grpc.ServicerContext) -> Message:
        self.invoked.append((asked, metadata_of(context)))
        answer = common_pb2.InvokeResponse(content_type="text/x")
        answer.data.value = self.on_invoke(asked, context)
        return answer

    # Its own service.

    def _unary(self, message: bytes, context: grpc.ServicerContext) -> bytes:
        self.metadata.append(metadata_of(context))
        self.deadlines.append(context.time_remaining())
        context.send_initial_metadata((("x-initial", "i"), ("x-initial-bin", b"\0\1")))
        context.set_trailing_metadata((("x-trailing", "t"), ("x-trailing-bin", b"\2\xff")))
        return message

    def _fail(self, message: bytes, context: grpc.ServicerContext) -> bytes:
        context.set_trailing_metadata((("grpc-status-details-bin", message), ("x-trailing", "t")))
        context.set_code(grpc.StatusCode.NOT_FOUND)
        context.set_details("not here: 100 % é")
        return b""

    def _hang(self, _: bytes, context: grpc.ServicerContext) -> bytes:
        self.deadlines.append(context.time_remaining())
        gone = threading.Event()
        context.add_callback(gone.set)
        if gone.wait(WAIT_SECONDS):
            self.cancelled.set()
        return b""

    def _count(self, message: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        self.metadata.append(metadata_of(context))
        for number in range(int(message)):
            yield b"%d" % number

    def _endless(self, message: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        context.add_callback(self.cancelled.set)
        while context.is_active():
            yield bytes(int(message))
            self.produced += 1

    def _join(self, messages: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
        return b"%d" % sum(map(len, messages))

    def _chat(self, messages: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        context.add_callback(self.cancelled.set)
        for message in messages:
            yield b"re: " + message


def typed(kind: type[Message], handler: Callable[[Any, grpc.ServicerContext], Message]) -> Any:
    return grpc.unary_unary_rpc_method_handler(handler, kind.FromString, lambda message: message.SerializeToString())


def metadata_of(context: grpc.ServicerContext) -> Metadata:
    return dict(context.invocation_metadata())


@contextmanager
def grpc_app(
    topics: list[appcallback_pb2.TopicSubscription] | None = None, *, listening: bool = True
) -> Iterator[GrpcApp]:
    """An app until the block ends; its socket's directory is short-named."""
    with tempfile.TemporaryDirectory(prefix="app-") as directory:
        served = GrpcApp(Path(directory) / "s", topics)
        if listening:
            served.start()
        try:
            yield served
        finally:
            served.stop()
