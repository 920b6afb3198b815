"""The `match` of a routing rule: a CEL expression over `event`, compiled once, evaluated in microseconds.

Google's CEL for C++ does both; it is imported when the first rule is met (30 ms, 7 MB), never before. As in daprd the
event is what Go's JSON decoder makes of it: every number is a double. Source: daprd 1.18 pkg/expr, pkg/runtime/
subscription findMatchingRoute. Stricter than there: a name other than `event` is an error when it is written, not
when an event comes.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any

from noded.runtime.match_cost import MAX_CHARACTERS, Cost, cost_of


class BadMatch(ValueError):
    """The expression is not one that can be used; the message says where and why."""


class NoExpression(BadMatch):
    """It cannot be parsed: daprd refuses it, too, and with it all that the app listed."""


_SYNTAX = "Syntax error"
"""How the compiler's message begins where it is not about names and types."""


class MatchFailed(Exception):
    """The expression has no truth value for this event: an attribute that it lacks, say."""


class Match:
    """One compiled expression."""

    __slots__ = ("_evaluate", "cost", "text")

    def __init__(self, text: str) -> None:
        """Compile `text`.

        Raises BadMatch.
        """
        self.text = text
        self._evaluate, self.cost = _compiled(text)

    def __call__(self, event: Mapping[str, Any]) -> bool:
        """Whether an event matches.

        Raises MatchFailed: there is an error, or no truth value.
        """
        try:
            answer = self._evaluate(event)
        except (RuntimeError, ValueError, TypeError) as error:
            raise MatchFailed(str(error)) from None
        if not isinstance(answer, bool):
            raise MatchFailed(f"gives {answer}, no truth value")
        return answer


def check_match(text: str) -> str:
    """Give `text` back where it can be used as an expression.

    Raises BadMatch.
    """
    if text.strip():
        _compiled(text)
    return text


def refuse_no_expressions(texts: Iterable[str]) -> None:
    """Look for one that is no expression, as opposed to one that only noded refuses.

    Raises NoExpression.
    """
    for text in texts:
        try:
            check_match(text)
        except NoExpression:
            raise
        except BadMatch:
            continue


@lru_cache(256)
def _compiled(text: str) -> tuple[Callable[[Mapping[str, Any]], object], Cost]:
    if len(text) > MAX_CHARACTERS:
        raise BadMatch(f"is longer than {MAX_CHARACTERS} characters")
    try:
        expression = _environment().compile(text)
    except (RuntimeError, ValueError) as error:
        problem = _first_line(str(error))
        raise (NoExpression if _SYNTAX in problem else BadMatch)(problem) from None
    try:
        cost = cost_of(text)
    except (RuntimeError, ValueError) as error:
        raise BadMatch(_first_line(str(error))) from None

    def evaluate(event: Mapping[str, Any]) -> object:
        return expression.eval(data={"event": event}).plain_value()

    return evaluate, cost


@lru_cache(1)
def _environment() -> Any:
    from cel_expr_python import cel  # noqa: PLC0415 - 7 MB that a node without rules need not hold

    return cel.NewEnv(variables={"event": cel.Type.DYN})


def _first_line(error: str) -> str:
    """What is wrong, of the compiler's several lines: `1:7: Syntax error: ...`."""
    return error.partition("\n")[0].removeprefix("INVALID_ARGUMENT: ").removeprefix("ERROR: ").removeprefix("<input>:")
