"""The comparison of rows: what it lets pass and what not."""

import pytest

from tests.compat.agreement import disagreements
from tests.compat.normal import Json, normal_body, normal_text


@pytest.mark.parametrize(
    ("expected", "actual"),
    [
        ({"a": [1, {"b": None}]}, {"a": [1, {"b": None}]}),
        ({"message": "body: invalid character 'o'"}, {"message": "body: malformed"}),
        ({"message": "EOF"}, {"message": "anything"}),
    ],
)
def test_agree(expected: Json, actual: Json) -> None:
    """Equal values agree, and so do messages up to where Go's parser speaks."""
    assert disagreements(expected, actual) == []


@pytest.mark.parametrize(
    ("expected", "actual"),
    [
        ({"a": 1}, {}),
        ({}, {"a": 1}),
        ({"a": 1}, {"a": True}),
        ([1], [1, 2]),
        ({"a": {"b": "x"}}, {"a": {"b": "y"}}),
        ({"message": "body: invalid character 'o'"}, {"message": "malformed"}),
    ],
)
def test_disagree(expected: Json, actual: Json) -> None:
    """Anything missing, added or different is one line."""
    assert len(disagreements(expected, actual)) == 1


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("9ae1fd34-5e12-4c87-9c1a-beba6efb6ccc", "<uuid>"),
        ("00-00000000000000000000000000000000-0000000000000000-00", "<traceparent>"),
        ("2026-01-02T03:04:05.678Z", "<time>"),
        ("key=a||b: current=12, expect=9", "key=a||b: current=<etag>, expect=9"),
    ],
)
def test_normal_text(text: str, normal: str) -> None:
    """What must differ from run to run is replaced."""
    assert normal_text(text) == normal


def test_bodies_are_compared_by_structure() -> None:
    """Two spellings of one JSON object are one body."""
    assert normal_body(b'{"a":1,"etag":"x"}') == normal_body(b'{ "etag" : "y", "a" : 1 }')
