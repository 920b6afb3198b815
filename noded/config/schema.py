"""What a resource may hold, as data: the reader, the messages and the documentation test all go by it.

A shape names its fields; reading a node by a shape gives the record the shape makes, or notes what is wrong with it.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from noded.config import document
from noded.config.document import Node, Scalar, describe
from noded.config.problems import Place, Reading, did_you_mean, one_of
from noded.config.stringify import stringify

NOT_SERVED = "is accepted but not served yet: it has no effect"


@dataclass(frozen=True, slots=True)
class Text:
    """A scalar. `parse` raises ValueError with what is wrong."""

    allowed: str
    parse: Callable[[str], Any]
    secret: bool = False
    """What was found is not told."""


@dataclass(frozen=True, slots=True)
class Raw:
    """Any value, as the string daprd would make of it."""

    allowed: str = "any value"


@dataclass(frozen=True, slots=True)
class Anything:
    """Accepted unread."""

    allowed: str = "anything"
    warning: str = ""
    """Noted where it is given."""


@dataclass(frozen=True, slots=True)
class ListOf:
    """A list, read into a tuple."""

    item: "Reads"

    @property
    def allowed(self) -> str:
        """The items' own words."""
        return f"a list: {self.item.allowed}"


@dataclass(frozen=True, slots=True)
class MapOf:
    """Freely named values, read into a dict."""

    item: "Reads"

    @property
    def allowed(self) -> str:
        """The values' own words."""
        return f"a mapping of names to: {self.item.allowed}"


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a shape. An absent one, or one given as null, keeps its record's default."""

    reads: "Reads"
    required: bool = False
    to: str = ""
    """Its name in the record; "": the YAML name in snake_case."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A mapping with these fields and no others, made into a record by `make(**values)`."""

    fields: Mapping[str, Field]
    make: Callable[..., Any]
    placed: bool = False
    """Whether `make` also takes `place`, where the mapping stands."""

    @property
    def allowed(self) -> str:
        """The names of its fields."""
        return f"a mapping with {one_of(self.fields)}"


Reads = Text | Raw | Anything | ListOf | MapOf | Shape


def read(node: Node, reads: Reads, path: str, reading: Reading) -> Any:
    """Read a node. After a problem the result is None and must not be used (`reading.count` tells)."""
    match reads:
        case Text():
            return _text(node, reads, path, reading)
        case Raw():
            return stringify(node)
        case Anything():
            if reads.warning:
                reading.warn(Place(node.line, path), reads.warning)
            return None
        case ListOf():
            return _list(node, reads, path, reading)
        case MapOf():
            return _map(node, reads, path, reading)
        case Shape():
            return _shape(node, reads, path, reading)


def _text(node: Node, reads: Text, path: str, reading: Reading) -> Any:
    place = Place(node.line, path)
    if not isinstance(node, Scalar):
        return reading.problem(place, "must be one value", found=describe(node), allowed=reads.allowed)
    try:
        return reads.parse(node.text)
    except ValueError as error:
        found = "(not shown)" if reads.secret else describe(node)
        return reading.problem(place, str(error), found=found, allowed=reads.allowed)


def _list(node: Node, reads: ListOf, path: str, reading: Reading) -> Any:
    if not isinstance(node, document.Sequence):
        place = Place(node.line, path)
        return reading.problem(place, "must be a list", found=describe(node), allowed=reads.allowed)
    return tuple(read(item, reads.item, f"{path}[{index}]", reading) for index, item in enumerate(node.items))


def _map(node: Node, reads: MapOf, path: str, reading: Reading) -> Any:
    if not isinstance(node, document.Mapping):
        place = Place(node.line, path)
        return reading.problem(place, "must be a mapping", found=describe(node), allowed=reads.allowed)
    return {name: read(value, reads.item, join(path, name), reading) for name, (_, value) in node.entries.items()}


def _shape(node: Node, shape: Shape, path: str, reading: Reading) -> Any:
    place = Place(node.line, path)
    if not isinstance(node, document.Mapping):
        return reading.problem(place, "must be a mapping", found=describe(node), allowed=shape.allowed)
    before = reading.count
    values: dict[str, Any] = {}
    for name, (line, value) in node.entries.items():
        each = shape.fields.get(name)
        if each is None:
            unknown = f"is no field of this{did_you_mean(name, shape.fields)}"
            reading.problem(Place(line, join(path, name)), unknown, allowed=one_of(shape.fields))
        elif not (isinstance(value, Scalar) and value.is_null):
            result = read(value, each.reads, join(path, name), reading)
            if not isinstance(each.reads, Anything):
                values[each.to or snake_case(name)] = result
    _check_required(node, shape, path, reading)
    if reading.count > before:
        return None
    return shape.make(**values, place=place) if shape.placed else shape.make(**values)


def _check_required(node: document.Mapping, shape: Shape, path: str, reading: Reading) -> None:
    for name, each in shape.fields.items():
        if not each.required:
            continue
        line, value = node.entries.get(name, (node.line, None))
        if value is None or (isinstance(value, Scalar) and value.is_null):
            reading.problem(Place(line, join(path, name)), "is missing", allowed=each.reads.allowed)


def join(path: str, name: str) -> str:
    """The dotted path of a field."""
    return f"{path}.{name}" if path else name


def snake_case(name: str) -> str:
    """`camelCase` to `camel_case`."""
    return re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", name).lower()


def field_paths(reads: Reads, path: str = "") -> Iterator[tuple[str, Reads]]:
    """Every field below, as dotted path (`[]` for the items of a list): what the documentation must name."""
    match reads:
        case Shape():
            for name, each in reads.fields.items():
                yield join(path, name), each.reads
                yield from field_paths(each.reads, join(path, name))
        case ListOf():
            yield from field_paths(reads.item, f"{path}[]")
        case MapOf():
            yield from field_paths(reads.item, f"{path}.<name>")
