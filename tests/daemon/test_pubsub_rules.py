"""Routing rules: what an expression sees, which rule wins, what a failing rule means, and what one may cost."""

import json
import logging
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from components.contract import Message
from noded.config.records import RouteRule
from noded.runtime import events
from noded.runtime.match import BadMatch, MatchFailed, check_match
from noded.runtime.match_cost import MAX_CHARACTERS, cost_of
from noded.runtime.routes import MAX_EVENT_BYTES, MAX_RULES, Routes
from tests.daemon.pubsub_node import PubSubNode, eventually, idle, retried, with_node

DEAD: Mapping[str, object] = {"pubsubname": "pubsub", "topic": "dead", "route": "/dead"}


def routed(*rules: tuple[str, str], default: str = "", dead_letter_topic: str = "") -> Mapping[str, object]:
    """A subscription as an app answers it."""
    routes = {"rules": [{"match": match, "path": path} for match, path in rules], "default": default}
    return {"pubsubname": "pubsub", "topic": "orders", "routes": routes, "deadLetterTopic": dead_letter_topic}


def chosen(rules: Sequence[tuple[str, str]], event: Mapping[str, object] | bytes, **message: object) -> bytes | None:
    """Where rules send an event."""
    body = event if isinstance(event, bytes) else json.dumps(event).encode()
    carried = Message(body, **message)  # type: ignore[arg-type]
    return Routes([RouteRule(match, path) for match, path in rules]).choose(events.read(carried), carried, body)


EVENT = {
    "id": "1",
    "type": "order.created",
    "source": "shop",
    "myextension": "x",
    "data": {"size": 12, "name": "café", "none": None, "big": 9007199254740993, "items": [{"sku": "a"}, {"sku": "b"}]},
}


@pytest.mark.parametrize(
    "match",
    [
        'event.type == "order.created"',
        "event['type'] == 'order.created'",
        'event.type.startsWith("order.") && event.source in ["shop", "web"]',
        'event.myextension == "x"',
        "event.data.size > 10",
        "event.data.size == 12",
        "event.data.size > 11.5",
        'event.data["size"] >= 12u',
        'event.data.name == "café" || event.missing == 1',
        "event.data.none == null",
        "has(event.data.size) && !has(event.data.other)",
        'event.data.items.exists(item, item.sku == "b")',
        "event.data.items.all(item, size(item.sku) == 1)",
        "event.data.items.exists_one(i, i.sku == 'a')",
        'event.data.name.matches("^ca.+$")',
        'matches(event.type, "order")',
        'event.data.size > 1000 ? false : event.id == "1"',
        "size(event) > 4",
        ".event.id == '1'",
        "// a comment\nevent.data.size\n  > 1",
    ],
)
def test_an_expression_that_matches(match: str) -> None:
    """CEL over `event`: every attribute of the CloudEvent, and its data as decoded JSON."""
    assert chosen([(match, "/yes"), ("", "/no")], EVENT) == b"/yes"


@pytest.mark.parametrize("match", ["false", 'event.type == "other"', "event.data.size < 10", "has(event.subject)"])
def test_an_expression_that_does_not_match(match: str) -> None:
    """The event goes on to the next rule."""
    assert chosen([(match, "/yes"), ("", "/no")], EVENT) == b"/no"


def test_the_first_rule_that_matches_wins() -> None:
    """Rules are tried in order; the default comes after them all."""
    rules = [
        ("event.data.size > 100", "/large"),
        ("event.data.size > 10", "/medium"),
        ("event.data.size > 1", "/small"),
    ]

    assert chosen([*rules, ("", "/none")], {"data": {"size": 50}}) == b"/medium"
    assert chosen([*rules, ("", "/none")], {"data": {"size": 0}}) == b"/none"
    assert chosen(rules, {"data": {"size": 0}}) is None


@pytest.mark.parametrize(
    "match",
    [
        "event.missing == 1",
        "event.data.size.deeper == 1",
        "event.data.name > 5",
        "event.data.size",
        "event.data.name",
        '"text"',
        "1 / 0 == 1",
        'event.data.name.matches("(")',
        "event.data.size + 1 == 13",  # a double and an int: JSON numbers are doubles in daprd too
    ],
)
def test_an_expression_that_fails(match: str) -> None:
    """An error, or a value that is no truth value, ends the search: later rules and the default are not tried."""
    with pytest.raises(MatchFailed):
        chosen([(match, "/yes"), ("", "/default")], EVENT)


@pytest.mark.parametrize(
    "text", ["event.type ==", "foo(event)", "nosuch == 1", '"a" + 1 == 2', "event..type", "a" * 2000]
)
def test_an_expression_that_cannot_be_used(text: str) -> None:
    """What does not compile is told when it is written, not when an event comes."""
    with pytest.raises(BadMatch):
        check_match(text)


