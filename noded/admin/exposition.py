"""Metric families as Prometheus reads them: text format 0.0.4, as daprd serves it.

prometheus_client writes every counter with `_total` at its end; daprd's names mostly have none, so it is written here.
Source: the Prometheus exposition formats; numbers as Go writes them.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from prometheus_client.core import Metric
from prometheus_client.utils import floatToGoString

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores"
_EXPONENT_FROM: Final = 1_000_000
_ESCAPES: Final = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


class Family(NamedTuple):
    """What one metric is; `docs/metrics.md` is written from these."""

    name: str
    kind: str
    """counter, gauge or histogram."""
    labels: tuple[str, ...]
    unit: str
    meaning: str
    when: str
    """What makes it appear."""


def metric(family: Family) -> Metric:
    """A family to be filled."""
    return Metric(family.name, family.meaning, family.kind)


def add_histogram(
    into: Metric, labels: Mapping[str, str], bounds: Sequence[float], counts: Sequence[int], total: float
) -> None:
    """Add one series of a histogram; `counts` are between the bounds, the last above all."""
    sofar = 0
    for bound, count in zip((*bounds, None), counts, strict=True):
        sofar += count
        into.add_sample(
            f"{into.name}_bucket", {**labels, "le": "+Inf" if bound is None else number(bound)}, float(sofar)
        )
    into.add_sample(f"{into.name}_sum", dict(labels), total)
    into.add_sample(f"{into.name}_count", dict(labels), float(sofar))


def render(families: Iterable[Metric]) -> bytes:
    """Write families that have samples; the others are not there yet, as in daprd."""
    lines: list[str] = []
    for family in families:
        if family.samples:
            name = family.name if family.type == "histogram" else family.samples[0].name
            lines += (f"# HELP {name} {_help(family.documentation)}", f"# TYPE {name} {family.type}")
            lines += [f"{sample.name}{_labels(sample.labels)} {number(sample.value)}" for sample in family.samples]
    return "".join(f"{line}\n" for line in lines).encode()


def number(value: float) -> str:
    """A number as Go's shortest form."""
    if value == (whole := int(value) if abs(value) < _EXPONENT_FROM else None):
        return str(whole)
    return str(floatToGoString(value))  # type: ignore[no-untyped-call]


def _help(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    written = ",".join(f'{name}="{value.translate(_ESCAPES)}"' for name, value in labels.items())
    return f"{{{written}}}"
