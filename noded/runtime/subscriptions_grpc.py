"""Which topics a gRPC app is subscribed to: its answer to ListTopicSubscriptions.

Source: dapr-api.md 2.4; daprd 1.18 pkg/runtime/pubsub/subscriptions.go GetSubscriptionsGRPC.
"""

from typing import Final

from google.protobuf.message import DecodeError

from noded.app import App
from noded.channel_grpc import GrpcAnswer, GrpcChannel
from noded.config.records import BulkSubscribe, RouteRule, SubscriptionSpec
from noded.errors import Grpc
from noded.proto.appcallback_pb2 import BulkSubscribeConfig, ListTopicSubscriptionsResponse, TopicSubscription
from noded.runtime.asked import NotListed, ask_grpc

LIST_TOPIC_SUBSCRIPTIONS: Final = b"/dapr.proto.runtime.v1.AppCallback/ListTopicSubscriptions"


async def ask(app: App, channel: GrpcChannel, timeout_seconds: float) -> tuple[SubscriptionSpec, ...]:
    """Ask the app once, without its token, as daprd does. Awaits a Completion only. Raises NotListed."""
    return read(await ask_grpc(app.tenant.usage, channel, LIST_TOPIC_SUBSCRIPTIONS, timeout_seconds))


def read(answer: GrpcAnswer) -> tuple[SubscriptionSpec, ...]:
    """Read an answer; UNIMPLEMENTED says that there are none. Raises NotListed."""
    status = answer.status
    if status.code == Grpc.UNIMPLEMENTED:
        return ()
    if status.code != Grpc.OK:
        raise NotListed(f"the app answered status {status.code}: {status.message}")
    try:
        listed = ListTopicSubscriptionsResponse.FromString(answer.message)
    except DecodeError as error:
        raise NotListed(str(error)) from None
    return tuple(_spec(each) for each in listed.subscriptions)


def _spec(listed: TopicSubscription) -> SubscriptionSpec:
    return SubscriptionSpec(
        pubsub_name=listed.pubsub_name,
        topic=listed.topic,
        rules=_rules(listed),
        dead_letter_topic=listed.dead_letter_topic,
        metadata=dict(listed.metadata),
        bulk=_bulk(listed.bulk_subscribe),
    )


def _rules(listed: TopicSubscription) -> tuple[RouteRule, ...]:
    """An app that names no routes gets every event, under the path ""."""
    rules = [RouteRule(rule.match, rule.path) for rule in listed.routes.rules]
    if listed.routes.default or not rules:
        rules.append(RouteRule("", listed.routes.default))
    return tuple(rules)


def _bulk(bulk: BulkSubscribeConfig) -> BulkSubscribe:
    unset = BulkSubscribe()
    return BulkSubscribe(
        bulk.enabled,
        bulk.max_messages_count or unset.max_messages_count,
        bulk.max_await_duration_ms or unset.max_await_duration_ms,
    )
