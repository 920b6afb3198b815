"""Events to a gRPC app: one OnTopicEvent per message, its status judged, the message settled.

The twin of `deliver.py`: stepped in place, no task, its own credit at the broker. Source: dapr-api.md 2.4; daprd 1.18
pkg/runtime/subscription/postman/grpc.
"""

import time
from collections.abc import Mapping
from typing import ClassVar, Final

from google.protobuf.message import DecodeError

from components.contract import Delivery, Message, Verdict
from noded.app import App, PubSubBinding
from noded.calls import Header
from noded.channel_grpc import GrpcAnswer, GrpcChannel
from noded.config.records import SubscriptionSpec
from noded.errors import Grpc
from noded.proto.events_pb2 import TopicEventRequest, TopicEventResponse
from noded.runtime import events
from noded.runtime.dead_letter import Outcome, conclude
from noded.runtime.deliver import DELIVERY_SECONDS, PLACE_SECONDS, is_raw
from noded.runtime.deliveries import Deliveries, run
from noded.runtime.events import Event, NotAnEvent, is_binary
from noded.runtime.match import MatchFailed
from noded.runtime.reception import concluded, judged
from noded.runtime.routes import Routes
from noded.runtime.topic_event import binary_event, topic_event
from tenancy.accounting import CallUse
from tenancy.use import DROP, SUCCESS, Reception

ON_TOPIC_EVENT: Final = b"/dapr.proto.runtime.v1.AppCallback/OnTopicEvent"
OUTCOMES: Final[Mapping[int, Outcome]] = {
    TopicEventResponse.SUCCESS: Outcome.DONE,
    TopicEventResponse.RETRY: Outcome.FAILED,
    TopicEventResponse.DROP: Outcome.DROPPED,
}
"""What a TopicEventResponse's status means; one that is none of these fails the attempt."""


class GrpcSubscription:
    """One topic's consumer at the broker, for one gRPC app."""

    __slots__ = (
        "_binding",
        "_channel",
        "_deliveries",
        "_metadata",
        "_raw",
        "_reception",
        "_routes",
        "_spec",
        "_usage",
        "closed",
    )

    pausable: ClassVar[bool] = True

    def __init__(self, app: App, binding: PubSubBinding, spec: SubscriptionSpec, deliveries: Deliveries) -> None:
        assert app.grpc_channel is not None, "an app without a gRPC channel has no gRPC subscription"
        self._binding = binding
        self._channel: GrpcChannel = app.grpc_channel
        self._spec = spec
        self._deliveries = deliveries
        self._usage = app.tenant.usage
        self._reception = Reception(app.tenant.usage, spec.pubsub_name, spec.topic, ON_TOPIC_EVENT.decode())
        self._raw = is_raw(spec)
        self._routes = Routes(spec.rules, str.encode)
        self._metadata = _metadata(spec.pubsub_name, app.spec.app_token)
        self.closed = False

    def __call__(self, delivery: Delivery) -> None:
        """Take a message from the broker."""
        self._deliveries.start(self, delivery)

    def begin(self, delivery: Delivery) -> None:
        """Send it to the app."""
        run(self._deliver(delivery))

    def close(self) -> None:
        """Begin no more deliveries; those under way go on, though the broker no longer listens."""
        self.closed = True
        self._deliveries.forget(self)

    async def _deliver(self, delivery: Delivery) -> None:
        verdict = Verdict.RETRY
        try:
            outcome = await self._attempt(delivery.message)
            verdict = await conclude(outcome, self._binding, self._spec.dead_letter_topic, delivery.message)
            concluded(self._reception, outcome, verdict)
        finally:
            delivery.settle(verdict)
            self._deliveries.done()

    async def _attempt(self, message: Message) -> Outcome:
        """Give the app one message. Bytes that are no event, and events past their time, never reach it."""
        try:
            data, event = self._read(message)
            path = self._routes.choose(event, message, data)
            if path is None or (event.expiration is not None and event.has_expired(time.time())):
                self._reception.came_to(DROP, SUCCESS if path is None else DROP, self._reception.time.now)
                return Outcome.DROPPED
            request = self._request(message, data, path.decode())
        except (NotAnEvent, MatchFailed):
            return Outcome.UNFIT
        self._usage.delivered += 1
        metadata = (*self._metadata, *event.trace_headers(), *events.metadata_headers(message.metadata))
        payload = request.SerializeToString()
        since = self._reception.time.now
        answer = await self._channel.call(ON_TOPIC_EVENT, payload, metadata, DELIVERY_SECONDS, PLACE_SECONDS)
        outcome = judge(answer)
        self._count(answer, outcome, len(payload), since)
        return outcome

    def _count(self, answer: GrpcAnswer, outcome: Outcome, sent: int, since: float) -> None:
        received = len(answer.message)
        if outcome is Outcome.DONE and answer.status.code == Grpc.OK:
            self._reception.taken(sent, received, since)
            return
        self._reception.called(CallUse(ON_TOPIC_EVENT, answer.status.code), sent, received, since)
        judged(self._reception, outcome, since)

    def _read(self, message: Message) -> tuple[bytes, Event]:
        if self._raw:
            return events.wrap_raw(message, self._spec.topic, self._spec.pubsub_name)
        return message.data, events.read(message)

    def _request(self, message: Message, data: bytes, path: str) -> TopicEventRequest:
        spec = self._spec
        if is_binary(message) and not self._raw:
            request = binary_event(message, spec.topic, spec.pubsub_name)
            request.path = path
            return request
        return topic_event(data, spec.topic, spec.pubsub_name, path)


def judge(answer: GrpcAnswer) -> Outcome:
    """Read an app's answer to an event. An app without OnTopicEvent wants none: the event is done with."""
    if answer.status.code == Grpc.UNIMPLEMENTED:
        return Outcome.DONE
    if answer.status.code != Grpc.OK:
        return Outcome.FAILED
    try:
        status = TopicEventResponse.FromString(answer.message).status
    except DecodeError:
        return Outcome.FAILED
    return OUTCOMES.get(status, Outcome.FAILED)


def _metadata(pubsub_name: str, app_token: str | None) -> tuple[Header, ...]:
    metadata = ((b"pubsubname", pubsub_name.encode()),)
    return metadata if app_token is None else (*metadata, (b"dapr-api-token", app_token.encode()))