def test_a_bad_expression_is_told_with_its_place() -> None:
    """Line and column of the expression, and what stands there, on one line."""
    with pytest.raises(BadMatch, match=r"^1:14: Syntax error: ") as refused:
        check_match("event.type ==")

    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("event.data.i.all(x, x.all(y, y == 1.0))", "inside another"),
        ("event.data.i.exists(x, x in event.data.i)", "again for each element"),
        ("event.data.i.all(x, .event.data == x)", "again for each element"),
        ("event.data.i.map(x, x + 1.0).size() == 1", "makes a list"),
        ("event.data.i.filter(x, x > 1.0).size() == 1", "makes a list"),
        ("event.data.s.matches(event.data.pattern)", "not a literal"),
        ('event.data.s.matches("a" + "b")', "not a literal"),
        ("matches('a', event.type)", "not a literal"),
    ],
)
def test_an_expression_without_a_bound(text: str, problem: str) -> None:
    """What could cost the square of an event's size, or a regular expression of unknown size, is refused."""
    with pytest.raises(BadMatch, match=problem):
        check_match(text)


@pytest.mark.parametrize(
    "text",
    [
        "event.data.i.all(x, x.event == 1.0)",
        "event.data.i.all(x, x.all == 1.0)",
        "event.data.i.all(x, x == 'event')",
        "event.data.i.all(x, x > 1.0) && event.data.j.exists(y, y == 1.0)",
        'event.data.s.matches("a,(b)")',
    ],
)
def test_an_expression_with_a_bound(text: str) -> None:
    """One loop after another, members of those names, and literals are no reason to refuse."""
    assert check_match(text) == text


@pytest.mark.parametrize(
    ("text", "attributes"),
    [
        ('event.type == "a" && event.source == "event.data"', {"type", "source"}),
        ("has(event.data.size)", {"data"}),
        ('event["type"] == "a"', None),
        ("size(event) == 1", None),
        (".event.type == 'a'", {"type"}),
        ("event.exists(k, k == 'a')", None),
        ("event.data.event.type == 'a'", {"data"}),
        ("true // event", set()),
    ],
)
def test_what_an_expression_looks_at(text: str, attributes: set[str] | None) -> None:
    """Only attributes that an expression names are decoded; one that uses the event as a whole gets all of it."""
    assert cost_of(text).attributes == attributes


def test_repetition_weighs() -> None:
    """A counted repetition costs as if it were written out."""
    plain, repeated = cost_of("event.s.matches('(.?)')").weight, cost_of("event.s.matches('(.?){1000}')").weight

    assert repeated > 100 * plain


def test_a_large_event_is_not_decoded_for_its_attributes() -> None:
    """Size counts only where rules look: a large payload is routed by type, and has no route by its data."""
    large = {"type": "a", "data": "x" * (MAX_EVENT_BYTES + 1)}

    assert chosen([('event.type == "a"', "/a")], large) == b"/a"
    with pytest.raises(MatchFailed, match="larger than"):
        chosen([('event.data == "a"', "/a"), ("", "/other")], large)


