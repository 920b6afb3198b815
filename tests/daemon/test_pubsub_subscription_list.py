"""What an app may answer at /dapr/subscribe, and which subscriptions follow."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noded.config.records import BulkSubscribe, RouteRule, SubscriptionSpec
from noded.runtime.subscription_list import Kind, MalformedSubscriptions, describe, parse, wanted

ORDERS = SubscriptionSpec("pubsub", "orders", (RouteRule("", "/orders"),))


@pytest.mark.parametrize("body", [b"", b" \n", b"[]", b"null", b"[null]"])
def test_nothing_is_an_empty_list(body: bytes) -> None:
    """An app without subscriptions may say so in any of these ways."""
    assert parse(body) == ()


@pytest.mark.parametrize("body", [b"{}x", b"{", b'"x"', b'{"topic":"t"}', b"[1]", b'[{"topic":5}]', b"[" * 100_000])
def test_what_is_no_list_of_subscriptions_is_refused(body: bytes) -> None:
    """Anything else is an error of the app, and no subscription follows."""
    with pytest.raises(MalformedSubscriptions):
        parse(body)


@given(st.binary())
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    """Nothing else can happen."""
    try:
        parse(body)
    except MalformedSubscriptions:
        return


@pytest.mark.parametrize(
    ("item", "rules"),
    [
        ({"route": "/a"}, [("", "/a")]),
        ({"routes": {"default": "/d"}}, [("", "/d")]),
        ({"route": "/a", "routes": {"default": "/d"}}, [("", "/d")]),
        ({"routes": {"rules": [{"match": "m", "path": "/m"}]}}, [("m", "/m")]),
        ({"routes": {"rules": [{"match": "m", "path": "/m"}, {"path": "/all"}], "default": "/d"}},
         [("m", "/m"), ("", "/all"), ("", "/d")]),
        ({"route": "/a", "routes": {"rules": [{"match": "m", "path": "/m"}]}}, [("m", "/m"), ("", "/a")]),
        ({"route": "/a", "routes": None}, [("", "/a")]),
    ],
)  # fmt: skip
def test_rules_come_in_order_and_the_default_last(item: dict[str, object], rules: list[tuple[str, str]]) -> None:
    """`routes.default` beats `route`; either follows the rules."""
    (spec,) = parse(json.dumps([{"pubsubname": "pubsub", "topic": "t", **item}]).encode())

    assert [(rule.match, rule.path) for rule in spec.rules] == rules


def test_an_item_without_any_route_is_left_out() -> None:
    """It could never be delivered; the others stand."""
    items = [{"pubsubname": "pubsub", "topic": "lost"}, {"pubsubname": "pubsub", "topic": "orders", "route": "/orders"}]

    assert parse(json.dumps(items).encode()) == (ORDERS,)


def test_field_names_are_read_in_any_case_but_metadata_is_the_app_s() -> None:
    """SDKs spell pubsubName and the like in their own ways; names inside metadata are kept."""
    items = [
        {
            "pubsubName": "pubsub",
            "Topic": "t",
            "ROUTE": "/t",
            "DeadLetterTopic": "dead",
            "metadata": {"rawPayload": "true"},
            "bulkSubscribe": {"enabled": True, "maxMessagesCount": 5},
        }
    ]
    (spec,) = parse(json.dumps(items).encode())

    assert (spec.pubsub_name, spec.topic, spec.dead_letter_topic) == ("pubsub", "t", "dead")
    assert dict(spec.metadata) == {"rawPayload": "true"}
    assert spec.bulk == BulkSubscribe(enabled=True, max_messages_count=5)


def test_the_last_of_equal_subscriptions_counts() -> None:
    """Same pubsub and topic: a later answer beats an earlier one, any answer beats what is declared."""
    earlier, later = (SubscriptionSpec("pubsub", "orders", (RouteRule("", path),)) for path in ("/1", "/2"))

    (chosen,) = wanted([ORDERS], [earlier, later], "default", "app").values()
    assert (chosen.spec, chosen.kind) == (later, Kind.PROGRAMMATIC)


def test_metadata_lists_a_subscription_as_daprd_does() -> None:
    """Empty metadata is left out, and so is a rule's empty match."""
    spec = SubscriptionSpec("pubsub", "t", (RouteRule("m", "/m"), RouteRule("", "/d")), "dead", {"rawPayload": "true"})

    assert describe(spec, Kind.DECLARATIVE) == {
        "pubsubname": "pubsub",
        "topic": "t",
        "metadata": {"rawPayload": "true"},
        "rules": [{"match": "m", "path": "/m"}, {"path": "/d"}],
        "deadLetterTopic": "dead",
        "type": "DECLARATIVE",
    }
