"""Streaming subscriptions over gRPC: SubscribeTopicEventsAlpha1. The app needs no channel for these.

The first message asks, the (empty) first answer accepts; then events go out and verdicts come back by event id, many at
once. What is unsettled when the stream ends goes back to the broker. Events leave one after another, each once the
client has room for it, so a slow reader holds its credit and no memory beyond one event.
Source: dapr-api.md 2.2; daprd 1.18 pkg/api/grpc/subscribe.go, pkg/runtime/pubsub/streamer.
"""

import time
from collections import deque
from typing import ClassVar

from google.protobuf.message import DecodeError

from components.contract import Delivery, SubscribeRequest, Verdict
from noded import errors
from noded.api.pubsub import not_found
from noded.app import App, PubSubBinding
from noded.calls import GrpcCall, GrpcStream
from noded.config.records import RouteRule, SubscriptionSpec
from noded.errors import ApiError
from noded.proto.events_pb2 import TopicEventRequest, TopicEventResponse
from noded.proto.pubsub_pb2 import (
    SubscribeTopicEventsRequestAlpha1,
    SubscribeTopicEventsRequestInitialAlpha1,
    SubscribeTopicEventsResponseAlpha1,
    SubscribeTopicEventsResponseInitialAlpha1,
)
from noded.runtime import events
from noded.runtime.consumer import MAX_IN_FLIGHT
from noded.runtime.dead_letter import Outcome, conclude
from noded.runtime.deliver import is_raw, says_what_it_takes
from noded.runtime.deliveries import run
from noded.runtime.events import NotAnEvent, is_binary
from noded.runtime.reception import concluded, judged
from noded.runtime.subscription import LIMIT
from noded.runtime.subscriptions import Subscriptions
from noded.runtime.topic_event import binary_event, topic_event
from tenancy.admission import LimitExceeded
from tenancy.use import DROP, Reception

PATH = "/"
"""What a streamed event says its route is."""

_ACCEPTED = SubscribeTopicEventsResponseAlpha1(
    initial_response=SubscribeTopicEventsResponseInitialAlpha1()
).SerializeToString()
_OUTCOMES = {
    TopicEventResponse.SUCCESS: Outcome.DONE,
    TopicEventResponse.RETRY: Outcome.FAILED,
    TopicEventResponse.DROP: Outcome.DROPPED,
}


async def subscribe_topic_events(call: GrpcCall, stream: GrpcStream) -> None:
    """Serve one stream until the client ends it.

    Raises ApiError (bad first message, unknown pubsub, topic out of scope), LimitExceeded, ComponentError.
    """
    app = call.app
    spec, binding = _read_initial(app, await _receive(stream))
    subscriptions = app.subscriptions
    assert isinstance(subscriptions, Subscriptions), "an attached app has its subscriptions"
    refusal = app.tenant.gate.acquire(LIMIT)
    if refusal is not None:
        raise LimitExceeded(refusal)
    subscription = StreamSubscription(app, binding, spec, stream)
    try:
        handle = await binding.broker.subscribe(_request(app, binding, spec, subscription))
        subscriptions.stream_opened(subscription, spec)
        try:
            await stream.send(_ACCEPTED)
            subscription.start()
            await _serve(stream, subscription)
        finally:
            subscription.close()
            subscriptions.stream_closed(subscription)
            handle.close()
    finally:
        app.tenant.gate.free(LIMIT)


_Held = tuple[Delivery, float]
"""A delivery that the client has, and since when."""


