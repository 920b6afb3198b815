"""Which path of the app an event goes to: its rules in order, then the default."""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import msgspec
from msgspec import Raw

from components.contract import Message
from noded.config.records import RouteRule
from noded.runtime.events import TRACE_FIELDS, Event, is_binary
from noded.runtime.match import BadMatch, Match, MatchFailed
from noded.runtime.match_cost import MAX_WORK

log = logging.getLogger("noded.subscriptions")

MAX_EVENT_BYTES = 256 << 10
"""Of what rules look at in one event: decoding it costs 50 ns a byte."""
MAX_RULES = 64
"""Of one subscription."""

_KEPT = "/%?&=+:@!$'()*,;~#-._[]"
_decode_object = msgspec.json.Decoder(dict[str, Raw]).decode


def target(path: str) -> bytes:
    """A route's path as the target of a request: rooted, and escaped where it must be."""
    return quote(path if path.startswith("/") else "/" + path, safe=_KEPT).encode()


class Routes:
    """The rules of one subscription, their paths as the app is told them."""

    __slots__ = ("_attributes", "_default", "_failed", "_max_bytes", "_rules")

    def __init__(self, rules: Sequence[RouteRule], told: Callable[[str], bytes] = target) -> None:
        """Compile the rules; the first without a `match` takes every event that comes to it.

        Raises BadMatch.
        """
        if len(rules) > MAX_RULES:
            raise BadMatch(f"has {len(rules)} routing rules; allowed: {MAX_RULES}")
        self._default: bytes | None = None
        conditions = []
        for rule in rules:
            if not rule.match.strip():
                self._default = told(rule.path)
                break
            conditions.append((Match(rule.match), told(rule.path)))
        self._rules = tuple(conditions)
        self._attributes = _attributes([match for match, _ in conditions])
        weight = sum(match.cost.weight for match, _ in conditions)
        self._max_bytes = min(MAX_EVENT_BYTES, MAX_WORK // max(weight, 1))
        self._failed = False

    @property
    def only(self) -> bytes | None:
        """Where every event goes, whatever it says; None: that depends on the event, or it goes nowhere."""
        return None if self._rules else self._default

    def choose(self, event: Event, message: Message, body: bytes) -> bytes | None:
        """The target for an event that the app would be sent as `body`, or None when no rule matches.

        Raises MatchFailed: a rule fails on the event, which ends the search, as in daprd.
        """
        if not self._rules:
            return self._default
        try:
            attributes = self._read(event, message, body)
            for match, where in self._rules:
                if match(attributes):
                    return where
        except (MatchFailed, ValueError, RecursionError) as error:
            self._note(error)
            raise MatchFailed(str(error)) from None
        return self._default

    def _read(self, event: Event, message: Message, body: bytes) -> Mapping[str, Any]:
        """Decode what the rules look at, numbers as doubles; what they do not name stays bytes."""
        if body is message.data and is_binary(message):
            return _binary_attributes(message)
        members = _decode_object(body)
        names = members.keys() if self._attributes is None else self._attributes & members.keys()
        if sum(len(memoryview(members[name])) for name in names) > self._max_bytes:
            raise MatchFailed(f"what the rules look at is larger than {self._max_bytes} bytes")
        attributes = {name: json.loads(bytes(members[name]), parse_int=float) for name in names}
        for name in TRACE_FIELDS:
            if name not in members and (trace := getattr(event, name)) is not None:
                attributes[name] = trace
        return attributes

    def _note(self, error: Exception) -> None:
        """Tell of the first failure only: a publisher decides how many follow."""
        if not self._failed:
            self._failed = True
            rules = "; ".join(match.text for match, _ in self._rules)
            log.warning("routing rules (%.200s) fail on an event: %.200s; later failures are not told", rules, error)


def _attributes(matches: Sequence[Match]) -> frozenset[str] | None:
    named: frozenset[str] = frozenset()
    for match in matches:
        if match.cost.attributes is None:
            return None
        named |= match.cost.attributes
    return named


def _binary_attributes(message: Message) -> Mapping[str, Any]:
    """The attributes of an event in CloudEvents' binary mode."""
    attributes: dict[str, Any] = {
        name[3:].lower(): value for name, value in message.metadata.items() if name.lower().startswith("ce_")
    }
    return attributes | {"data": message.data, "datacontenttype": message.content_type}
