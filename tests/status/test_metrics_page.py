"""How counters become the page that Prometheus reads."""

import re

import pytest

from noded.admin.exposition import Family, number, render
from noded.admin.series import Measured, Owner, Rule, Series
from tenancy.tally import LATENCY_BOUNDS_MS, SIZE_BOUNDS_BYTES, Cell, Spread

COUNT = Family("dapr_x_count", "counter", ("topic",), "", "Things\nof a topic.", "")
TIMES = Family("dapr_x_latency", "histogram", (), "milliseconds", "Time.", "")
OWN = Family("noded_x_total", "counter", ("limit",), "", "Own.", "")
OWNER = Owner("orders", "shop")


def page(series: Series) -> list[str]:
    return render(series.families()).decode().splitlines()


def some_series(*, namespaced: bool = False, rules: dict[tuple[str, str], list[Rule]] | None = None) -> Series:
    return Series((COUNT, TIMES, OWN), (5, 50), rules or {}, namespaced=namespaced)


def test_a_counter_is_written_under_its_own_name() -> None:
    """Dapr's counters have no _total; a metric without series is not written."""
    series = some_series()
    series.count(COUNT, OWNER, ("t",), 3)
    series.count(COUNT, OWNER, ("t",), 1)
    series.count(COUNT, OWNER, ("none",), 0)

    assert page(series) == [
        "# HELP dapr_x_count Things\\nof a topic.",
        "# TYPE dapr_x_count counter",
        'dapr_x_count{app_id="orders",topic="t"} 4',
    ]


def test_a_label_cannot_break_its_line() -> None:
    """Topics are apps' own words."""
    series = some_series()
    series.count(COUNT, OWNER, ('a"} 1\nfake 2\\',), 1)

    assert page(series)[-1] == r'dapr_x_count{app_id="orders",topic="a\"} 1\nfake 2\\"} 1'


def test_a_histogram_counts_the_quick_in_its_lowest_bucket() -> None:
    """Only values past the first bound are spread; the others are what is left of the count."""
    cell = Cell()
    cell.count = 10
    for milliseconds in (5, 7, 100):
        cell.took(milliseconds, (5, 50))
    series = some_series(namespaced=True)
    series.times(TIMES, OWNER, (), cell)

    labels = 'app_id="orders",namespace="shop"'
    assert page(series)[2:] == [
        f'dapr_x_latency_bucket{{{labels},le="5"}} 7',
        f'dapr_x_latency_bucket{{{labels},le="50"}} 9',
        f'dapr_x_latency_bucket{{{labels},le="+Inf"}} 10',
        f"dapr_x_latency_sum{{{labels}}} 112",
        f"dapr_x_latency_count{{{labels}}} 10",
    ]


def test_a_rule_sums_the_series_that_it_makes_one() -> None:
    """Rewritten labels may meet."""
    rules = {("dapr_x_count", "topic"): [Rule(re.compile("^orders-.*"), "orders")]}
    series = some_series(rules=rules)
    for topic in ("orders-1", "orders-2", "mail"):
        series.count(COUNT, OWNER, (topic,), 1)

    assert page(series)[2:] == [
        'dapr_x_count{app_id="orders",topic="mail"} 1',
        'dapr_x_count{app_id="orders",topic="orders"} 2',
    ]


def test_own_series_are_told_at_nought_and_by_namespace() -> None:
    """So that a rate has something to begin at."""
    series = some_series()
    series.own(OWN, OWNER, ("streams",), 0)

    assert page(series)[-1] == 'noded_x_total{app_id="orders",limit="streams",namespace="shop"} 0'


@pytest.mark.parametrize(
    ("value", "written"),
    [(0.0, "0"), (1024.0, "1024"), (100_000.0, "100000"), (1_048_576.0, "1.048576e+06"), (0.25, "0.25")],
)
def test_numbers_are_written_as_go_does(value: float, written: str) -> None:
    """A bucket's bound is a label: it must be daprd's to the letter."""
    assert number(value) == written


def test_sizes_are_spread_by_daprds_bounds() -> None:
    """1 KiB to 4 GiB."""
    spread = Spread(SIZE_BOUNDS_BYTES)
    spread.add(1 << 32)
    series = some_series()
    series.sizes(TIMES, OWNER, (), Measured(spread, 1, float(1 << 32)))

    assert page(series)[-3] == 'dapr_x_latency_bucket{app_id="orders",le="+Inf"} 1'
    assert 'le="4.294967296e+09"} 0' in page(series)[-4]
    assert len(LATENCY_BOUNDS_MS) == 34
