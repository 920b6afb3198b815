"""A streaming subscription of one tenant: every event is accepted and its number kept."""

import json
import queue
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager

import grpc

from noded.proto import pubsub_pb2
from tests.daemon.server_clients import GrpcClient
from tests.daemon_process import Daemon
from tests.proof.isolation_names import Tenant

_DAY_SECONDS = 86_400


@contextmanager
def stream(daemon: Daemon, tenant: Tenant, topic: str) -> Iterator[list[int]]:
    """The numbers that a stream on the topic was given so far, growing until the block ends."""
    received: list[int] = []
    outbox: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    initial = pubsub_pb2.SubscribeTopicEventsRequestInitialAlpha1(pubsub_name="pubsub", topic=topic)
    outbox.put(pubsub_pb2.SubscribeTopicEventsRequestAlpha1(initial_request=initial).SerializeToString())
    with closing(GrpcClient(f"unix:{daemon.grpc_socket(tenant[1], tenant[0])}")) as client:
        call = client.stream(iter(outbox.get, None), timeout=_DAY_SECONDS)
        next(call)  # the acceptance
        thread = threading.Thread(target=_listen, args=(call, outbox, received))
        thread.start()
        try:
            yield received
        finally:
            outbox.put(None)
            call.cancel()
            thread.join()


def _listen(call: Iterator[bytes], outbox: "queue.SimpleQueue[bytes | None]", received: list[int]) -> None:
    try:
        for message in call:
            event = pubsub_pb2.SubscribeTopicEventsResponseAlpha1.FromString(message).event_message
            received.append(json.loads(event.data)["event"])
            done = pubsub_pb2.SubscribeTopicEventsRequestProcessedAlpha1(id=event.id)
            outbox.put(pubsub_pb2.SubscribeTopicEventsRequestAlpha1(event_processed=done).SerializeToString())
    except grpc.RpcError as error:
        assert error.code() is grpc.StatusCode.CANCELLED  # noqa: PT017 - any other would be the daemon's end
