"""The chart of neighbours: for each question how many times the quiet value p50 and p99 are beside a flood.

Bars are drawn against what is allowed, so every bar that stays left of the line keeps its goal. SVG by hand, in the
colours of `bench.chart`.
"""

from collections.abc import Sequence
from pathlib import Path
from statistics import median

from bench import svg
from bench.floors import NEIGHBOUR_P50, NEIGHBOUR_P99
from bench.neighbour_records import Row

_WIDTH = 860
_LABEL_X = 290
_BAR_X = 300
_GOAL_WIDTH = 300
_MOST_WIDTH = 340
_ROW_HEIGHT = 46
_TOP = 60
_SHARES_X = _WIDTH - 12

_STYLE = """
text { font: 13px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #3d444d }
.title { font-size: 15px; font-weight: 600 }
.small { font-size: 11px; fill: #6e7781 }
.p50 { fill: #2f6f9f }
.p99 { fill: #a9b1ba }
.goal { stroke: #6e7781; stroke-dasharray: 3 3 }
@media (prefers-color-scheme: dark) {
  text { fill: #d0d7de }
  .small { fill: #9198a1 }
  .p50 { fill: #6cb0e0 }
  .p99 { fill: #59636e }
}
"""


def draw(rows: Sequence[Row]) -> str:
    """The chart as SVG text."""
    height = _TOP + _ROW_HEIGHT * len(rows) + 24
    goal_x = _BAR_X + _GOAL_WIDTH
    body = [part for index, row in enumerate(rows) for part in _row(row, _TOP + _ROW_HEIGHT * index)]
    label = "A tenant's latency beside a flooding neighbour"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}"',
        f' role="img" aria-label="{label}">',
        f"<style>{_STYLE}</style>",
        svg.text(12, 22, "A quiet tenant beside a flood: times its quiet latency", "title"),
        svg.bar(_BAR_X + 150, 12, 12, "p50", 12),
        svg.text(_BAR_X + 168, 22, f"median, at most {NEIGHBOUR_P50:g}\u00d7"),
        svg.bar(_BAR_X + 310, 12, 12, "p99", 12),
        svg.text(_BAR_X + 328, 22, f"99th percentile, at most {NEIGHBOUR_P99:g}\u00d7"),
        *body,
        f'<line class="goal" x1="{goal_x}" x2="{goal_x}" y1="{_TOP - 8}" y2="{height - 20}"/>',
        svg.text(goal_x, height - 6, "allowed", "small", "middle"),
        "</svg>\n",
    ]
    return "\n".join(parts)


def _row(row: Row, top: int) -> list[str]:
    quiet = (median(each.quiet.p50_us for each in row.pairs), median(each.quiet.p99_us for each in row.pairs))
    parts = [svg.text(_LABEL_X, top + 19, row.title, anchor="end")]
    ratios = (("p50", row.p50_ratio, NEIGHBOUR_P50), ("p99", row.p99_ratio, NEIGHBOUR_P99))
    for line, (style, ratio, goal) in enumerate(ratios):
        y = top + line * 16
        width = max(min(round(_GOAL_WIDTH * ratio / goal), _MOST_WIDTH), 2)
        words = f"{ratio:.1f}\u00d7 of {quiet[line]:,.0f} \u00b5s"
        parts.append(svg.bar(_BAR_X, y, width, style))
        parts.append(svg.text(_BAR_X + width + 6, y + 11, words, "small"))
    if row.apart is not None:
        parts.append(svg.text(_SHARES_X, top + 19, f"shares {row.apart:.1%} apart", "small", "end"))
    return parts


def write(rows: Sequence[Row], path: Path) -> None:
    """Draw into a file."""
    svg.write(draw(rows), path)
