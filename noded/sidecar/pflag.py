"""Command lines as Go's pflag reads them, with daprd's own twist: `-app-id` means `--app-id`.

What is wrong is said in pflag's words, because scripts compare them. Source: spf13/pflag flag.go; dapr
cmd/daprd/options/options.go; daprd 1.18.0 as observed.
"""

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from noded import gobool

Value = str | int | bool | float | tuple[str, ...]

_UNIT_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"(\d+\.?\d*|\.\d+)([a-zµμ]+)")
_INT_BITS = 64


class Kind(StrEnum):
    """What a flag takes, by the name pflag's usage text has for it."""

    STRING = "string"
    STRINGS = "strings"
    """Comma-separated values; may be repeated."""
    INT = "int"
    UINT = "uint"
    DURATION = "duration"
    """Seconds, as a float."""
    BOOL = ""


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag."""

    name: str
    kind: Kind
    default: Value
    text: str
    unserved: bool = False
    """Accepted, but nothing here comes of it: the user is warned."""
    instead: str = ""
    """Of a deprecated flag: what its use is answered with. Such a flag is left out of the usage text."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a command line gave."""

    values: dict[str, Value]
    changed: tuple[str, ...]
    """Flags that were given, each once, in order."""

    def text(self, name: str) -> str:
        """A string flag's value."""
        return str(self.values[name])

    def number(self, name: str) -> int:
        """An int flag's value."""
        value = self.values[name]
        assert isinstance(value, int)
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        """A strings flag's values."""
        value = self.values[name]
        assert isinstance(value, tuple)
        return value

    def seconds(self, name: str) -> float:
        """A duration flag's value."""
        value = self.values[name]
        assert isinstance(value, float)
        return value

    def on(self, name: str) -> bool:
        """Whether a bool flag is set."""
        return self.values[name] is True


class FlagError(ValueError):
    """A command line pflag would refuse; the message is pflag's."""


def parse(arguments: Sequence[str], flags: Iterable[Flag]) -> Parsed:
    """Read a command line. What is no flag is passed over, as daprd does.

    Raises FlagError.
    """
    known = {flag.name: flag for flag in flags}
    values: dict[str, Value] = {flag.name: flag.default for flag in known.values()}
    changed: dict[str, None] = {}
    left = [_doubled(each) for each in arguments]
    while left:
        argument = left.pop(0)
        if argument == "--":
            break
        if not argument.startswith("-") or argument == "-":
            continue
        flag, text = _flag_and_text(argument, known, left)
        values[flag.name] = _value(flag, text, values[flag.name] if flag.name in changed else ())
        changed[flag.name] = None
    return Parsed(values, tuple(changed))


def usage(flags: Iterable[Flag]) -> str:
    """The usage text: a line per flag that is not deprecated, by name."""
    shown = sorted((flag for flag in flags if not flag.instead), key=lambda flag: flag.name)
    heads = [f"      --{flag.name} {flag.kind}".rstrip() for flag in shown]
    width = max(map(len, heads)) + 3
    lines = [f"{head:<{width}}{flag.text}{_default(flag)}\n" for head, flag in zip(heads, shown, strict=True)]
    return "Usage of daprd:\n" + "".join(lines)


def _doubled(argument: str) -> str:
    return f"-{argument}" if len(argument) > 2 and argument[0] == "-" and argument[1] != "-" else argument


def _flag_and_text(argument: str, known: dict[str, Flag], left: list[str]) -> tuple[Flag, str]:
    if argument == "-h":
        raise FlagError("pflag: help requested")
    if not argument.startswith("--"):
        raise FlagError(f"unknown shorthand flag: '{argument[1]}' in {argument}")
    name, equals, text = argument[2:].partition("=")
    if not name or name[0] in "-=":
        raise FlagError(f"bad flag syntax: {argument}")
    flag = known.get(name)
    if flag is None:
        raise FlagError("pflag: help requested" if name == "help" else f"unknown flag: --{name}")
    if equals:
        return flag, text
    if flag.kind is Kind.BOOL:
        return flag, "true"
    if not left:
        raise FlagError(f"flag needs an argument: --{name}")
    return flag, left.pop(0)


