"""Which topics an app is subscribed to: what resources declare, and what the app answers at /dapr/subscribe.

Source: dapr-api.md 1.5; daprd 1.18 pkg/runtime/pubsub/subscriptions.go. Field names are read in any case and null is
an absent field, as Go's decoder has it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import msgspec
from msgspec import Struct

from noded.api.lenient_json import decoded
from noded.config.records import BulkSubscribe, RouteRule, SubscriptionSpec


class Kind(StrEnum):
    """Where a subscription came from, in the words of Dapr's metadata API."""

    DECLARATIVE = "DECLARATIVE"
    PROGRAMMATIC = "PROGRAMMATIC"
    STREAMING = "STREAMING"


class MalformedSubscriptions(ValueError):
    """The app's answer is no list of subscriptions; the message says where."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A subscription that should be open."""

    spec: SubscriptionSpec
    kind: Kind


Key = tuple[str, str]
"""Pub/sub component and topic: an app has one subscription of each, streaming ones aside."""


def wanted(
    declared: Iterable[SubscriptionSpec], answered: Iterable[SubscriptionSpec], namespace: str, app_id: str
) -> dict[Key, Wanted]:
    """Decide what should be open for an app. What it answers itself replaces what is declared; the last one wins."""
    chosen: dict[Key, Wanted] = {}
    for spec in declared:
        if spec.namespace in (None, namespace) and (not spec.scopes or app_id in spec.scopes) and spec.rules:
            chosen[spec.pubsub_name, spec.topic] = Wanted(spec, Kind.DECLARATIVE)
    for spec in answered:
        chosen[spec.pubsub_name, spec.topic] = Wanted(spec, Kind.PROGRAMMATIC)
    return chosen


def parse(body: bytes) -> tuple[SubscriptionSpec, ...]:
    """Read the answer to GET /dapr/subscribe. An empty body is an empty list; an item without a route is left out.

    Raises MalformedSubscriptions: the app must answer a JSON array of subscriptions.
    """
    if not body.strip():
        return ()
    try:
        items = msgspec.convert(_lower(decoded(msgspec.json.decode, body)) or [], list[_Item])
    except (msgspec.DecodeError, RecursionError) as error:
        raise MalformedSubscriptions(str(error)) from None
    return tuple(spec for item in items if (spec := _spec(item)).rules)


def describe(spec: SubscriptionSpec, kind: Kind) -> dict[str, object]:
    """A subscription as /v1.0/metadata lists it; empty metadata and rules are left out, as in daprd."""
    listed: dict[str, object] = {"pubsubname": spec.pubsub_name, "topic": spec.topic}
    if spec.metadata:
        listed["metadata"] = dict(spec.metadata)
    if spec.rules:
        listed["rules"] = [_rule(rule) for rule in spec.rules]
    return listed | {"deadLetterTopic": spec.dead_letter_topic, "type": kind.value}


class _Rule(Struct, frozen=True):
    match: str = ""
    path: str = ""


class _Routes(Struct, frozen=True):
    rules: list[_Rule] = []
    default: str = ""


class _Bulk(Struct, frozen=True):
    enabled: bool = False
    maxmessagescount: int = 0
    maxawaitdurationms: int = 0


class _Item(Struct):
    pubsubname: str = ""
    topic: str = ""
    deadlettertopic: str = ""
    metadata: dict[str, str] = {}
    route: str = ""
    routes: _Routes = _Routes()
    bulksubscribe: _Bulk = _Bulk()


def _spec(item: _Item) -> SubscriptionSpec:
    rules = [RouteRule(rule.match, rule.path) for rule in item.routes.rules]
    default = item.routes.default or item.route
    if default:
        rules.append(RouteRule("", default))
    return SubscriptionSpec(
        pubsub_name=item.pubsubname,
        topic=item.topic,
        rules=tuple(rules),
        dead_letter_topic=item.deadlettertopic,
        metadata=item.metadata,
        bulk=_bulk(item.bulksubscribe),
    )


def _bulk(bulk: _Bulk) -> BulkSubscribe:
    unset = BulkSubscribe()
    return BulkSubscribe(
        bulk.enabled,
        bulk.maxmessagescount or unset.max_messages_count,
        bulk.maxawaitdurationms or unset.max_await_duration_ms,
    )


def _rule(rule: RouteRule) -> Mapping[str, str]:
    return {"match": rule.match, "path": rule.path} if rule.match else {"path": rule.path}


def _lower(value: object, *, names: bool = True) -> object:
    """Lower the names of fields and leave out nulls; the names inside `metadata` are the app's own."""
    if isinstance(value, dict):
        return {
            (name.lower() if names else name): _lower(item, names=name.lower() != "metadata")
            for name, item in value.items()
            if item is not None
        }
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_lower(item) for item in value if item is not None]
    return value
