"""`noded check` tells what a daemon would refuse (errors) and what would surprise (warnings)."""

import io
import json
from pathlib import Path

import pytest

from components.fields import Field, FieldType
from noded.check import KNOWN_FIELDS, check, run

APP = "apiVersion: noded.io/v1alpha1\nkind: App\nmetadata: {name: %s}\nspec: {loopback: {httpPort: %d}}\n---\n"


def component(component_type: str, *items: str, scopes: str = "[]") -> str:
    metadata = "".join(f"  - {item}\n" for item in items)
    return (
        "apiVersion: dapr.io/v1alpha1\nkind: Component\nmetadata: {name: thing}\nspec:\n"
        f"  type: {component_type}\n  metadata:{' []' if not items else ''}\n{metadata}scopes: {scopes}\n---\n"
    )


def told(directory: Path, text: str) -> tuple[list[str], list[str]]:
    (directory / "a.yaml").write_text(text)
    checked = check([directory], {})
    prefix = f"{directory}/a.yaml:"
    return (
        [str(each).removeprefix(prefix) for each in checked.problems],
        [str(each).removeprefix(prefix) for each in checked.warnings],
    )


def test_unknown_component_type_lists_the_known_ones(tmp_path: Path) -> None:
    """A type noded has no backend for is an error that names those it has."""
    (problem,), _ = told(tmp_path, component("state.sqlit"))

    assert problem.startswith("5: spec.type: is no component type noded has; did you mean state.sqlite?")
    assert all(each in problem for each in KNOWN_FIELDS)


@pytest.mark.parametrize("version", ["v0", "V1", '""', "v9", "1"])
def test_a_version_is_one_that_the_type_has(tmp_path: Path, version: str) -> None:
    """Only v1, which is also meant by v0 and by none."""
    given = component("state.in-memory").replace("  metadata", f"  version: {version}\n  metadata")
    problems, _ = told(tmp_path, given)

    unknown = f'6: spec.version: is no version of state.in-memory noded has; found "{version}"; allowed: v1'
    assert problems == ([unknown] if version in {"v9", "1"} else [])


def test_wrong_value_of_a_declared_field_is_told_at_its_line(tmp_path: Path) -> None:
    """A metadata value is read by the type its backend declares."""
    problems, warnings = told(
        tmp_path,
        component("state.sqlite", "{name: connectionString, value: x.db}", "{name: disablewal, value: perhaps}"),
    )

    assert problems == [
        '8: spec.metadata.disablewal: has a value that is not allowed; found "perhaps"; allowed: true or false'
    ]
    assert warnings == []


def test_missing_required_field_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A declared field without default must be given."""
    monkeypatch.setitem(KNOWN_FIELDS, "state.in-memory", (Field("place", FieldType.TEXT, "where"),))
    (problem,), _ = told(tmp_path, component("state.in-memory"))

    assert problem == "1: spec.metadata.place: is missing; allowed: text"


def test_unknown_metadata_field_is_a_warning(tmp_path: Path) -> None:
    """Dapr ignores metadata fields it does not know; a warning tells them, and those without effect yet."""
    problems, warnings = told(
        tmp_path,
        component("state.in-memory", "{name: keyPrefx, value: name}", "{name: actorStateStore, value: 'true'}"),
    )

    assert problems == []
    assert "7: spec.metadata.keyPrefx: is no field of state.in-memory; did you mean keyPrefix?" in warnings[0]
    assert "8: spec.metadata.actorStateStore: is accepted but not served yet" in warnings[1]


def test_templates_are_not_read_as_values(tmp_path: Path) -> None:
    """A value that is only known per app is not checked."""
    items = ("{name: connectionString, value: x.db}", "{name: tableName, value: 'state_{appID}'}")

    assert told(tmp_path, component("state.sqlite", *items)) == ([], [])


def test_subscription_to_no_pubsub_is_a_warning(tmp_path: Path) -> None:
    """A pubsub nobody configured may still come; the warning names those there are."""
    subscription = (
        "apiVersion: dapr.io/v1alpha1\nkind: Subscription\nmetadata: {name: s}\n"
        "spec: {topic: t, pubsubname: %s, route: /in}\n"
    )
    _, (warning,) = told(tmp_path, component("pubsub.in-memory") + subscription % "thin")

    assert warning == '12: spec.pubsubname: is no pubsub component; did you mean thing?; found "thin"; allowed: thing'
    assert told(tmp_path, component("pubsub.in-memory") + subscription % "thing") == ([], [])


def test_scope_of_no_app_is_a_warning_where_apps_are_declared(tmp_path: Path) -> None:
    """Scopes are app ids; without any App resource they cannot be judged."""
    scoped = component("pubsub.in-memory", scopes="[order]")

    assert told(tmp_path, scoped) == ([], [])
    _, (warning,) = told(tmp_path, APP % ("orders", 0) + scoped)
    assert "scopes: is no app of these resources; did you mean orders?" in warning


def test_two_apps_on_one_port_are_an_error(tmp_path: Path) -> None:
    """A loopback port is one app's; 0 is a free one and nobody's."""
    assert told(tmp_path, APP % ("a", 0) + APP % ("b", 0))[0] == []
    (problem,), _ = told(tmp_path, APP % ("a", 3500) + APP % ("b", 3500))

    assert "spec.loopback.httpPort: is already taken by default/a, httpPort; found 3500" in problem


def test_output_and_exit_code(tmp_path: Path) -> None:
    """Exit code 1 with errors, 0 with warnings only; the JSON form carries every part of a problem."""
    (tmp_path / "a.yaml").write_text(component("state.in-memory", "{name: x, value: 1}"))
    text = io.StringIO()
    assert run([tmp_path], text, as_json=False) == 0
    assert text.getvalue().endswith("1 component, 0 subscriptions, 0 apps, 0 quotas; 0 errors, 1 warning\n")

    (tmp_path / "a.yaml").write_text(component("state.no"))
    out = io.StringIO()
    assert run([tmp_path], out, as_json=True) == 1
    answer = json.loads(out.getvalue())
    assert answer["ok"] is False
    assert {"file", "line", "field", "message", "found", "allowed"} == set(answer["problems"][0])
    assert answer["resources"]["components"] == 1


def test_directory_without_resources_is_a_warning(tmp_path: Path) -> None:
    """A wrong directory, or resources in a directory below it: that nothing was read is told."""
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "a.yaml").write_text(component("state.in-memory"))

    checked = check([tmp_path], {})

    assert [str(each) for each in checked.warnings] == [
        f"{tmp_path}: holds no .yaml or .yml file, and directories in it are not read"
    ]
    assert checked.problems == ()
