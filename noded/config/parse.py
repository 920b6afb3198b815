"""The text of a resource file to records. What is wrong is noted, and what is good is still given."""

from collections.abc import Iterator

from noded.config.document import Mapping as MappingNode
from noded.config.document import Node, Scalar, describe, documents
from noded.config.kinds import KINDS, Kind
from noded.config.problems import Place, Reading, did_you_mean, one_of, quote
from noded.config.records import Origin, Record
from noded.config.schema import NOT_SERVED, read
from noded.config.shapes import Meta


def parse_resources(text: str, reading: Reading) -> Iterator[Record]:
    """Give the record of each document that is right; note in `reading` what is wrong with the others."""
    for node in documents(text, reading):
        kind = _kind_of(node, reading)
        if kind is not None:
            yield from _record(node, kind, reading)


def _kind_of(node: Node, reading: Reading) -> Kind | None:
    place = Place(node.line)
    if not isinstance(node, MappingNode):
        reading.problem(place, "is no resource", found=describe(node), allowed="apiVersion, kind, metadata, spec")
        return None
    version, name = _word(node, "apiVersion"), _word(node, "kind")
    if version is None or name is None:
        absent = "apiVersion" if version is None else "kind"
        reading.problem(Place(node.line, absent), "is missing or no text", allowed="text")
        return None
    for kind in KINDS:
        if (kind.api_version, kind.name) == (version, name):
            return kind
    _note_unknown_kind(version, name, place, reading)
    return None


def _note_unknown_kind(version: str, name: str, place: Place, reading: Reading) -> None:
    found = f"{quote(name)} of {quote(version)}"
    groups = {kind.api_version.partition("/")[0] for kind in KINDS}
    group = version.partition("/")[0]
    if group not in groups:
        message = f"another system's resource is ignored{did_you_mean(group, groups)}"
        reading.warn(Place(place.line, "apiVersion"), message, found=found)
        return
    versions = [kind.api_version for kind in KINDS if kind.name == name]
    if versions:
        reading.problem(
            Place(place.line, "apiVersion"), "is no version of this kind", found=found, allowed=one_of(versions)
        )
        return
    names = sorted({kind.name for kind in KINDS if kind.api_version.partition("/")[0] == group})
    message = f"is no kind of {group}{did_you_mean(name, names)}"
    reading.problem(Place(place.line, "kind"), message, found=found, allowed=one_of(names))


def _record(node: Node, kind: Kind, reading: Reading) -> Iterator[Record]:
    before = reading.count
    values = read(node, kind.shape, "", reading)
    if reading.count > before:
        return
    meta: Meta = values["metadata"]
    if kind.build is None:
        reading.warn(Place(node.line, "kind"), f"{kind.name} {quote(meta.name)} {NOT_SERVED}")
        return
    _note_places(node, reading)
    record = kind.build(values, meta, reading, Origin(reading.file, node.line))
    if reading.count == before:
        yield record


def _note_places(document: Node, reading: Reading) -> None:
    """Keep where the fields stand that are looked at again when every file has been read."""
    entries = document.entries if isinstance(document, MappingNode) else {}
    _, spec = entries.get("spec", (0, None))
    within = spec.entries if isinstance(spec, MappingNode) else {}
    named = {f"spec.{name}": line for name, (line, _) in within.items()} | {name: entries[name][0] for name in entries}
    reading.places.update({(document.line, name): Place(line, name) for name, line in named.items()})


def _word(node: MappingNode, name: str) -> str | None:
    _, value = node.entries.get(name, (0, None))
    return value.text if isinstance(value, Scalar) and not value.is_null else None
