"""Which kind of consumer a subscription is: by what the app speaks, and whether it takes batches."""

from typing import Protocol

from components.contract import Delivery
from noded.app import App, PubSubBinding
from noded.config.records import SubscriptionSpec
from noded.runtime.bulk import BulkSubscription, messages_in_flight
from noded.runtime.bulk_http import HttpBulkCall
from noded.runtime.deliver import HttpSubscription, says_what_it_takes
from noded.runtime.deliveries import Deliveries
from noded.runtime.routes import Routes
from noded.runtime.unfit import UnfitSubscription

MAX_IN_FLIGHT = 64
"""Messages of one subscription with the app at one moment (Dapr's redis: 10 workers; JetStream: 1000)."""


class TopicConsumer(Protocol):
    """A topic's consumer at the broker."""

    def __call__(self, delivery: Delivery) -> None:
        """Take a message from the broker."""

    def close(self) -> None:
        """Begin no more deliveries."""


def make_consumer(
    app: App, binding: PubSubBinding, spec: SubscriptionSpec, deliveries: Deliveries
) -> tuple[TopicConsumer, int]:
    """Make the consumer, and say how many messages the broker may lend it at one moment.

    Raises BadMatch: a routing rule cannot be used.
    """
    if not says_what_it_takes(spec):
        return UnfitSubscription(app, binding, spec, deliveries), MAX_IN_FLIGHT
    if app.grpc_channel is not None:
        return _make_grpc(app, binding, spec, deliveries)
    if spec.bulk.enabled:
        batches = BulkSubscription(app, binding, spec, deliveries, Routes(spec.rules), HttpBulkCall(app, spec))
        return batches, messages_in_flight(spec)
    return HttpSubscription(app, binding, spec, deliveries), MAX_IN_FLIGHT


def _make_grpc(
    app: App, binding: PubSubBinding, spec: SubscriptionSpec, deliveries: Deliveries
) -> tuple[TopicConsumer, int]:
    from noded.runtime.bulk_grpc import GrpcBulkCall  # noqa: PLC0415 - protobuf is for apps that speak it
    from noded.runtime.deliver_grpc import GrpcSubscription  # noqa: PLC0415

    if spec.bulk.enabled:
        routes = Routes(spec.rules, str.encode)
        batches = BulkSubscription(app, binding, spec, deliveries, routes, GrpcBulkCall(app, spec))
        return batches, messages_in_flight(spec)
    return GrpcSubscription(app, binding, spec, deliveries), MAX_IN_FLIGHT
