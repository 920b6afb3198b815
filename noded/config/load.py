"""Resource files to records. Bad content never raises: it becomes Problems, and what is good is still given.

Reads what `--resources-path` names: `.yaml` and `.yml` files of a directory (not below it), or one file.
"""

import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from noded.config.problems import Place, Problem, Reading, quote
from noded.config.records import (
    AppSpec,
    ComponentSpec,
    ConfigurationSpec,
    QuotaSpec,
    Record,
    Resources,
    SubscriptionSpec,
)

MAX_FILE_BYTES = 1 << 20
"""Of one resource file; Kubernetes keeps no larger object either."""
MAX_FILES = 4096
"""In one directory."""
SUFFIXES = frozenset({".yaml", ".yml"})


@dataclass(frozen=True, slots=True)
class LoadedFile:
    """What one file gave."""

    path: str
    records: tuple[Record, ...] = ()
    good: bool = True
    """False: something in it is wrong, and `records` are only those documents that are right."""
    places: Mapping[tuple[int, str], Place] = field(default_factory=dict)
    """Where fields stand, as `Reading` has them."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a set of paths gave."""

    resources: Resources
    problems: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()
    files: tuple[LoadedFile, ...] = ()
    configurations: tuple[ConfigurationSpec, ...] = ()


def load_resources(paths: Iterable[Path], environ: Mapping[str, str] | None = None) -> Loaded:
    """Read every resource under `paths`, in order. `environ` is what envRef asks; None: the process's own."""
    environ = os.environ if environ is None else environ
    readings: list[Reading] = []
    files: list[LoadedFile] = []
    seen: dict[tuple[str, str | None, str], Record] = {}
    for path in paths:
        listing = Reading(str(path), environ)
        readings.append(listing)
        found = tuple(_listed(path, listing))
        if listing.problems:
            files.append(LoadedFile(str(path), good=False))
        for each in found:
            reading = Reading(str(each), environ)
            readings.append(reading)
            records = _unseen(_read_file(each, reading), seen, reading)
            files.append(LoadedFile(str(each), records, not reading.problems, reading.places))
    return Loaded(
        resources=collect(record for each in files for record in each.records),
        problems=tuple(problem for each in readings for problem in each.problems),
        warnings=tuple(warning for each in readings for warning in each.warnings),
        files=tuple(files),
        configurations=tuple(each for file in files for each in file.records if isinstance(each, ConfigurationSpec)),
    )


def collect(records: Iterable[Record]) -> Resources:
    """Sort records by their kind, each in the order given."""
    every = tuple(records)
    return Resources(
        components=tuple(each for each in every if isinstance(each, ComponentSpec)),
        subscriptions=tuple(each for each in every if isinstance(each, SubscriptionSpec)),
        apps=tuple(each for each in every if isinstance(each, AppSpec)),
        quotas=tuple(each for each in every if isinstance(each, QuotaSpec)),
    )


def identity_of(record: Record) -> tuple[str, str | None, str]:
    """What no two resources share: kind, namespace and name; of quotas a namespace has one, whatever its name."""
    if isinstance(record, QuotaSpec):
        return "QuotaSpec", record.namespace, ""
    name = record.app_id if isinstance(record, AppSpec) else record.name
    return type(record).__name__, record.namespace, name


def read_text(path: Path, reading: Reading) -> str | None:
    """Read a file of bounded size; None, with a problem noted, where that cannot be done."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            reading.problem(Place(0), "is not a regular file")
            return None
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        reading.problem(Place(0), f"cannot be read: {error.strerror}")
        return None
    if len(content) > MAX_FILE_BYTES:
        reading.problem(Place(0), "is too large", allowed=f"{MAX_FILE_BYTES} bytes")
        return None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        reading.problem(Place(line), "is not UTF-8", found=f"byte {content[error.start]:#04x}")
        return None


def _listed(path: Path, reading: Reading) -> Iterator[Path]:
    try:
        if not path.is_dir():
            yield path
            return
        names = sorted(each.name for each in path.iterdir())
    except OSError as error:
        reading.problem(Place(0), f"cannot be listed: {error.strerror}")
        return
    except ValueError as error:
        reading.problem(Place(0), f"is no path: {error}")
        return
    wanted = [name for name in names if Path(name).suffix in SUFFIXES and not name.startswith(".")]
    if len(wanted) > MAX_FILES:
        reading.problem(Place(0), "holds too many files", found=str(len(wanted)), allowed=f"at most {MAX_FILES}")
    if not wanted:
        reading.warn(Place(0), "holds no .yaml or .yml file, and directories in it are not read")
    yield from (path / name for name in wanted[:MAX_FILES] if not (path / name).is_dir())


def _read_file(path: Path, reading: Reading) -> Iterator[Record]:
    text = read_text(path, reading)
    if text == "":
        reading.problem(Place(0), "is empty: remove the file if it is to hold nothing")
    elif text is not None:
        from noded.config.parse import parse_resources  # noqa: PLC0415 - YAML and the shapes of it, where there is a file

        yield from parse_resources(text, reading)


def _unseen(
    records: Iterator[Record], seen: dict[tuple[str, str | None, str], Record], reading: Reading
) -> tuple[Record, ...]:
    kept = []
    for record in records:
        first = seen.setdefault(identity_of(record), record)
        if first is record:
            kept.append(record)
            continue
        assert record.origin is not None
        assert first.origin is not None
        _note_taken(record, f"{first.origin.file}:{first.origin.line}", record.origin.line, reading)
    return tuple(kept)


def _note_taken(record: Record, there: str, line: int, reading: Reading) -> None:
    if isinstance(record, QuotaSpec):
        whose = f"namespace {record.namespace}" if record.namespace else "the node"
        place = Place(line, "metadata.namespace")
        reading.problem(
            place, f"{whose} already has a Quota in {there}", allowed="one Quota per namespace and one of the node"
        )
        return
    name = quote(identity_of(record)[2])
    place = Place(line, "metadata.name")
    reading.problem(place, f"is already taken in {there}", found=name, allowed="a name once per namespace")
