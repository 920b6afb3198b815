"""The metadata fields of a component: declared once, read from YAML's strings, listed by `noded check` and the docs.

Field names are case-insensitive and unknown ones ignored, as Dapr does. Source: dapr/kit metadata/decode.go.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from components.contract import ConfigError

_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)")
_BYTES = {"": 1, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "k": 1000, "M": 1000**2, "G": 1000**3}
_SIZE = re.compile(r"(\d+)(Ki|Mi|Gi|k|M|G|)")
_TRUE = frozenset({"1", "true", "t", "yes", "y", "on"})
_FALSE = frozenset({"0", "false", "f", "no", "n", "off", ""})
_IDENTIFIER = re.compile(r"[0-9A-Za-z_]+")


class FieldType(StrEnum):
    """What a field's string may hold; the value is how a message names it."""

    TEXT = "text"
    IDENTIFIER = "letters, digits and _"
    DURATION = "a duration (300ms, 20s, 1h30m) or a whole number of seconds"
    BOOLEAN = "true or false"
    SIZE = "a number of bytes (65536, 16Mi)"


@dataclass(frozen=True, slots=True)
class Field:
    """One metadata field."""

    name: str
    type: FieldType
    meaning: str
    default: str | None = None
    """As it would stand in YAML; None: the field is required."""
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Fields:
    """A component's metadata, read by its declared fields."""

    component: str
    """Its name, for messages."""
    declared: Sequence[Field]
    metadata: Mapping[str, str]

    def text(self, name: str) -> str:
        """Return the text of a field. Raises ConfigError when a required one is absent or empty: give it."""
        return self._raw(self._declared(name))

    def identifier(self, name: str) -> str:
        """Return the name of a table or the like. Raises ConfigError for other characters: they are not quoted."""
        field = self._declared(name)
        raw = self._raw(field)
        if _IDENTIFIER.fullmatch(raw) is None:
            raise self._wrong(field, raw)
        return raw

    def seconds(self, name: str) -> float:
        """Return a duration in seconds. Raises ConfigError for anything else than a Go duration or whole seconds."""
        field = self._declared(name)
        raw = self._raw(field)
        seconds = parse_seconds(raw)
        if seconds is None:
            raise self._wrong(field, raw)
        return seconds

    def boolean(self, name: str) -> bool:
        """Return a truth value, in any of the spellings Dapr takes. Raises ConfigError for another word."""
        field = self._declared(name)
        raw = self._raw(field)
        if (word := raw.strip().lower()) not in _TRUE | _FALSE:
            raise self._wrong(field, raw)
        return word in _TRUE

    def size_bytes(self, name: str) -> int:
        """Return a number of bytes. Raises ConfigError for anything else than digits and a binary or decimal unit."""
        field = self._declared(name)
        raw = self._raw(field)
        if (match := _SIZE.fullmatch(raw.strip())) is None:
            raise self._wrong(field, raw)
        return int(match[1]) * _BYTES[match[2]]

    def refuse(self, name: str, found: str, allowed: str) -> ConfigError:
        """Make the error for a value that has the right form but cannot be."""
        return ConfigError(f"component {self.component}: metadata field {name}: found {found!r}, allowed: {allowed}")

    def _declared(self, name: str) -> Field:
        return next(field for field in self.declared if field.name == name)

    def _raw(self, field: Field) -> str:
        names = {each.lower() for each in (field.name, *field.aliases)}
        given = next((value for name, value in self.metadata.items() if name.lower() in names), None)
        if given:
            return given
        if field.default is None:
            raise self._wrong(field, "")
        return field.default

    def _wrong(self, field: Field, found: str) -> ConfigError:
        return self.refuse(field.name, found, field.type.value)


def parse_seconds(text: str) -> float | None:
    """Read a Go duration ("1h30m", "-5s") or whole seconds ("20"). None when it is neither."""
    body = text.strip()
    sign = -1.0 if body.startswith("-") else 1.0
    body = body[1:] if body.startswith(("+", "-")) else body
    if body.isdecimal():
        return sign * int(body)
    parts = _DURATION_PART.findall(body)
    if not parts or "".join(number + unit for number, unit in parts) != body:
        return None
    return sign * sum(float(number) * _SECONDS[unit] for number, unit in parts)
