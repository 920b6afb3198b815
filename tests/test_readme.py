"""The README stays one page that leads on."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_is_one_page() -> None:
    """Under 150 lines; from clone to two apps in some twenty."""
    (example,) = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)

    assert len(README.splitlines()) < 150
    assert len(example.splitlines()) <= 21


def test_links_lead_somewhere() -> None:
    """What it links to is there. The chart is drawn by the benchmark."""
    targets = set(re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", README)) - {"docs/bench.svg"}

    assert len(targets) > 5
    assert [target for target in targets if not (ROOT / target).exists()] == []


def test_map_names_what_exists() -> None:
    """Every path of the map matches something."""
    section = README.partition("## The map")[2].partition("\n## ")[0]
    paths = re.findall(r"`([a-z_/*.]+(?:/|\.py))`", section)

    assert len(paths) > 15
    assert [path for path in paths if not list(ROOT.glob(path.rstrip("/")))] == []
