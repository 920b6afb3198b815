"""YAML text to plain nodes that know their line. No tag is ever executed, and every size is bounded.

Documents are cut apart at their `---` before anything is parsed, so that one that is no YAML spoils no other (daprd
does the same, pkg/internal/loader/disk/manifest.go). Events are put together here instead of by yaml.compose: a
recursive composer dies of deep nesting, and an alias bomb is seen before it is walked.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import yaml

from noded.config.problems import Place, Reading, quote

MAX_DEPTH = 32
"""Nesting of one document; a resource needs 8."""
MAX_NODES = 20_000
"""Values in one document, each use of an alias counted as what it stands for."""
STRING_TAGS = frozenset({"!", "tag:yaml.org,2002:str"})
PLAIN_TAGS = frozenset(f"tag:yaml.org,2002:{name}" for name in ("bool", "float", "int", "map", "null", "seq"))
LOADER = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader
"""Where PyYAML was built without libyaml, the same at a tenth of the speed. Only its events are used."""
NULLS = frozenset({"", "~", "null", "Null", "NULL"})

_MARKER = re.compile(r"^---(?=\s|$)", re.MULTILINE)
_PREAMBLE = re.compile(r"(?:[^\S\n]*(?:[#%][^\n]*)?\n)*[^\S\n]*\Z")  # a line a turn: blank ones cost no backtracking


@dataclass(frozen=True, slots=True)
class Scalar:
    """A value that is no list and no mapping, as its text stands in the file."""

    line: int
    text: str
    plain: bool
    """Not quoted and not tagged a string: may be a number, a boolean or null."""
    size: int = 1

    @property
    def is_null(self) -> bool:
        """Nothing was given."""
        return self.plain and self.text in NULLS


@dataclass(frozen=True, slots=True)
class Sequence:
    """A list."""

    line: int
    items: "tuple[Node, ...]"
    size: int


@dataclass(frozen=True, slots=True)
class Mapping:
    """Named values, each with the line of its name."""

    line: int
    entries: "dict[str, tuple[int, Node]]"
    size: int


Node = Scalar | Sequence | Mapping


def describe(node: Node) -> str:
    """What was found, for a message."""
    match node:
        case Scalar():
            return "nothing" if node.is_null else quote(node.text)
        case Sequence():
            return f"a list of {len(node.items)}"
        case Mapping():
            return f"a mapping of {quote(', '.join(node.entries))}" if node.entries else "an empty mapping"


class _UnreadableError(Exception):
    """This document cannot be used; said with its line."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


def documents(text: str, reading: Reading) -> Iterator[Node]:
    """Give each document that is YAML; what is not becomes a problem. Empty documents are left out."""
    for first_line, chunk in split(text):
        try:
            yield from _compose(chunk, first_line)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = first_line + mark.line if mark else first_line
            reading.problem(Place(line), f"not YAML: {error.problem or error.context or 'cannot be parsed'}")
        except yaml.YAMLError as error:
            reading.problem(Place(first_line), f"not YAML: {' '.join(str(error).split())}")
        except _UnreadableError as error:
            reading.problem(Place(error.line), str(error))


def split(text: str) -> Iterator[tuple[int, str]]:
    """Cut at every line that begins a document; give (number of the first line, text). Directives stay with theirs."""
    start = 0
    line = 1
    for marker in _MARKER.finditer(text):
        chunk = text[start : marker.start()]
        if _PREAMBLE.match(chunk):
            continue
        yield line, chunk
        line += chunk.count("\n")
        start = marker.start()
    yield line, text[start:]


@dataclass(slots=True)
class _Open:
    """A list or mapping whose end has not been seen."""

    line: int
    anchor: str | None
    is_mapping: bool
    size: int = 1
    items: list[Node] = field(default_factory=list)
    entries: dict[str, tuple[int, Node]] = field(default_factory=dict)
    key: Scalar | None = None

    def add(self, node: Node) -> None:
        self.size += node.size
        if self.size > MAX_NODES:
            raise _UnreadableError(node.line, f"the document holds more than {MAX_NODES} values")
        if not self.is_mapping:
            self.items.append(node)
        elif self.key is None:
            self._name(node)
        else:
            self.entries[self.key.text] = (self.key.line, node)
            self.key = None

    def _name(self, node: Node) -> None:
        if not isinstance(node, Scalar):
            raise _UnreadableError(node.line, "the name of a field must be text, not a list or mapping")
        if node.text in self.entries:
            first = self.entries[node.text][0]
            raise _UnreadableError(node.line, f"{quote(node.text)} is given twice, first in line {first}")
        self.key = node

    def close(self) -> Node:
        if self.is_mapping:
            return Mapping(self.line, self.entries, self.size)
        return Sequence(self.line, tuple(self.items), self.size)


@dataclass(slots=True)
class _Composer:
    """Puts the events of one chunk together. Holds what is open, outermost first."""

    first_line: int
    anchors: dict[str, Node] = field(default_factory=dict)
    stack: list[_Open] = field(default_factory=list)

    def feed(self, event: yaml.Event) -> Node | None:
        """Take an event; give the document it ends, if it does."""
        line = self.first_line + (event.start_mark.line if event.start_mark else 0)
        match event:
            case yaml.DocumentStartEvent():
                self.anchors.clear()
            case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                self._open(event, line)
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                closed = self.stack.pop()
                return self._place(closed.close(), closed.anchor)
            case yaml.ScalarEvent():
                return self._place(_scalar(event, line), event.anchor)
            case yaml.AliasEvent():
                return self._place(self._alias(event.anchor or "", line), None)
        return None

    def _open(self, event: yaml.MappingStartEvent | yaml.SequenceStartEvent, line: int) -> None:
        _check_tag(event.tag, line)
        if len(self.stack) == MAX_DEPTH:
            raise _UnreadableError(line, f"nested deeper than {MAX_DEPTH} levels")
        self.stack.append(_Open(line, event.anchor, isinstance(event, yaml.MappingStartEvent)))

    def _place(self, node: Node, anchor: str | None) -> Node | None:
        if anchor is not None:
            self.anchors[anchor] = node
        if self.stack:
            self.stack[-1].add(node)
            return None
        return None if isinstance(node, Scalar) and node.is_null else node

    def _alias(self, anchor: str, line: int) -> Node:
        found = self.anchors.get(anchor)
        if found is None:
            raise _UnreadableError(line, f"*{anchor} stands for nothing that ended before it")
        return found


def _compose(chunk: str, first_line: int) -> Iterator[Node]:
    composer = _Composer(first_line)
    for event in yaml.parse(chunk, Loader=LOADER):
        document = composer.feed(event)
        if document is not None:
            yield document


def _scalar(event: yaml.ScalarEvent, line: int) -> Scalar:
    _check_tag(event.tag, line)
    return Scalar(line, event.value, plain=not event.style and event.tag not in STRING_TAGS)


def _check_tag(tag: str | None, line: int) -> None:
    if tag is not None and tag not in STRING_TAGS and tag not in PLAIN_TAGS:
        raise _UnreadableError(line, f"the tag {quote(tag)} is not allowed: resources hold plain values")
