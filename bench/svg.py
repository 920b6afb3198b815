"""The marks that charts are made of. SVG by hand."""

from pathlib import Path
from xml.sax.saxutils import escape

BAR_HEIGHT = 14


def bar(x: int, y: int, width: int, style: str, height: int = BAR_HEIGHT) -> str:
    """A bar of a style's colour."""
    return f'<rect class="{style}" x="{x}" y="{y}" width="{width}" height="{height}" rx="2"/>'


def text(x: int, y: int, content: str, style: str = "", anchor: str = "start") -> str:
    """Words at a place; `anchor` as SVG's text-anchor."""
    return f'<text class="{style}" x="{x}" y="{y}" text-anchor="{anchor}">{escape(content)}</text>'


def write(drawn: str, path: Path) -> None:
    """Put a chart into a file, whose folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(drawn)