def _value(flag: Flag, text: str, before: Value) -> Value:
    try:
        value = _READ[flag.kind](text)
    except ValueError as error:
        raise FlagError(f'invalid argument {json.dumps(text)} for "--{flag.name}" flag: {error}') from None
    if isinstance(value, tuple) and isinstance(before, tuple):
        return (*before, *value)
    return value


def _bool(text: str) -> bool:
    if text in gobool.TRUE or text in gobool.FALSE:
        return text in gobool.TRUE
    raise ValueError(f"strconv.ParseBool: parsing {json.dumps(text)}: invalid syntax")


def _whole(text: str, function: str, least: int, most: int) -> int:
    digits = text.lstrip("+-") if least < 0 else text
    try:
        value = int(f"{text[: len(text) - len(digits)]}{_octal(digits)}", 0)
    except ValueError:
        raise ValueError(f"strconv.{function}: parsing {json.dumps(text)}: invalid syntax") from None
    if not text.isascii() or text != text.strip() or (least == 0 and text[0] in "+-"):
        raise ValueError(f"strconv.{function}: parsing {json.dumps(text)}: invalid syntax")
    if not least <= value <= most:
        raise ValueError(f"strconv.{function}: parsing {json.dumps(text)}: value out of range")
    return value


def _octal(digits: str) -> str:
    """Go reads 017 as octal; Python wants 0o17."""
    return f"0o{digits[1:]}" if len(digits) > 1 and digits[0] == "0" and digits[1].isdigit() else digits


def _int(text: str) -> int:
    return _whole(text, "ParseInt", -(1 << (_INT_BITS - 1)), (1 << (_INT_BITS - 1)) - 1)


def _uint(text: str) -> int:
    return _whole(text, "ParseUint", 0, (1 << _INT_BITS) - 1)


def _duration(text: str) -> float:
    """`1h30m`, `1.5s`, `-2ms`, `0`. Source: Go's time.ParseDuration."""
    rest = text[1:] if text[:1] in ("+", "-") else text
    if rest == "0":
        return 0.0
    total, at = 0.0, 0
    while (part := _PART.match(rest, at)) is not None:
        if part[2] not in _UNIT_SECONDS:
            raise ValueError(f"time: unknown unit {json.dumps(part[2])} in duration {json.dumps(text)}")
        total += float(part[1]) * _UNIT_SECONDS[part[2]]
        at = part.end()
    if at < len(rest) and re.fullmatch(r"\d+\.?\d*|\.\d+", rest[at:]):
        raise ValueError(f"time: missing unit in duration {json.dumps(text)}")
    if not rest or at < len(rest):
        raise ValueError(f"time: invalid duration {json.dumps(text)}")
    return -total if text[0] == "-" else total


def _strings(text: str) -> tuple[str, ...]:
    if '"' not in text:
        return tuple(text.split(",")) if text else ()
    import csv  # noqa: PLC0415 - hardly ever needed, and the start is to be quick

    return tuple(next(csv.reader([text]), ()))


_READ: dict[Kind, Callable[[str], Value]] = {
    Kind.STRING: str,
    Kind.STRINGS: _strings,
    Kind.INT: _int,
    Kind.UINT: _uint,
    Kind.DURATION: _duration,
    Kind.BOOL: _bool,
}


def _default(flag: Flag) -> str:
    if flag.default in ("", False, 0, ()):
        return ""
    if flag.kind is Kind.STRING:
        return f' (default "{flag.default}")'
    if flag.kind is Kind.BOOL:
        return " (default true)"
    return f" (default {flag.default:g}s)" if flag.kind is Kind.DURATION else f" (default {flag.default})"
