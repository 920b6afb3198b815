"""What spec.metric of a Configuration may hold. Source: daprd 1.18 pkg/config/configuration.go MetricSpec."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from noded.config.records import MetricRule, MetricsSpec
from noded.config.schema import NOT_SERVED, Anything, Field, ListOf, MapOf, Shape, Text
from noded.config.values import parse_bool, parse_count, parse_text

_BOOL = Text("true or false", parse_bool)
_STRING = Text("text", parse_text)


def overlay(first: MetricsSpec, over: MetricsSpec) -> MetricsSpec:
    """Lay one over another: what it does not give stays."""
    given = {field.name: value for field in fields(over) if (value := getattr(over, field.name)) not in (None, ())}
    return replace(first, **given)


def _regex(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise ValueError(f"is no regular expression: {error}") from None


def _literal(text: str) -> str:
    """A replacement that names no groups: `$` in a Configuration stands for the environment, in daprd too."""
    return text.replace("\\", r"\\")


_Rewriting = tuple[str, re.Pattern[str], str]
"""A label's name, what to look for in its values, and what to write instead."""


def _label(name: str = "", regex: Mapping[str, re.Pattern[str]] | None = None) -> Sequence[_Rewriting]:
    return [(name, pattern, _literal(text)) for text, pattern in (regex or {}).items()]


def _rule(name: str = "", labels: Sequence[Sequence[_Rewriting]] = ()) -> Sequence[MetricRule]:
    return [MetricRule(name, *each) for label in labels for each in label]


def _metrics(**given: Any) -> MetricsSpec:
    given |= given.pop("http", {})
    given["latency_bounds_ms"] = tuple(sorted(set(map(float, given.get("latency_bounds_ms", ())))))
    given["rules"] = tuple(rule for each in given.get("rules", ()) for rule in each)
    return MetricsSpec(**given)


METRIC = Shape(
    {
        "enabled": Field(_BOOL),
        "recordErrorCodes": Field(Anything(warning=NOT_SERVED)),
        "http": Field(
            Shape(
                {
                    "increasedCardinality": Field(_BOOL),
                    "pathMatching": Field(ListOf(_STRING)),
                    "excludeVerbs": Field(_BOOL),
                },
                dict,
            )
        ),
        "latencyDistributionBuckets": Field(
            ListOf(Text("a whole number of milliseconds from 1", parse_count)), to="latency_bounds_ms"
        ),
        "rules": Field(
            ListOf(
                Shape(
                    {
                        "name": Field(_STRING, required=True),
                        "labels": Field(
                            ListOf(
                                Shape(
                                    {
                                        "name": Field(_STRING, required=True),
                                        "regex": Field(MapOf(Text("a regular expression", _regex)), required=True),
                                    },
                                    _label,
                                )
                            )
                        ),
                    },
                    _rule,
                )
            )
        ),
    },
    _metrics,
)
"""{replacement: regular expression} is how Dapr writes a rule's `regex`."""
