"""Tables for people: columns aligned, quantities as one writes them in YAML."""

from collections.abc import Iterable, Sequence

_UNITS = (("Ti", 1 << 40), ("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10))
GAP = "  "


def table(header: Sequence[str], rows: Iterable[Sequence[str]], numbers: Iterable[str] = ()) -> str:
    """Lay out rows below their header; columns named in `numbers` are aligned to the right."""
    lines = [tuple(header), *map(tuple, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    right = [name in set(numbers) for name in header]
    return "".join(_line(line, widths, right) for line in lines)


def size(count: float) -> str:
    """Bytes, as `10Mi` or `1.5Ki`."""
    for unit, factor in _UNITS:
        if count >= factor:
            return f"{count / factor:.1f}".removesuffix(".0") + unit
    return f"{count:.0f}"


def duration(seconds: float) -> str:
    """Seconds, as `250ms` or `12.5s`."""
    return f"{seconds * 1000:.0f}ms" if seconds < 1 else f"{seconds:.1f}s"


def quantity(limit: str, count: float | None) -> str:
    """A limit's use or ceiling; "-" where there is none."""
    if count is None:
        return "-"
    if "bytes" in limit.lower():
        return size(count)
    return f"{count:.1f}".removesuffix(".0")


def _line(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    columns = zip(cells, widths, right, strict=True)
    return GAP.join(cell.rjust(width) if r else cell.ljust(width) for cell, width, r in columns).rstrip() + "\n"
