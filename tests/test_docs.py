"""What a user can write or meet is in the reference pages: routes, errors, fields, limits, commands."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from noded.cli import main
from noded.config.kinds import KINDS, Kind
from noded.config.load import load_resources
from noded.config.schema import field_paths
from noded.config.shapes import camel_case
from tenancy.limits import FIELDS as LIMITS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
LIMIT_PARENTS = ("spec.limits.", "spec.perApp.", "spec.total.")


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def section(name: str, title: str) -> str:
    """The text below a heading of the second level, down to the next."""
    _, found, rest = page(name).partition(f"\n## {title}\n")
    assert found, f"docs/{name} has no section {title!r}"
    return rest.partition("\n## ")[0]


def code_spans(text: str) -> set[str]:
    return set(re.findall(r"`([^`\n]+)`", text))


@pytest.fixture(scope="session")
def tables() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_tables", DOCS / "tables.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["api.md", "components.md", "errors.md"])
def test_tables_say_what_the_code_declares(tables: ModuleType, name: str) -> None:
    """Every route, gRPC method, error and component field has its row. Remedy: python docs/tables.py."""
    assert page(name) == tables.rendered(name)


def test_every_component_type_has_a_section(tables: ModuleType) -> None:
    """A backend that can be configured has a heading of its own and its table of fields."""
    for name in tables.component_fields():
        assert f"<!-- table: fields:{name} -->" in page("components.md")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: f"{kind.api_version}/{kind.name}")
def test_every_field_of_every_kind_is_documented(kind: Kind) -> None:
    """Each field a resource may have stands in its kind's section of configuration.md."""
    named = code_spans(section("configuration.md", f"{kind.name} ({kind.api_version})"))
    common = code_spans(section("configuration.md", "Every kind"))
    for path, _ in field_paths(kind.shape):
        if path.startswith(LIMIT_PARENTS) or path == "metadata":
            continue
        known = common if path.startswith("metadata.") or path in {"apiVersion", "kind", "status"} else named
        assert path in known or path.removeprefix("metadata.") in known, f"{kind.name}: {path}"


def test_every_limit_is_documented() -> None:
    """Each limit has a row that says what it counts and what happens when it is met."""
    rows = {
        cells[1].strip(" `"): cells for line in page("limits.md").splitlines() if len(cells := line.split("|")) == 6
    }

    for limit in map(camel_case, LIMITS):
        assert all(cell.strip() for cell in rows[limit][1:5])


def test_examples_are_right(tmp_path: Path) -> None:
    """What configuration.md shows can be loaded as it stands."""
    examples = re.findall(r"```yaml\n(.*?)```", page("configuration.md"), re.DOTALL)
    (tmp_path / "examples.yaml").write_text("---\n".join(examples))

    assert len(examples) > 1
    assert load_resources([tmp_path], {}).problems == ()


@pytest.mark.parametrize("name", sorted(path.name for path in DOCS.glob("*.md")))
def test_links_lead_somewhere(name: str) -> None:
    """A page links to pages that exist."""
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page(name)):
        assert (DOCS / target).exists(), target


def help_of(capsys: pytest.CaptureFixture[str], *command: str) -> str:
    with pytest.raises(SystemExit):
        main([*command, "--help"])
    return capsys.readouterr().out


def test_every_command_and_flag_is_documented(capsys: pytest.CaptureFixture[str]) -> None:
    """What `noded --help` and each command's --help name stands in cli.md, flags in their command's section."""
    commands = re.search(r"\{([a-z,]+)\}", help_of(capsys))

    assert commands is not None
    for command in commands[1].split(","):
        text = section("cli.md", f"noded {command}")
        for flag in set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", help_of(capsys, command))) - {"--help"}:
            assert flag in text or flag in page("cli.md").partition("\n## ")[0], f"noded {command} {flag}"
