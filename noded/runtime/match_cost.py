"""What a rule's expression may cost, told from its text before it runs: the evaluator cannot be stopped once it does.

Work grows with the event's size times the expression's length while four rules hold, and they are checked here:
a loop (`exists`, `all`, `exists_one`) stands in no other loop; its body looks at the loop's variable and never at
`event`, which would be walked once per element; no loop makes a list (`map`, `filter`), as that is copied for each
element; a regular expression is a literal, so its size is known. The evaluator itself stops at 10,000 iterations and
at 32 levels of nesting.
Source: measured, 1 ns a byte and character at worst (cel-expr-python 0.1.3); RE2's automaton is linear in the text.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

MAX_CHARACTERS = 1024
"""Of one expression. Kubernetes, which runs CEL of its users too, bounds the cost likewise."""
MAX_WORK = 32 << 20
"""Bytes of an event times the weight of its rules: 10 ms, and 40 ms of the loop's time where an app does its worst."""
_PATTERN_WEIGHT = 4
"""A character of a regular expression costs that of four others."""

_LOOPS = frozenset({"all", "exists", "exists_one", "existsOne"})
_LIST_LOOPS = frozenset({"filter", "map"})
_TOKEN = re.compile(
    r"""(?P<skip>\s+|//[^\n]*)
    | (?P<string>[bB]?[rR]?[bB]?
        (?:\"{3}(?:\\.|[^\\])*?\"{3}|'{3}(?:\\.|[^\\])*?'{3}|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'))
    | (?P<name>[A-Za-z_]\w*)
    | (?P<other>[\d.]*\d\w*|.)""",
    re.VERBOSE | re.DOTALL,
)
_REPEATED = re.compile(r"\{(\d+)(?:,(\d*))?\}")


class TooCostly(ValueError):
    """An expression whose cost has no bound; the message says what to change."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What is known of an expression."""

    weight: int
    """Characters, those of regular expressions counted as often as they repeat."""
    attributes: frozenset[str] | None
    """The attributes of `event` it names; None: it may look at any."""


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str


def cost_of(expression: str) -> Cost:
    """Read an expression that the compiler takes.

    Raises TooCostly.
    """
    tokens = list(_tokens(expression))
    weight = len(expression)
    for at, token in enumerate(tokens[:-1]):
        if token.kind == "name" and tokens[at + 1].text == "(":
            if token.text in _LIST_LOOPS:
                raise TooCostly(f"makes a list ({token.text}); a rule can use exists, all or exists_one")
            if token.text in _LOOPS:
                _check_body(token.text, _arguments(tokens, at + 1)[1:])
            elif token.text == "matches":
                weight += _PATTERN_WEIGHT * _pattern_weight(_arguments(tokens, at + 1)[-1])
    return Cost(weight, _attributes(tokens))


def _tokens(expression: str) -> Iterator[_Token]:
    for found in _TOKEN.finditer(expression):
        if found.lastgroup is not None and found.lastgroup != "skip":
            yield _Token(found.lastgroup, found[0])


def _arguments(tokens: Sequence[_Token], opening: int) -> list[list[_Token]]:
    """The arguments of the call whose `(` stands at `opening`."""
    arguments: list[list[_Token]] = [[]]
    depth = 0
    for token in tokens[opening:]:
        if token.text in {"(", "[", "{"}:
            depth += 1
            if depth == 1:
                continue
        elif token.text in {")", "]", "}"}:
            depth -= 1
            if depth == 0:
                break
        if token.text == "," and depth == 1:
            arguments.append([])
        else:
            arguments[-1].append(token)
    return arguments


def _check_body(loop: str, body: Sequence[Sequence[_Token]]) -> None:
    for argument in body:
        for at, token in enumerate(argument):
            if token.text in _LOOPS and argument[at + 1 : at + 2] and argument[at + 1].text == "(":
                raise TooCostly(f"has a loop ({token.text}) inside another ({loop})")
            if _is_event(argument, at):
                raise TooCostly(f"looks at event again for each element of {loop}")


def _is_event(tokens: Sequence[_Token], at: int) -> bool:
    """Whether the token is the variable `event`, and not a member of that name."""
    if tokens[at].text != "event":
        return False
    before = tokens[max(at - 2, 0) : at]
    return not before or before[-1].text != "." or (len(before) == 1 or _ends_no_operand(before[0]))


def _ends_no_operand(token: _Token) -> bool:
    return token.kind not in {"name", "string"} and token.text not in {")", "]", "}"}


def _pattern_weight(pattern: Sequence[_Token]) -> int:
    if [token.kind for token in pattern] != ["string"]:
        raise TooCostly("has a regular expression that is not a literal")
    weight = len(pattern[0].text)
    for least, most in _REPEATED.findall(pattern[0].text):
        weight *= max(1, int(most or least))
    return weight


def _attributes(tokens: Sequence[_Token]) -> frozenset[str] | None:
    named = set()
    for at in range(len(tokens)):
        if _is_event(tokens, at):
            following = tokens[at + 1 : at + 3]
            if len(following) < 2 or following[0].text != "." or following[1].kind != "name":
                return None
            if tokens[at + 3 : at + 4] and tokens[at + 3].text == "(":
                return None  # a method of the event itself, `event.all(...)`
            named.add(following[1].text)
    return frozenset(named)
