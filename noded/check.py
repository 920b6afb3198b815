"""`noded check`: everything that can be wrong with resources, told before a daemon runs on them.

Beyond what reading a file shows: component types and their metadata against the registry, and names that lead nowhere.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from components.contract import ConfigError
from components.fields import Field, Fields, FieldType
from components.registry import PUBSUBS, STATE_STORES, VERSIONS
from noded.config.common_fields import COMMON_FIELDS, FIELDS_NOT_SERVED
from noded.config.instantiate import TEMPLATES
from noded.config.load import load_resources
from noded.config.problems import Place, Problem, did_you_mean, one_of, quote
from noded.config.records import AppSpec, ComponentSpec, Origin, Resources
from noded.config.schema import NOT_SERVED
from noded.resources_log import counted, summary

KNOWN_FIELDS: Mapping[str, tuple[Field, ...]] = {
    name: tuple(backend.fields) for table in (STATE_STORES, PUBSUBS) for name, backend in table.items()
}
"""Component type -> the metadata fields its backend declares."""


Places = Mapping[tuple[str, int, str], Place]
"""Where fields stand, by (file, line of the document, field)."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check found."""

    resources: Resources
    problems: tuple[Problem, ...]
    warnings: tuple[Problem, ...]


def run(paths: Iterable[Path], out: TextIO, *, as_json: bool) -> int:
    """Check and print. Gives the exit code: 0 where a daemon would take everything, else 1."""
    checked = check(paths)
    out.write(_as_json(checked) if as_json else _as_text(checked))
    return 1 if checked.problems else 0


def check(paths: Iterable[Path], environ: Mapping[str, str] | None = None) -> Checked:
    """Read the resources and look at them as a whole."""
    loaded = load_resources(paths, environ)
    places = {(file.path, *key): place for file in loaded.files for key, place in file.places.items()}
    problems, warnings = list(loaded.problems), list(loaded.warnings)
    for component in loaded.resources.components:
        found = _Component(component, places)
        problems += found.problems()
        warnings += found.warnings()
    problems += _ports_taken(loaded.resources.apps, places)
    warnings += _names_leading_nowhere(loaded.resources, places)
    return Checked(loaded.resources, tuple(sorted(problems, key=_order)), tuple(sorted(warnings, key=_order)))


@dataclass(frozen=True, slots=True)
class _Component:
    """One component against what its type declares."""

    spec: ComponentSpec
    places: Places

    def problems(self) -> Iterator[Problem]:
        declared = KNOWN_FIELDS.get(self.spec.type)
        if declared is None:
            message = f"is no component type noded has{did_you_mean(self.spec.type, KNOWN_FIELDS)}"
            origin = _at_field(self.spec.origin, "spec.type", self.places)
            yield _problem(origin, "spec.type", message, quote(self.spec.type), one_of(sorted(KNOWN_FIELDS)))
            return
        if self.spec.version.lower() not in VERSIONS:
            origin = _at_field(self.spec.origin, "spec.version", self.places)
            message = f"is no version of {self.spec.type} noded has"
            yield _problem(origin, "spec.version", message, quote(self.spec.version), "v1")
        fields = Fields(self.spec.name, (*declared, *self._common()), self.spec.metadata)
        for field in fields.declared:
            found = self._given(field)
            if (found is None or not any(each in found for each in TEMPLATES)) and not _reads(fields, field):
                yield self._wrong(field, found)

    def warnings(self) -> Iterator[Problem]:
        declared = KNOWN_FIELDS.get(self.spec.type)
        if declared is None:
            return
        known = {name.lower(): name for field in (*declared, *self._common()) for name in (field.name, *field.aliases)}
        later = {name.lower() for name in FIELDS_NOT_SERVED.get(self._category, ())}
        for name in self.spec.metadata:
            if name.lower() in later:
                yield self._at(name, NOT_SERVED)
            elif name.lower() not in known:
                allowed = one_of(known.values()) or "no field"
                yield self._at(name, f"is no field of {self.spec.type}{did_you_mean(name, known.values())}", allowed)

    @property
    def _category(self) -> str:
        return self.spec.type.partition(".")[0]

    def _common(self) -> tuple[Field, ...]:
        return COMMON_FIELDS.get(self._category, ())

    def _given(self, field: Field) -> str | None:
        names = {each.lower() for each in (field.name, *field.aliases)}
        return next((value for name, value in self.spec.metadata.items() if name.lower() in names), None)

    def _wrong(self, field: Field, found: str | None) -> Problem:
        if not found:
            return self._at(field.name, "is missing", field.type.value)
        names = {each.lower() for each in (field.name, *field.aliases)}
        name = next(each for each in self.spec.metadata if each.lower() in names)
        return self._at(name, "has a value that is not allowed", field.type.value, quote(found))

    def _at(self, name: str, message: str, allowed: str = "", found: str = "") -> Problem:
        field = f"spec.metadata.{name}"
        return _problem(_at_field(self.spec.origin, field, self.places), field, message, found, allowed)


