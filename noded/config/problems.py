"""What is wrong with a resource file, told so that it can be put right: where, what was found, what is allowed."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field

FOUND_CHARACTERS = 80
"""Of what was found, as much as is shown."""
PROBLEMS_PER_FILE = 100
"""More are counted as one line: the first ones are put right first anyway."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong (or worth a warning), in one place."""

    file: str
    line: int
    """From 1; 0: the file as a whole."""
    field: str
    """Dotted path, as `spec.channel.protocol`; "": the document as a whole."""
    message: str
    found: str = ""
    allowed: str = ""

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else self.file
        parts = [f"{where}: {self.field}: {self.message}" if self.field else f"{where}: {self.message}"]
        if self.found:
            parts.append(f"found {self.found}")
        if self.allowed:
            parts.append(f"allowed: {self.allowed}")
        return "; ".join(parts)

    def json(self) -> Mapping[str, str | int]:
        """The same for machines: one key per field."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Place:
    """A line of the file being read and the field that stands there."""

    line: int
    path: str = ""


@dataclass(slots=True)
class Reading:
    """The reading of one file: what was wrong so far, and the environment that envRef may ask."""

    file: str
    environ: Mapping[str, str]
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    count: int = 0
    """Of problems, those beyond PROBLEMS_PER_FILE included."""
    places: dict[tuple[int, str], Place] = field(default_factory=dict)
    """Where the fields of each document's spec stand, and a component's metadata, by (line of the document, field)."""

    def problem(self, place: Place, message: str, *, found: str = "", allowed: str = "") -> None:
        """Note an error: the document it is in will not be used."""
        self.count += 1
        if self.count < PROBLEMS_PER_FILE:
            self.problems.append(self._at(place, message, found, allowed))
        elif self.count == PROBLEMS_PER_FILE:
            self.problems.append(self._at(place, "and more problems from here on", "", ""))

    def warn(self, place: Place, message: str, *, found: str = "", allowed: str = "") -> None:
        """Note something that is accepted but may surprise."""
        if len(self.warnings) < PROBLEMS_PER_FILE:
            self.warnings.append(self._at(place, message, found, allowed))

    def place_of(self, document_line: int, field: str) -> Place:
        """Where a field of a document stands; the document's first line where it was not given."""
        return self.places.get((document_line, field), Place(document_line, field))

    def _at(self, place: Place, message: str, found: str, allowed: str) -> Problem:
        return Problem(self.file, place.line, place.path, message, found, allowed)


def quote(text: str) -> str:
    """What was found: in quotes, on one line, cut at FOUND_CHARACTERS."""
    shown = text if len(text) <= FOUND_CHARACTERS else text[:FOUND_CHARACTERS] + "..."
    return json.dumps(shown, ensure_ascii=not shown.isprintable())


def one_of(allowed: Iterable[str]) -> str:
    """What is allowed, as a list."""
    return ", ".join(allowed)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean x?` where a known word is near, else nothing."""
    from difflib import get_close_matches  # noqa: PLC0415 - only for who made a slip

    by_lower = {each.lower(): each for each in known}
    near = get_close_matches(word.lower(), by_lower, n=1, cutoff=0.7)
    return f"; did you mean {by_lower[near[0]]}?" if near else ""
