"""Whether an answer is the one a row asks for."""

import re

from tests.compat.normal import Json

PARSER_WORDS = re.compile(
    r"invalid character|json: |unexpected EOF|EOF$|strconv\.|\d+ error\(s\) decoding|illegal base64", re.MULTILINE
)
"""Where a message goes on in the words of Go's parsers: what stands before is the contract, the rest is not."""


def disagreements(expected: Json, actual: Json, where: str = "") -> list[str]:
    """Every place where two normal values differ, one line each; objects by member, lists by position."""
    if isinstance(expected, dict) and isinstance(actual, dict):
        names = [*expected, *(name for name in actual if name not in expected)]
        return [
            line
            for name in names
            for line in disagreements(expected.get(name, "<absent>"), actual.get(name, "<absent>"), f"{where}.{name}")
        ]
    if isinstance(expected, list) and isinstance(actual, list) and len(expected) == len(actual):
        pairs = enumerate(zip(expected, actual, strict=True))
        return [line for place, (one, other) in pairs for line in disagreements(one, other, f"{where}[{place}]")]
    if expected == actual and type(expected) is type(actual):
        return []
    if isinstance(expected, str) and isinstance(actual, str) and begins_alike(expected, actual):
        return []
    return [f"{where or 'answer'}: expected {expected!r}, got {actual!r}"]


def begins_alike(expected: str, actual: str) -> bool:
    """Whether a message ends in a parser's words and another begins as it does before them."""
    words = PARSER_WORDS.search(expected)
    return words is not None and actual.startswith(expected[: words.start()])
