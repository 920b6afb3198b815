"""Bulk subscriptions of a gRPC app: the batch it is sent, its fallback, and what its statuses mean."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message

from noded.channel_grpc import GrpcAnswer
from noded.errors import Grpc
from noded.proto import appcallback_pb2, events_pb2
from noded.runtime.bulk_grpc import judge
from noded.runtime.dead_letter import Outcome
from noded.wire.grpc_answers import GrpcStatus
from tests.daemon.grpc_app import CALLBACK, Metadata, Status, metadata_of, typed
from tests.daemon.server_clients import PUBSUB, HttpClient, app, eventually, http, resources
from tests.daemon_process import running_daemon

ALPHA = "dapr.proto.runtime.v1.AppCallbackAlpha"
Batch = events_pb2.TopicEventBulkRequest
Answer = events_pb2.TopicEventBulkResponse
Topic = appcallback_pb2.TopicSubscription
ONE = appcallback_pb2.BulkSubscribeConfig(enabled=True, max_messages_count=1, max_await_duration_ms=50)
TWO = appcallback_pb2.BulkSubscribeConfig(enabled=True, max_messages_count=2, max_await_duration_ms=60_000)
TOPICS = [
    Topic(pubsub_name="pubsub", topic="orders", bulk_subscribe=TWO),
    Topic(pubsub_name="pubsub", topic="raw", metadata={"rawPayload": "true"}, bulk_subscribe=ONE),
    Topic(pubsub_name="pubsub", topic="failing", dead_letter_topic="dead", bulk_subscribe=ONE),
    Topic(pubsub_name="pubsub", topic="dead", bulk_subscribe=ONE),
]


class BatchApp:
    """Takes batches under the name `method` of `service`, and answers with `statuses` by topic."""

    def __init__(self, socket: Path, service: str, method: str) -> None:
        self.batches: list[tuple[Batch, Metadata]] = []
        self.status = Status.SUCCESS
        self._server = server = grpc.server(ThreadPoolExecutor(4))
        handlers = {CALLBACK: {"ListTopicSubscriptions": typed(Empty, self._list)}}
        if method:
            handlers.setdefault(service, {})[method] = typed(Batch, self._take)
        for name, methods in handlers.items():
            server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, methods),))
        server.add_insecure_port(f"unix:{socket}")
        server.start()

    def stop(self) -> None:
        self._server.stop(None).wait()

    def of_topic(self, topic: str) -> list[Batch]:
        return [batch for batch, _ in self.batches if batch.topic == topic]

    def _list(self, _: Message, context: grpc.ServicerContext) -> Message:
        return appcallback_pb2.ListTopicSubscriptionsResponse(subscriptions=TOPICS)

    def _take(self, batch: Batch, context: grpc.ServicerContext) -> Message:
        self.batches.append((batch, metadata_of(context)))
        answer = Answer()
        for entry in batch.entries:
            status = self.status if batch.topic == "failing" else Status.SUCCESS
            answer.statuses.add(entry_id=entry.entry_id, status=status)
        return answer


@contextmanager
def running(
    tmp_path: Path, service: str = CALLBACK, method: str = "OnBulkTopicEvent"
) -> Iterator[tuple[BatchApp, HttpClient]]:
    served = BatchApp(tmp_path / "app", service, method)
    channel = {"protocol": "grpc", "address": f"unix:{tmp_path / 'app'}"}
    described = resources(PUBSUB, app("consumer", channel=channel, appToken="secret"))
    try:
        with running_daemon(described, {"consumer": "default"}) as daemon, http(daemon, "consumer") as client:
            eventually(lambda: subscribed(client) == len(TOPICS))
            yield served, client
    finally:
        served.stop()


def subscribed(client: HttpClient) -> int:
    listed = client("GET", "/v1.0/metadata").json
    assert isinstance(listed, dict)
    subscriptions = listed.get("subscriptions", [])
    assert isinstance(subscriptions, list)
    return len(subscriptions)


def publish(client: HttpClient, topic: str, value: object, query: str = "") -> None:
    assert client("POST", f"/v1.0/publish/pubsub/{topic}{query}", value).status == 204


@pytest.mark.parametrize(
    ("service", "method"), [(CALLBACK, "OnBulkTopicEvent"), (ALPHA, "OnBulkTopicEventAlpha1")], ids=["stable", "alpha"]
)
def test_a_batch(tmp_path: Path, service: str, method: str) -> None:
    """Full batches in one call; an app that knows only the older name is called by that. Raw payloads are bytes."""
    with running(tmp_path, service, method) as (served, client):
        publish(client, "orders", {"n": 1}, "?metadata.k=v")
        publish(client, "orders", {"n": 2})
        publish(client, "raw", "x", "?metadata.rawPayload=true")
        eventually(lambda: len(served.batches) == 2)

        (batch,), (raw,) = served.of_topic("orders"), served.of_topic("raw")
        assert (batch.type, batch.pubsub_name, batch.path) == ("com.dapr.event.sent.bulk", "pubsub", "")
        assert batch.id
        assert dict(batch.metadata) == {"pubsubName": "pubsub"}
        first, second = batch.entries
        assert (first.cloud_event.data, second.cloud_event.data) == (b'{"n": 1}', b'{"n": 2}')
        assert (dict(first.metadata), first.content_type) == ({"k": "v"}, "application/cloudevents+json")
        assert first.cloud_event.source == "consumer"
        assert first.cloud_event.extensions["topic"] == "orders"
        assert first.entry_id != second.entry_id
        assert (raw.entries[0].bytes, raw.entries[0].content_type) == (b'"x"', "application/octet-stream")
        metadata = served.batches[0][1]
        assert (metadata["pubsubname"], metadata["dapr-api-token"]) == ("pubsub", "secret")


@pytest.mark.parametrize("status", [Status.RETRY, Status.DROP, 7])
def test_an_entry_that_is_not_done(tmp_path: Path, status: int) -> None:
    """RETRY, DROP and what is no status send the entry to the dead letter topic where there is one."""
    with running(tmp_path) as (served, client):
        served.status = status  # type: ignore[assignment]
        publish(client, "failing", 1)
        eventually(lambda: len(served.of_topic("dead")) == 1)

        assert served.of_topic("dead")[0].entries[0].cloud_event.data == b"1"


IDS = ["a", "b"]


@pytest.mark.parametrize(
    ("answer", "outcomes"),
    [
        (GrpcAnswer(GrpcStatus(Grpc.UNIMPLEMENTED)), {"a": Outcome.DONE, "b": Outcome.DONE}),
        (GrpcAnswer(GrpcStatus(Grpc.UNAVAILABLE)), {}),
        (GrpcAnswer(GrpcStatus(Grpc.OK), b"\xff"), {}),
        (GrpcAnswer(GrpcStatus(Grpc.OK), b""), {}),
        (
            GrpcAnswer(GrpcStatus(Grpc.OK), Answer(statuses=[{"entry_id": "a"}]).SerializeToString()),  # type: ignore[list-item]
            {"a": Outcome.DONE},
        ),
    ],
)
def test_an_answer_to_a_batch(answer: GrpcAnswer, outcomes: dict[str, Outcome]) -> None:
    """An unset status is SUCCESS, an absent entry failed, and without the method everything is done with."""
    assert judge(answer, IDS) == outcomes
