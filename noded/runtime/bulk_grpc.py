"""A batch of messages to a gRPC app: OnBulkTopicEvent, or OnBulkTopicEventAlpha1 for an app that has only that.

Statuses mean what they do for one event, and an entry without one succeeded (the opposite of HTTP); an entry that the
answer leaves out failed. Source: dapr-api.md 2.4; daprd 1.18 pkg/runtime/subscription/postman/grpc DeliverBulk.
"""

from collections.abc import Sequence
from typing import Final
from uuid import uuid4

from google.protobuf.message import DecodeError

from noded.api.cloudevents import CLOUDEVENTS_JSON, OCTET_STREAM
from noded.app import App
from noded.calls import Header
from noded.channel_grpc import GrpcAnswer, GrpcChannel
from noded.config.records import SubscriptionSpec
from noded.errors import Grpc
from noded.proto.events_pb2 import (
    TopicEventBulkRequest,
    TopicEventBulkRequestEntry,
    TopicEventBulkResponse,
    TopicEventCERequest,
)
from noded.runtime.bulk import EVENT_TYPE, BulkEntry, trace_headers
from noded.runtime.dead_letter import Outcome
from noded.runtime.deliver import DELIVERY_SECONDS, PLACE_SECONDS, is_raw
from noded.runtime.deliver_grpc import OUTCOMES
from noded.runtime.events import NotAnEvent
from noded.runtime.topic_event import topic_event
from tenancy.accounting import CallUse
from tenancy.use import Reception

ON_BULK_TOPIC_EVENT: Final = b"/dapr.proto.runtime.v1.AppCallback/OnBulkTopicEvent"
ON_BULK_TOPIC_EVENT_ALPHA1: Final = b"/dapr.proto.runtime.v1.AppCallbackAlpha/OnBulkTopicEventAlpha1"


class GrpcBulkCall:
    """Sends the batches of one subscription (`noded.runtime.bulk.BulkCall`)."""

    __slots__ = ("_channel", "_metadata", "_raw", "_reception", "_spec")

    def __init__(self, app: App, spec: SubscriptionSpec) -> None:
        assert app.grpc_channel is not None, "an app without a gRPC channel has no gRPC subscription"
        self._channel: GrpcChannel = app.grpc_channel
        self._spec = spec
        self._raw = is_raw(spec)
        self._reception = Reception(app.tenant.usage, spec.pubsub_name, spec.topic)
        self._metadata: tuple[Header, ...] = ((b"pubsubname", spec.pubsub_name.encode()),)
        if app.spec.app_token is not None:
            self._metadata += ((b"dapr-api-token", app.spec.app_token.encode()),)

    async def __call__(self, target: bytes, entries: Sequence[BulkEntry]) -> Sequence[Outcome]:
        """Send a batch and read the answer. An entry that cannot be told as an event is not sent."""
        told = {entry.entry_id: item for entry in entries if (item := self._item(entry)) is not None}
        statuses = await self._send(target, entries, tuple(told.values())) if told else {}
        return [
            statuses.get(entry.entry_id, Outcome.FAILED) if entry.entry_id in told else Outcome.UNFIT
            for entry in entries
        ]

    async def _send(
        self, target: bytes, entries: Sequence[BulkEntry], items: Sequence[TopicEventBulkRequestEntry]
    ) -> dict[str, Outcome]:
        spec = self._spec
        request = TopicEventBulkRequest(
            id=str(uuid4()),
            entries=items,
            metadata={"pubsubName": spec.pubsub_name},
            topic=spec.topic,
            pubsub_name=spec.pubsub_name,
            type=EVENT_TYPE,
            path=target.decode(),
        )
        payload = request.SerializeToString()
        metadata = self._metadata + trace_headers(entries)
        answer = await self._called(ON_BULK_TOPIC_EVENT, payload, metadata)
        if answer.status.code == Grpc.UNIMPLEMENTED:
            answer = await self._called(ON_BULK_TOPIC_EVENT_ALPHA1, payload, metadata)
        return judge(answer, [item.entry_id for item in items])

    async def _called(self, path: bytes, payload: bytes, metadata: tuple[Header, ...]) -> GrpcAnswer:
        since = self._reception.time.now
        answer = await self._channel.call(path, payload, metadata, DELIVERY_SECONDS, PLACE_SECONDS)
        self._reception.called(CallUse(path, answer.status.code), len(payload), len(answer.message), since)
        return answer

    def _item(self, entry: BulkEntry) -> TopicEventBulkRequestEntry | None:
        message, spec = entry.message, self._spec
        item = TopicEventBulkRequestEntry(
            entry_id=entry.entry_id, content_type=message.content_type, metadata=message.metadata
        )
        if self._raw:
            item.bytes = message.data
            item.content_type = OCTET_STREAM if message.content_type == CLOUDEVENTS_JSON else message.content_type
            return item
        try:
            event = topic_event(entry.body, spec.topic, spec.pubsub_name, "")
        except NotAnEvent:
            return None
        item.cloud_event.CopyFrom(
            TopicEventCERequest(
                id=event.id,
                source=event.source,
                type=event.type,
                spec_version=event.spec_version,
                data_content_type=event.data_content_type,
                data=event.data,
                extensions=event.extensions,
            )
        )
        return item


def judge(answer: GrpcAnswer, entry_ids: Sequence[str]) -> dict[str, Outcome]:
    """Read an app's answer: {entry id: what became of it}; one that is not in it failed.

    An app that has neither method wants no batches: they are done with.
    """
    if answer.status.code == Grpc.UNIMPLEMENTED:
        return dict.fromkeys(entry_ids, Outcome.DONE)
    if answer.status.code != Grpc.OK:
        return {}
    try:
        statuses = TopicEventBulkResponse.FromString(answer.message).statuses
    except DecodeError:
        return {}
    return {each.entry_id: OUTCOMES.get(each.status, Outcome.FAILED) for each in statuses}
