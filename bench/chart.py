"""The README's chart: for each case two bars, scaled to the faster, and the ratio. SVG written by hand, one file.

Colours come from a style sheet that follows the reader's light or dark scheme; the background stays transparent.
"""

from collections.abc import Sequence
from pathlib import Path

from bench import svg
from bench.records import CONNECTIONS
from bench.report import Row

_WIDTH = 860
_LABEL_X = 310
_BAR_X = 320
_BAR_WIDTH = 330
_ROW_HEIGHT = 46
_TOP = 54
_RATIO_X = _WIDTH - 12

_STYLE = """
text { font: 13px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #3d444d }
.title { font-size: 15px; font-weight: 600 }
.small { font-size: 11px; fill: #6e7781 }
.ratio { font-size: 17px; font-weight: 600 }
.noded { fill: #2f6f9f }
.daprd { fill: #a9b1ba }
@media (prefers-color-scheme: dark) {
  text { fill: #d0d7de }
  .small { fill: #9198a1 }
  .noded { fill: #6cb0e0 }
  .daprd { fill: #59636e }
}
"""


def draw(rows: Sequence[Row]) -> str:
    """The chart as SVG text. Rows without daprd, or with another number of connections, are left out."""
    compared = [row for row in rows if row.daprd is not None and row.connections == CONNECTIONS]
    height = _TOP + _ROW_HEIGHT * len(compared) + 8
    body = [part for index, row in enumerate(compared) for part in _row(row, _TOP + _ROW_HEIGHT * index)]
    box = f'viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {box} role="img" aria-label="noded and daprd on one core">',
        f"<style>{_STYLE}</style>",
        svg.text(12, 22, "Operations per second on one core", "title"),
        svg.bar(_BAR_X, 12, 12, "noded"),
        svg.text(_BAR_X + 18, 22, "noded, one daemon for both apps"),
        svg.bar(_BAR_X + 270, 12, 12, "daprd"),
        svg.text(_BAR_X + 288, 22, "daprd 1.18, one per app"),
        *body,
        "</svg>\n",
    ]
    return "\n".join(parts)


def _row(row: Row, top: int) -> list[str]:
    assert row.daprd is not None
    longest = max(row.noded.rate, row.daprd.rate, 1)
    middle = top + svg.BAR_HEIGHT + 5
    parts = [svg.text(_LABEL_X, middle, row.title, "", "end")]
    for line, (name, rate) in enumerate((("noded", row.noded.rate), ("daprd", row.daprd.rate))):
        y = top + line * (svg.BAR_HEIGHT + 2)
        width = max(round(_BAR_WIDTH * rate / longest), 2)
        parts += [svg.bar(_BAR_X, y, width, name), svg.text(_BAR_X + width + 6, y + 11, f"{rate:,.0f}", "small")]
    if row.rate_ratio is not None:
        parts.append(svg.text(_RATIO_X, middle + 1, f"{row.rate_ratio:.1f}×", "ratio", "end"))  # noqa: RUF001 - the sign of multiplication is meant
    return parts


def write(rows: Sequence[Row], path: Path) -> None:
    """Draw into a file."""
    svg.write(draw(rows), path)