class StreamSubscription:
    """A topic's consumer at the broker, for one stream."""

    __slots__ = (
        "_binding", "_deliveries", "_fit", "_held", "_outbox", "_raw", "_reception", "_sending", "_spec", "_stream",
        "_usage", "closed",
    )  # fmt: skip

    pausable: ClassVar[bool] = False

    def __init__(self, app: App, binding: PubSubBinding, spec: SubscriptionSpec, stream: GrpcStream) -> None:
        assert isinstance(app.subscriptions, Subscriptions)
        self._binding = binding
        self._spec = spec
        self._stream = stream
        self._raw = is_raw(spec)
        self._fit = says_what_it_takes(spec)
        self._deliveries = app.subscriptions.deliveries
        self._usage = app.tenant.usage
        self._reception = Reception(app.tenant.usage, spec.pubsub_name, spec.topic)
        self._outbox: deque[Delivery] = deque()  # bounded by MAX_IN_FLIGHT
        self._held: dict[str, deque[_Held]] = {}  # {event id: deliveries the client has, oldest first}
        self._sending = True  # until `start`: the acceptance goes first
        self.closed = False

    def __call__(self, delivery: Delivery) -> None:
        """Take a message from the broker."""
        self._deliveries.start(self, delivery)

    def begin(self, delivery: Delivery) -> None:
        """Put it in line to be sent."""
        self._outbox.append(delivery)
        if not self._sending:
            self.start()

    def start(self) -> None:
        """Send what is in line."""
        self._sending = True
        run(self._send())

    def answered(self, event_id: str, status: int) -> None:
        """Act on the client's verdict. One for an event it does not hold is ignored, as in daprd."""
        held = self._held.get(event_id)
        if held is None:
            return
        delivery, since = held.popleft()
        if not held:
            del self._held[event_id]
        outcome = _OUTCOMES.get(status, Outcome.FAILED)  # type: ignore[call-overload]
        judged(self._reception, outcome, since)
        self._settle(delivery, outcome)

    def close(self) -> None:
        """Send nothing more. The broker takes back what is unsettled when its handle is closed."""
        self.closed = True
        self._deliveries.forget(self)
        unsettled = len(self._outbox) + sum(map(len, self._held.values()))
        self._outbox.clear()
        self._held.clear()
        for _ in range(unsettled):
            self._deliveries.done()

    async def _send(self) -> None:
        """Send what is in line; what is no event, or past its time, is settled instead."""
        try:
            while self._outbox:
                delivery = self._outbox.popleft()
                try:
                    request = self._event(delivery)
                except NotAnEvent:
                    self._settle(delivery, Outcome.UNFIT)
                    continue
                if request is None:
                    self._reception.came_to(DROP, DROP, self._reception.time.now)
                    self._settle(delivery, Outcome.DROPPED)
                    continue
                self._held.setdefault(request.id, deque()).append((delivery, self._reception.time.now))
                self._usage.delivered += 1
                await self._stream.send(SubscribeTopicEventsResponseAlpha1(event_message=request).SerializeToString())
        finally:
            self._sending = False

    def _event(self, delivery: Delivery) -> TopicEventRequest | None:
        """What the client is to be sent; None: it is past its time. Raises NotAnEvent."""
        message, spec = delivery.message, self._spec
        if not self._fit:
            raise NotAnEvent("rawPayload of the subscription says neither yes nor no")
        if is_binary(message) and not self._raw:
            return binary_event(message, spec.topic, spec.pubsub_name)
        data = message.data
        if self._raw:
            data, _ = events.wrap_raw(message, spec.topic, spec.pubsub_name)
        elif events.read(message).has_expired(time.time()):
            return None
        return topic_event(data, spec.topic, spec.pubsub_name, PATH)

    def _settle(self, delivery: Delivery, outcome: Outcome) -> None:
        run(self._conclude(delivery, outcome))

    async def _conclude(self, delivery: Delivery, outcome: Outcome) -> None:
        verdict = Verdict.RETRY
        try:
            verdict = await conclude(outcome, self._binding, self._spec.dead_letter_topic, delivery.message)
            concluded(self._reception, outcome, verdict)
        finally:
            delivery.settle(verdict)
            self._deliveries.done()


async def _receive(stream: GrpcStream) -> SubscribeTopicEventsRequestAlpha1 | None:
    """The next message, or None when the client has ended its side. Raises ApiError for bytes that are no message."""
    data = await stream.receive()
    if data is None:
        return None
    try:
        return SubscribeTopicEventsRequestAlpha1.FromString(data)
    except DecodeError as error:
        text = f"grpc: failed to unmarshal the received message: {error}"
        raise errors.GRPC_UNREADABLE.error(text=text) from None


async def _serve(stream: GrpcStream, subscription: StreamSubscription) -> None:
    """Take verdicts until the client is done."""
    while (message := await _receive(stream)) is not None:
        if message.WhichOneof("subscribe_topic_events_request_type") != "event_processed":
            raise errors.PUBSUB_STREAM.error(problem="duplicate initial request received")
        subscription.answered(message.event_processed.id, message.event_processed.status.status)


def _read_initial(app: App, first: SubscribeTopicEventsRequestAlpha1 | None) -> tuple[SubscriptionSpec, PubSubBinding]:
    """Check what the client asks for."""
    if first is None or not first.HasField("initial_request"):
        raise errors.PUBSUB_STREAM.error(problem="initial request is required")
    asked = first.initial_request
    if not asked.pubsub_name:
        raise errors.PUBSUB_STREAM.error(problem="pubsubName is required")
    if not asked.topic:
        raise errors.PUBSUB_STREAM.error(problem="topic is required")
    binding = app.pubsub.get(asked.pubsub_name)
    if binding is None:
        raise not_found(asked.pubsub_name, {})
    if not binding.scopes.may_subscribe(asked.topic):
        raise _forbidden(asked)
    spec = SubscriptionSpec(
        asked.pubsub_name,
        asked.topic,
        (RouteRule("", PATH),),
        asked.dead_letter_topic,
        dict(asked.metadata),
    )
    return spec, binding


def _forbidden(asked: SubscribeTopicEventsRequestInitialAlpha1) -> ApiError:
    pubsub, topic = asked.pubsub_name, asked.topic
    what = f"subscription to topic '{topic}' on pubsub '{pubsub}' is not allowed"
    problem = f"failed to create subscription for {pubsub}: {what}"
    return errors.PUBSUB_STREAM.error(problem=problem)


def _request(
    app: App, binding: PubSubBinding, spec: SubscriptionSpec, consumer: StreamSubscription
) -> SubscribeRequest:
    return SubscribeRequest(
        topic=binding.names.topic(spec.topic),
        group=binding.names.group,
        consumer=consumer,
        max_in_flight=MAX_IN_FLIGHT,
        bounds=app.tenant.queue,
        metadata=spec.metadata,
    )