def _reads(fields: Fields, field: Field) -> bool:
    try:
        match field.type:
            case FieldType.TEXT:
                return field.default is not None or bool(fields.text(field.name))
            case FieldType.IDENTIFIER:
                fields.identifier(field.name)
            case FieldType.DURATION:
                fields.seconds(field.name)
            case FieldType.BOOLEAN:
                fields.boolean(field.name)
            case FieldType.SIZE:
                fields.size_bytes(field.name)
    except ConfigError:
        return False
    return True


def _ports_taken(apps: Iterable[AppSpec], places: Places) -> Iterator[Problem]:
    owner: dict[int, str] = {}
    for app in apps:
        ports = (app.loopback.http_port, app.loopback.grpc_port) if app.loopback else ()
        for field, port in zip(("httpPort", "grpcPort"), ports, strict=False):
            first = owner.setdefault(port, f"{app.namespace}/{app.app_id}, {field}")
            if port and first != f"{app.namespace}/{app.app_id}, {field}":
                message = f"is already taken by {first}"
                origin = _at_field(app.origin, "spec.loopback", places)
                yield _problem(origin, f"spec.loopback.{field}", message, str(port), "a port of the app's own, or 0")


def _names_leading_nowhere(resources: Resources, places: Places) -> Iterator[Problem]:
    pubsubs = [each for each in resources.components if each.type.startswith("pubsub.")]
    for subscription in resources.subscriptions:
        name = subscription.pubsub_name
        if not any(each.name == name and _meets(each.namespace, subscription.namespace) for each in pubsubs):
            known = sorted({each.name for each in pubsubs})
            message = f"is no pubsub component{did_you_mean(name, known)}"
            origin = _at_field(subscription.origin, "spec.pubsubname", places)
            yield _problem(origin, "spec.pubsubname", message, quote(name), one_of(known))
    app_ids = sorted({each.app_id for each in resources.apps})
    scoped = [(each.origin, each.scopes) for each in resources.components]
    scoped += [(each.origin, each.scopes) for each in resources.subscriptions]
    for origin, scopes in scoped:
        for app_id in scopes:
            if app_ids and app_id not in app_ids:
                message = f"is no app of these resources{did_you_mean(app_id, app_ids)}"
                yield _problem(_at_field(origin, "scopes", places), "scopes", message, quote(app_id), one_of(app_ids))


def _meets(first: str | None, second: str | None) -> bool:
    return first is None or second is None or first == second


def _at_field(origin: Origin | None, field: str, places: Places) -> Origin | None:
    """The field's own line where it was given, else the document's first."""
    place = places.get((origin.file, origin.line, field)) if origin else None
    return Origin(origin.file, place.line) if origin and place else origin


def _problem(origin: Origin | None, field: str, message: str, found: str, allowed: str) -> Problem:
    return Problem(origin.file if origin else "", origin.line if origin else 0, field, message, found, allowed)


def _order(problem: Problem) -> tuple[str, int]:
    return problem.file, problem.line


def _counts(resources: Resources) -> dict[str, int]:
    return {
        "components": len(resources.components),
        "subscriptions": len(resources.subscriptions),
        "apps": len(resources.apps),
        "quotas": len(resources.quotas),
    }


def _as_json(checked: Checked) -> str:
    told = {
        "ok": not checked.problems,
        "problems": [each.json() for each in checked.problems],
        "warnings": [each.json() for each in checked.warnings],
        "resources": _counts(checked.resources),
    }
    return json.dumps(told, indent=2) + "\n"


def _as_text(checked: Checked) -> str:
    lines = [f"error: {each}" for each in checked.problems] + [f"warning: {each}" for each in checked.warnings]
    read = summary(checked.resources)
    lines.append(f"{read}; {counted(checked.problems, 'error')}, {counted(checked.warnings, 'warning')}")
    return "\n".join(lines) + "\n"
