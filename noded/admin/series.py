"""Series by label values, summed where labels meet, as they become metric families."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from prometheus_client.core import Metric

from noded.admin.exposition import Family, add_histogram, metric
from tenancy.tally import SIZE_BOUNDS_BYTES, Cell, Spread

APP_ID: Final = "app_id"
NAMESPACE: Final = "namespace"


class Owner(NamedTuple):
    """Whose series they are."""

    app_id: str
    namespace: str


class Rule(NamedTuple):
    """Rewrites a label's values (spec.metric.rules)."""

    pattern: re.Pattern[str]
    replacement: str


Rules = Mapping[tuple[str, str], Sequence[Rule]]
"""{(metric, label): its rules, in order}"""


class Measured(NamedTuple):
    """What a cell holds of one thing that it measures."""

    spread: Spread | None
    """Of those past the first bound; the others are what is left of `number`."""
    number: int
    total: float


class _Histogram:
    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0


class Series:
    """All series of one scrape."""

    def __init__(
        self, families: Sequence[Family], bounds_ms: Sequence[float], rules: Rules, *, namespaced: bool
    ) -> None:
        """Begin with none. `namespaced`: every series says its app's namespace."""
        self._families = families
        self._bounds_ms = bounds_ms
        self._rules = rules
        self._namespaced = namespaced
        self._counts: dict[str, dict[tuple[tuple[str, str], ...], float]] = {each.name: {} for each in families}
        self._histograms: dict[str, dict[tuple[tuple[str, str], ...], _Histogram]] = {
            each.name: {} for each in families
        }

    def count(self, family: Family, owner: Owner, values: Sequence[str], number: float) -> None:
        """Add to a counter that shows once it is not nought; `values` as the family's labels but its namespace."""
        if number:
            series = self._counts[family.name]
            labels = self._labels(family, owner, values)
            series[labels] = series.get(labels, 0.0) + number

    def own(self, family: Family, owner: Owner, values: Sequence[str], number: float) -> None:
        """Add to a series that is told when it is nought as well; noded's own always say the namespace."""
        labels = (*zip(family.labels, values, strict=True), (APP_ID, owner.app_id), (NAMESPACE, owner.namespace))
        series = self._counts[family.name]
        key = tuple(sorted(labels))
        series[key] = series.get(key, 0.0) + number

    def node(self, family: Family, labels: Mapping[str, str], number: float) -> None:
        """Add to a series of the node's."""
        series = self._counts[family.name]
        key = tuple(sorted(labels.items()))
        series[key] = series.get(key, 0.0) + number

    def times(self, family: Family, owner: Owner, values: Sequence[str], cell: Cell) -> None:
        """Add the times of a cell."""
        measured = Measured(cell.times, cell.count, cell.milliseconds)
        self._add(family, self._labels(family, owner, values), self._bounds_ms, measured)

    def sizes(self, family: Family, owner: Owner, values: Sequence[str], measured: "Measured") -> None:
        """Add sizes in bytes."""
        self._add(family, self._labels(family, owner, values), SIZE_BOUNDS_BYTES, measured)

    def families(self) -> Iterator[Metric]:
        """Give everything as families, those without a series left out."""
        for family in self._families:
            made = metric(family)
            for labels, number in sorted(self._counts[family.name].items()):
                made.add_sample(family.name, dict(labels), number)
            for labels, histogram in sorted(self._histograms[family.name].items()):
                add_histogram(made, dict(labels), histogram.bounds, histogram.counts, histogram.total)
            if made.samples:
                yield made

    def _add(
        self, family: Family, labels: tuple[tuple[str, str], ...], bounds: Sequence[float], measured: "Measured"
    ) -> None:
        spread, count, total = measured
        if not count:
            return
        series = self._histograms[family.name]
        histogram = series.get(labels)
        if histogram is None:
            histogram = series[labels] = _Histogram(bounds)
        histogram.total += total
        counts = histogram.counts
        told = 0
        for at, number in enumerate(spread.counts if spread is not None else ()):
            counts[at] += number
            told += number
        counts[0] += max(0, count - told)

    def _labels(self, family: Family, owner: Owner, values: Sequence[str]) -> tuple[tuple[str, str], ...]:
        given = iter(values)
        labels = [
            (name, owner.namespace if name == NAMESPACE else self._ruled(family, name, next(given)))
            for name in family.labels
        ]
        if self._namespaced and NAMESPACE not in family.labels:
            labels.append((NAMESPACE, owner.namespace))
        labels.append((APP_ID, owner.app_id))
        return tuple(sorted(labels))

    def _ruled(self, family: Family, label: str, value: str) -> str:
        for rule in self._rules.get((family.name, label), ()):
            value = rule.pattern.sub(rule.replacement, value)
        return value