def test_heavy_rules_take_smaller_events() -> None:
    """Event bytes times the weight of the rules is bounded."""
    event = {"data": "x" * (MAX_EVENT_BYTES // 2)}
    heavy = [(f"event.data == {'y' * 900!r}", "/a")] * 2

    assert chosen([("event.data == 'y'", "/a"), ("", "/other")], event) == b"/other"
    with pytest.raises(MatchFailed, match="larger than"):
        chosen([*heavy, ("", "/other")], event)
    assert len(heavy[0][0]) < MAX_CHARACTERS


@pytest.mark.parametrize("depth", [100, 900, 100_000])
def test_deep_data_is_no_danger(depth: int) -> None:
    """Data nested beyond what a decoder takes is an event that the rule fails on, or one that it can read."""
    event = b'{"type":"a","data":%b1%b}' % (b"[" * depth, b"]" * depth)

    with suppress(MatchFailed):
        assert chosen([("event.data == 1.0", "/yes"), ("", "/no")], event) == b"/no"


def test_attributes_in_metadata() -> None:
    """An event in binary mode has its attributes in `ce_*` metadata, and bytes for data."""
    rules = [('event.type == "a" && event.data == b"abc"', "/a"), ("", "/other")]
    metadata = {"ce_type": "a", "CE_Source": "s"}

    assert chosen(rules, b"abc", metadata=metadata, content_type="application/octet-stream") == b"/a"


def test_the_trace_of_metadata_is_seen() -> None:
    """The broker's metadata stands in for trace attributes that the event lacks."""
    rules = [('event.traceid == "t" && event.tracestate == "s"', "/a")]

    assert chosen(rules, {"id": "1"}, metadata={"traceid": "t", "tracestate": "s"}) == b"/a"


def test_too_many_rules() -> None:
    """A subscription has at most MAX_RULES rules."""
    with pytest.raises(BadMatch, match=f"allowed: {MAX_RULES}"):
        Routes([RouteRule("true", "/a")] * (MAX_RULES + 1))


def test_cel_is_loaded_for_rules_only() -> None:
    """A daemon without rules never pays for the evaluator."""
    program = """
import sys
import noded.daemon
from noded.config.records import RouteRule
from noded.runtime.routes import Routes
Routes([RouteRule("", "/a")])
assert "cel_expr_python" not in sys.modules
Routes([RouteRule("true", "/a")])
assert "cel_expr_python" in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_events_go_where_their_rules_say(tmp_path: Path) -> None:
    """An app's rules are compiled once, when it is subscribed, and each event is posted to one path."""

    async def scenario(node: PubSubNode) -> None:
        app = await node.attach("app", routed(("event.data.size > 10", "/large"), default="/small"))
        await app.subscribed()
        await app.publish("orders", b'{"size":11}')
        await app.publish("orders", b'{"size":1}')
        await app.server.wait_for(2)

        assert {event.path: event.json["data"] for event in app.server.events} == {
            "/large": {"size": 11},
            "/small": {"size": 1},
        }

    with_node(tmp_path, scenario)


@pytest.mark.parametrize("match", ["false", "event.missing == 1"])
def test_an_event_without_a_route(tmp_path: Path, match: str) -> None:
    """It goes to the dead letter topic where there is one; the app is not called for it."""

    async def scenario(node: PubSubNode) -> None:
        app = await node.attach("app", routed((match, "/never"), dead_letter_topic="dead"), DEAD)
        await app.subscribed(2)
        await app.publish("orders", b"1")
        (event,) = await app.server.wait_for(1)
        await idle(app)

        assert (event.path, len(app.server.events)) == ("/dead", 1)

    with_node(tmp_path, scenario)


def test_an_event_without_a_route_or_a_dead_letter_topic(tmp_path: Path) -> None:
    """It is acknowledged: it holds no room and does not come again."""

    async def scenario(node: PubSubNode) -> None:
        app = await node.attach("app", routed(("false", "/never"), ('event.type == "x"', "/never")))
        await app.subscribed()
        await app.publish("orders", b"1")
        await idle(app)

        assert app.server.events == []

    with_node(tmp_path, scenario)


@pytest.mark.parametrize("more", [{}, {"bulkSubscribe": {"enabled": True, "maxMessagesCount": 1}}], ids=["one", "bulk"])
def test_an_event_that_a_rule_fails_on(tmp_path: Path, more: Mapping[str, object]) -> None:
    """Without a dead letter topic it goes back to the broker as any failure does, and comes again."""

    async def scenario(node: PubSubNode) -> None:
        app = await node.attach("app", {**routed(("event.missing == 1", "/never")), **more})
        await app.subscribed()
        await app.publish("orders", b"1")
        await eventually(lambda: retried(app) >= 2)

        assert app.server.events == []
        assert app.app.tenant.gate.app.used["queued_messages"] == 1

    with_node(tmp_path, scenario)


def test_a_raw_subscriber_s_rules_see_its_envelope(tmp_path: Path) -> None:
    """With rawPayload the event is the envelope made around the bytes."""

    async def scenario(node: PubSubNode) -> None:
        wanted = {**routed(('event.data_base64 == "aGk="', "/hi")), "metadata": {"rawPayload": "true"}}
        app = await node.attach("app", wanted)
        await app.subscribed()
        await app.publish("orders", b"hi", metadata={"rawPayload": "true"})
        (event,) = await app.server.wait_for(1)

        assert event.path == "/hi"

    with_node(tmp_path, scenario)


def test_a_subscription_with_a_bad_rule_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One that daprd would take is told in the log; the app's other subscriptions open."""

    async def scenario(node: PubSubNode) -> None:
        app = await node.attach("app", routed(("nothing == 1", "/never"), default="/d"), DEAD)
        await app.subscribed()

        assert [each["topic"] for each in app.subscriptions.listing()] == ["dead"]

    with caplog.at_level(logging.WARNING, "noded.subscriptions"):
        with_node(tmp_path, scenario)

    assert "subscription to orders: a rule 1:1: undeclared reference" in caplog.text


def test_a_rule_that_fails_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever publishes cannot fill the log of the daemon."""
    routes = Routes([RouteRule("event.missing == 1", "/a")])
    message = Message(b"{}")

    with caplog.at_level(logging.WARNING, "noded.subscriptions"):
        for _ in range(3):
            with pytest.raises(MatchFailed):
                routes.choose(events.read(message), message, message.data)

    assert len(caplog.records) == 1
