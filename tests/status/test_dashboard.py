"""The dashboard that deploy/ ships asks for metrics that there are, by labels that they have."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from noded.admin.dapr_families import DAPR
from noded.admin.exposition import Family
from noded.admin.noded_families import APPS, COMPONENT_UP, NODED, PROCESS

ROOT = Path(__file__).parents[2]
FAMILIES: Mapping[str, Family] = {each.name: each for each in (*NODED, *DAPR, *PROCESS)}
OF_THE_NODE = {APPS.name, COMPONENT_UP.name, *(each.name for each in PROCESS)}
SELECTOR = re.compile(r"\b((?:noded|dapr|process)_\w+)(?:\{([^}]*)\})?")


def dashboard() -> Any:
    return json.loads((ROOT / "deploy" / "grafana-dashboard.json").read_text())


def queries() -> Iterator[str]:
    """Everything that Prometheus is asked."""
    board = dashboard()
    for panel in board["panels"]:
        yield from (target["expr"] for target in panel.get("targets", ()))
    yield from (each["definition"] for each in board["templating"]["list"] if "definition" in each)


def selectors(query: str) -> list[tuple[str, str]]:
    """The metrics of a query, and by what each is selected."""
    return SELECTOR.findall(re.sub(r"by \([^)]*\)", "", query))


def family_of(name: str) -> Family:
    """The metric that a selector names; a histogram by one of its series."""
    bare = re.sub(r"_(bucket|sum|count)$", "", name)
    family = FAMILIES.get(bare)
    return family if family is not None and family.kind == "histogram" else FAMILIES[name]


def labels_of(family: Family) -> set[str]:
    return {*family.labels, "le"} | (set() if family.name in OF_THE_NODE else {"app_id", "namespace"})


def test_every_query_names_metrics_that_are_documented() -> None:
    """By name, as docs/metrics.md lists them."""
    page = (ROOT / "docs" / "metrics.md").read_text()
    named = {family_of(name).name for query in queries() for name, _ in selectors(query)}

    assert named
    assert not {name for name in named if f"| `{name}` |" not in page}


def test_every_query_selects_and_sums_by_labels_that_the_metric_has() -> None:
    """A wrong label selects nothing, and nobody is told."""
    for query in queries():
        summed = {label for group in re.findall(r"by \(([^)]*)\)", query) for label in group.split(", ")}
        for name, selected in selectors(query):
            labels = set(re.findall(r"(\w+)=", selected)) | summed
            assert labels <= labels_of(family_of(name)), query


def test_counters_are_shown_as_rates() -> None:
    """A counter itself shows when the daemon was started, and little more."""
    for query in queries():
        for name, _ in selectors(query):
            assert family_of(name).kind == "gauge" or "rate(" in query or query.startswith("label_values("), query


def test_the_panels_a_tenant_is_judged_by_are_there() -> None:
    """Requests, latency, refusals, use of quota, deliveries, invocation, and the daemon's memory."""
    named = {family_of(name).name for query in queries() for name, _ in selectors(query)}

    assert named >= {
        "noded_requests_total",
        "dapr_http_server_latency",
        "noded_refusals_total",
        "noded_limit_used",
        "noded_limit_allowed",
        "dapr_component_pubsub_ingress_count",
        "dapr_runtime_service_invocation_req_sent_total",
        "process_resident_memory_bytes",
    }


def test_panels_stand_side_by_side() -> None:
    """Each has an id and a place of its own."""
    panels = dashboard()["panels"]
    places = [
        (place["x"] + x, place["y"] + y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["w"])
        for y in range(place["h"])
    ]

    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len(set(places)) == len(places)
    assert max(x for x, _ in places) < 24
