# ruff: noqa: INP001 (a script beside the pages it writes)
"""Write the tables of the reference pages that repeat what the code declares: `python docs/tables.py`.

A table stands between `<!-- table: NAME -->` and `<!-- end -->`; the rest of a page is written by hand.
`tests/test_docs.py` fails when a page and the code differ.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from components.fields import Field
from components.registry import PUBSUBS, STATE_STORES
from noded import errors
from noded.admin.dapr_families import DAPR
from noded.admin.exposition import Family
from noded.admin.noded_families import NODED, PROCESS
from noded.config.common_fields import COMMON_FIELDS
from noded.routes import HTTP_ROUTES, INVOKE
from noded.routes_grpc import GRPC_METHODS

DOCS = Path(__file__).parent
PAGES = ("api.md", "components.md", "errors.md", "metrics.md")
_TABLE = re.compile(r"(<!-- table: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def rendered(page: str) -> str:
    """Give the page with its tables as the code has them."""
    tables = {**TABLES, **{f"fields:{name}": _fields_table(fields) for name, fields in component_fields().items()}}
    text = (DOCS / page).read_text(encoding="utf-8")
    return _TABLE.sub(lambda match: f"{match[1]}{_lines(tables[match[2]]())}{match[3]}", text)


def component_fields() -> dict[str, tuple[Field, ...]]:
    """Metadata fields by component type, and by category those that noded itself reads."""
    backends = {name: tuple(each.fields) for table in (STATE_STORES, PUBSUBS) for name, each in table.items()}
    return {**COMMON_FIELDS, **backends}


def _lines(rows: Iterator[str]) -> str:
    return "".join(f"{row}\n" for row in rows)


def _http() -> Iterator[str]:
    yield "| Method | Path | Operation | Counted against rates |"
    yield "| --- | --- | --- | --- |"
    for route in (*HTTP_ROUTES, INVOKE):
        methods = ", ".join(route.methods) or "any but CONNECT"
        for version in route.versions:
            limited = "yes" if route.limited else "no"
            yield f"| {methods} | `/{version}/{route.pattern}` | {route.operation} | {limited} |"


def _grpc() -> Iterator[str]:
    yield "| Method | Operation | Form | Counted against rates |"
    yield "| --- | --- | --- | --- |"
    for method in GRPC_METHODS:
        form = "unary" if method.unary else "streaming"
        names = ", ".join(f"`{name}`" for name in method.names)
        yield f"| {names} | {method.operation} | {form} | {'yes' if method.limited else 'no'} |"


def _errors() -> Iterator[str]:
    yield "| Error | errorCode | HTTP | gRPC | ErrorInfo.reason | Message |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for name, row in vars(errors).items():
        if isinstance(row, errors.ErrorRow):
            reason = f"`{row.reason}`" if row.reason else ""
            yield f"| {name} | `{row.code}` | {row.http} | {row.grpc.name} | {reason} | {_cell(row.text)} |"


def _fields_table(fields: tuple[Field, ...]) -> Callable[[], Iterator[str]]:
    def rows() -> Iterator[str]:
        if not fields:
            yield "It has no metadata fields of its own."
            return
        yield "| Field | Value | Default | Meaning |"
        yield "| --- | --- | --- | --- |"
        for field in fields:
            default = "required" if field.default is None else f"`{field.default}`" if field.default else "none"
            names = ", ".join(f"`{name}`" for name in (field.name, *field.aliases))
            yield f"| {names} | {field.type.value} | {default} | {_cell(field.meaning)} |"

    return rows


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _metrics_table(families: Iterable[Family]) -> Callable[[], Iterator[str]]:
    def rows() -> Iterator[str]:
        yield "| Metric | Type | Labels | Unit | Meaning | There once |"
        yield "| --- | --- | --- | --- | --- | --- |"
        for each in families:
            labels = ", ".join(f"`{label}`" for label in each.labels)
            yield f"| `{each.name}` | {each.kind} | {labels} | {each.unit} | {_cell(each.meaning)} | {each.when} |"

    return rows


TABLES: dict[str, Callable[[], Iterator[str]]] = {
    "http": _http,
    "grpc": _grpc,
    "errors": _errors,
    "metrics:noded": _metrics_table(NODED),
    "metrics:dapr": _metrics_table(DAPR),
    "metrics:process": _metrics_table(PROCESS),
}

if __name__ == "__main__":
    for each in PAGES:
        (DOCS / each).write_text(rendered(each), encoding="utf-8")
