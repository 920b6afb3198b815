"""From samples to rows, and rows to a table and JSON."""

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from bench.floors import FLOORS, PSS_CEILING_MB, Floor
from bench.quiet import QUIET_SHARE
from bench.records import CONNECTIONS, Case, Memory, Sample, SubjectName

Samples = Mapping[SubjectName, Sequence[Sample]]
"""{subject: its samples, by round}. With both subjects, equal rounds are pairs."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Medians over the rounds of one subject; failed is the sum."""

    rate: float
    per_core: float
    busy: float
    failed: int
    latency_ms: float | None
    p99_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One case, summed up."""

    case: str
    title: str
    noded: Figures
    daprd: Figures | None
    rate_ratio: float | None
    """Median over the pairs of noded/daprd, operations per second."""
    per_core_ratio: float | None
    """The same, operations per second of server processor time."""
    floor: Floor | None
    connections: int = CONNECTIONS

    @property
    def ratio(self) -> float | None:
        """The ratio the floor speaks of."""
        return self.per_core_ratio if self.floor and self.floor.basis == "per_core" else self.rate_ratio

    @property
    def passed(self) -> bool | None:
        """Whether the floor is reached; None where there is none, or no daprd."""
        return None if self.floor is None or self.ratio is None else self.ratio >= self.floor.ratio


@dataclass(frozen=True, slots=True)
class Report:
    """All of one run."""

    rows: tuple[Row, ...]
    memory: Mapping[SubjectName, Memory]
    rounds: int
    seconds: float
    others_share: float = 0.0
    """Of the two cores, in use by others during the worst measurement; see bench/quiet.py."""

    @property
    def memory_passed(self) -> bool | None:
        """Whether noded is under its ceiling; None where it was not measured."""
        noded = self.memory.get("noded")
        return None if noded is None else noded.operator_loaded and noded.pss_mb <= PSS_CEILING_MB

    @property
    def passed(self) -> bool:
        """Whether nothing that has a floor or a ceiling missed it."""
        return self.memory_passed is not False and all(row.passed is not False for row in self.rows)


def summarise(case: Case, samples: Samples, connections: int = CONNECTIONS) -> Row:
    """Medians of each subject and of the pairwise ratios. Floors are for one number of connections."""
    noded, daprd = samples["noded"], samples.get("daprd", ())
    pairs = list(zip(noded, daprd, strict=False))
    return Row(
        case=case.name,
        title=case.title,
        noded=_figures(noded),
        daprd=_figures(daprd) if daprd else None,
        rate_ratio=median(a.rate / max(b.rate, 1) for a, b in pairs) if pairs else None,
        per_core_ratio=median(a.per_core / max(b.per_core, 1) for a, b in pairs) if pairs else None,
        floor=FLOORS.get(case.name) if connections == CONNECTIONS else None,
        connections=connections,
    )


def _figures(samples: Sequence[Sample]) -> Figures:
    latencies = [sample.latency_ms for sample in samples if sample.latency_ms is not None]
    tails = [sample.p99_ms for sample in samples if sample.p99_ms is not None]
    return Figures(
        rate=median(sample.rate for sample in samples),
        per_core=median(sample.per_core for sample in samples),
        busy=median(sample.busy for sample in samples),
        failed=sum(sample.failed for sample in samples),
        latency_ms=median(latencies) if latencies else None,
        p99_ms=median(tails) if tails else None,
    )


_HEADINGS = ("", "conns", "noded/s", "daprd/s", "ratio", "per core", "p99 ms", "busy", "floor", "", "failed")


def table(report: Report) -> str:
    """For people. `per core`: ratio of operations per server processor second; p99 and busy core: noded's/daprd's."""
    lines = [_HEADINGS, *(_cells(row) for row in report.rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEADINGS))]
    text = "\n".join(
        "  ".join(cell.rjust(width) if column else cell.ljust(width) for column, (cell, width) in enumerate(pairs))
        for pairs in (list(zip(line, widths, strict=True)) for line in lines)
    )
    return "\n".join([text, *_memory_lines(report), *_warnings(report)])


def _warnings(report: Report) -> list[str]:
    if report.others_share <= QUIET_SHARE:
        return []
    return [f"Others used up to {report.others_share:.0%} of the two cores: these figures are not to be trusted."]


def _cells(row: Row) -> tuple[str, ...]:
    daprd = row.daprd
    return (
        row.title,
        f"{row.connections}",
        f"{row.noded.rate:,.0f}",
        f"{daprd.rate:,.0f}" if daprd else "-",
        _times(row.rate_ratio),
        _times(row.per_core_ratio),
        _milliseconds(row.noded.p99_ms) + (f"/{_milliseconds(daprd.p99_ms)}" if daprd else ""),
        f"{row.noded.busy:.0%}" + (f"/{daprd.busy:.0%}" if daprd else ""),
        f"{row.floor.ratio:g}x {row.floor.basis.replace('_', ' ')}" if row.floor else "",
        {True: "ok", False: "MISSED", None: ""}[row.passed],
        f"{row.noded.failed}" + (f"/{daprd.failed}" if daprd else ""),
    )


def _milliseconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _times(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.1f}x"


def _memory_lines(report: Report) -> list[str]:
    verdict = {True: "ok", False: "MISSED", None: ""}[report.memory_passed]
    return [
        f"Idle {name}, two apps, {memory.processes} process(es): PSS {memory.pss_mb:.1f} MB, RSS {memory.rss_mb:.1f} MB"
        + ("" if memory.operator_loaded else ", operator's side NOT loaded")
        + (f" (ceiling {PSS_CEILING_MB:g} MB PSS) {verdict}" if name == "noded" else "")
        for name, memory in report.memory.items()
    ]


def write_json(report: Report, path: Path) -> None:
    """For machines: every row with its ratio and verdict, and what the run stood on."""
    document = {
        "machine": {"system": platform.system(), "release": platform.release(), "python": platform.python_version()},
        "rounds": report.rounds,
        "seconds": report.seconds,
        "others_share": report.others_share,
        "passed": report.passed,
        "rows": [{**asdict(row), "ratio": row.ratio, "passed": row.passed} for row in report.rows],
        "memory": {name: asdict(memory) for name, memory in report.memory.items()},
        "memory_passed": report.memory_passed,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=2) + "\n")
