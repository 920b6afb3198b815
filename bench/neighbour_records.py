"""What was measured of neighbours, and whether it is good enough. Frozen records."""

from dataclasses import dataclass

from bench.floors import NEIGHBOUR_P50, NEIGHBOUR_P99, SHARES_APART


@dataclass(frozen=True, slots=True)
class Latency:
    """How long the quiet tenant's answers took, in microseconds."""

    p50_us: float
    p99_us: float
    max_us: float
    answers: int
    failed: int


@dataclass(frozen=True, slots=True)
class Pair:
    """One round: quiet, then beside the flood."""

    quiet: Latency
    flooded: Latency
    flood_per_second: float
    flood_failed: int
    """Answers to the flood other than 2xx: refusals count too."""

    @property
    def p50_ratio(self) -> float:
        """How many times the quiet median."""
        return self.flooded.p50_us / self.quiet.p50_us

    @property
    def p99_ratio(self) -> float:
        """How many times the quiet 99th percentile."""
        return self.flooded.p99_us / self.quiet.p99_us


@dataclass(frozen=True, slots=True)
class Row:
    """One question, summed up: the least disturbed of its rounds, medians of the ratios."""

    name: str
    title: str
    pairs: tuple[Pair, ...]
    p50_ratio: float
    p99_ratio: float
    apart: float | None
    """Of two such floods: the difference of their rates, as a share of the mean. None: not asked."""

    @property
    def passed(self) -> bool:
        """Whether every floor is kept, and nobody was answered wrongly."""
        wrong = any(pair.quiet.failed or pair.flooded.failed for pair in self.pairs)
        fair = self.apart is None or self.apart <= SHARES_APART
        return self.p50_ratio <= NEIGHBOUR_P50 and self.p99_ratio <= NEIGHBOUR_P99 and fair and not wrong
