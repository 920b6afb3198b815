"""Imports go one way: components know nobody, tenancy knows component contracts, noded knows both.

Every import statement counts, also those inside functions and under TYPE_CHECKING.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OURS = ("components", "tenancy", "noded")
IO_MODULES = frozenset({"asyncio", "httpx", "select", "selectors", "socket", "ssl", "time", "trio", "uvloop"})
FRAMEWORKS = frozenset({"hypercorn", "quart", "quart_trio"})
TEST_ONLY = frozenset({"dapr", "grpc", "grpc_tools", "h11", "h2", "hypothesis", "pytest", "tests", "bench"})
TENANCY_MAY = ("components.contract.", "components.completion.")
DEMO_APPS = ("noded", "demo", "apps")
SANS_IO_EXCEPTIONS = frozenset({Path("tenancy/identity.py")})


def modules(*folders: str) -> list[Path]:
    found = [path.relative_to(ROOT) for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    return [path for path in found if not path.stem.endswith("_pb2")]


def imports(source: str, module: Path) -> Iterator[str]:
    """Full names of what a module imports; `from a import b` gives `a.b` (b may be a module)."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = module.with_suffix("").parts[: -node.level] if node.level else ()
            start = ".".join((*parents, *((node.module,) if node.module else ())))
            yield from (f"{start}.{alias.name}" for alias in node.names)


def imported(module: Path) -> set[str]:
    return set(imports((ROOT / module).read_text(), module))


def roots(names: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in names}


@pytest.mark.parametrize("module", modules("components"), ids=str)
def test_components_import_nothing_of_ours(module: Path) -> None:
    """A component knows no tenant and no daemon."""
    assert not roots(imported(module)) & {"tenancy", "noded"}


@pytest.mark.parametrize("module", modules("tenancy"), ids=str)
def test_tenancy_imports_component_contracts_only(module: Path) -> None:
    """Tenancy draws names and admits; of components it knows the contract, of the daemon nothing."""
    names = imported(module)
    of_components = {f"{name}." for name in names if name.partition(".")[0] == "components"}

    assert "noded" not in roots(names)
    assert {name for name in of_components if not name.startswith(TENANCY_MAY)} == set()


@pytest.mark.parametrize("module", modules("tenancy", "noded/wire"), ids=str)
def test_sans_io_folders_import_no_io_and_no_clock(module: Path) -> None:
    """What decides does no IO; time comes in as an argument. Identity asks the kernel, and is the exception."""
    if module in SANS_IO_EXCEPTIONS:
        return
    assert not roots(imported(module)) & IO_MODULES


@pytest.mark.parametrize("module", [path for path in modules("noded") if path.parts[1] != "admin"], ids=str)
def test_frameworks_stay_off_the_data_path(module: Path) -> None:
    """Quart and Hypercorn serve the operator; nothing an app's request passes imports them."""
    assert not roots(imported(module)) & FRAMEWORKS


@pytest.mark.parametrize("module", [path for path in modules(*OURS) if path.parts[:3] != DEMO_APPS], ids=str)
def test_nothing_that_ships_imports_what_only_tests_use(module: Path) -> None:
    """The grpcio and h2 libraries are peers in tests, never dependencies. The demo's apps are programs of their own."""
    assert not roots(imported(module)) & TEST_ONLY


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("import a.b", {"a.b"}),
        ("from a import b, c", {"a.b", "a.c"}),
        ("from . import b", {"noded.wire.b"}),
        ("from ..x import b", {"noded.x.b"}),
        ("def f():\n    import trio", {"trio"}),
        ("if TYPE_CHECKING:\n    from a.b import c", {"a.b.c"}),
    ],
)
def test_every_form_of_import_is_seen(source: str, names: set[str]) -> None:
    """No form of the statement hides a layer from these tests."""
    assert set(imports(source, Path("noded/wire/m.py"))) == names


def test_every_layer_has_modules() -> None:
    """The walk finds the code it is to judge."""
    assert all(len(modules(folder)) > 2 for folder in (*OURS, "noded/wire"))
