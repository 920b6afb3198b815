"""The metadata fields of state.sqlite, and Dapr's forms of a connection string.

Source: https://docs.dapr.io/reference/components-reference/supported-state-stores/setup-sqlite/ and
components-contrib common/authentication/sqlite/metadata.go.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast
from urllib.parse import parse_qs, quote, unquote

from components.fields import Field, Fields, FieldType

FIELDS = (
    Field(
        "connectionString",
        FieldType.TEXT,
        "A path, `file:path?option=value` or `:memory:`. Absent: <component>.db in the state directory.",
        default="",
        aliases=("url",),
    ),
    Field(
        "timeout",
        FieldType.DURATION,
        "How long a request waits for the file; at least 1s.",
        default="20s",
        aliases=("timeoutInSeconds",),
    ),
    Field("busyTimeout", FieldType.DURATION, "How long to wait for another process's lock on the file.", default="2s"),
    Field("disableWAL", FieldType.BOOLEAN, "Use a rollback journal: for network file systems.", default="false"),
    Field("tableName", FieldType.IDENTIFIER, "The table of the items.", default="state"),
    Field("metadataTableName", FieldType.IDENTIFIER, "The table of the schema's version.", default="metadata"),
    Field(
        "cleanupInterval",
        FieldType.DURATION,
        "How often expired items are purged; 0 or less: never. (Dapr's default is never.)",
        default="1h",
        aliases=("cleanupIntervalInSeconds",),
    ),
    Field(
        "journal",
        FieldType.TEXT,
        "When groups of writes are made durable by a journal beside the file, which gets them some 100 ms later:"
        " `busy`, `always` or `never`. noded's own field.",
        default="busy",
    ),
    Field("cacheSize", FieldType.SIZE, "Memory for items read or written lately. noded's own field.", default="16Mi"),
)

Journaling = Literal["busy", "always", "never"]

_PRAGMA = re.compile(r"([a-z_]+)(?:\(|=)([-\w]+)\)?", re.IGNORECASE)
_JOURNALING = ("busy", "always", "never")
_FORBIDDEN = {"busy_timeout": "busyTimeout", "journal_mode": "disableWAL", "foreign_keys": "none: leave it out"}


@dataclass(frozen=True, slots=True)
class Settings:
    """What the metadata of one component says."""

    path: Path | None
    """The file; None: in memory."""
    pragmas: tuple[tuple[str, str], ...]
    """Further PRAGMAs of the connection string."""
    timeout_seconds: float
    busy_timeout_seconds: float
    wal: bool
    table: str
    metadata_table: str
    cleanup_seconds: float
    """0 or less: never."""
    cache_bytes: int
    journaling: Journaling


def read_settings(name: str, metadata: Mapping[str, str], state_dir: Path) -> Settings:
    """Read the metadata of the component `name`. Raises ConfigError: field, what was found, what is allowed."""
    fields = Fields(name, FIELDS, metadata)
    path, pragmas = _locate(fields, state_dir / f"{quote(name, safe='')}.db")
    timeout_seconds = fields.seconds("timeout")
    if timeout_seconds < 1:
        raise fields.refuse("timeout", f"{timeout_seconds}s", "1s or more")
    return Settings(
        path=path,
        pragmas=pragmas,
        timeout_seconds=timeout_seconds,
        busy_timeout_seconds=max(0.0, fields.seconds("busyTimeout")),
        wal=not fields.boolean("disableWAL"),
        table=fields.identifier("tableName"),
        metadata_table=fields.identifier("metadataTableName"),
        cleanup_seconds=fields.seconds("cleanupInterval"),
        cache_bytes=fields.size_bytes("cacheSize"),
        journaling=_journaling(fields),
    )


def _journaling(fields: Fields) -> Journaling:
    given = fields.text("journal")
    if given not in _JOURNALING:
        raise fields.refuse("journal", given, " or ".join(_JOURNALING))
    return cast("Journaling", given)


def _locate(fields: Fields, default: Path) -> tuple[Path | None, tuple[tuple[str, str], ...]]:
    given = fields.text("connectionString")
    if not given:
        return default, ()
    body, _, query = given.partition("?")
    options = parse_qs(query)
    pragmas = tuple(_pragma(fields, text) for text in options.get("_pragma", ()))
    mode = options.get("mode", [""])[0]
    if mode == "ro" or options.get("immutable", [""])[0] == "1":
        raise fields.refuse("connectionString", given, "a file that may be written (no mode=ro, no immutable=1)")
    location = unquote(body[5:]) if body.lower().startswith("file:") else body
    if mode == "memory" or location.lower().startswith(":memory:"):
        return None, pragmas
    if location.startswith("//"):
        location = "/" + location[2:].partition("/")[2]
    if not location:
        raise fields.refuse("connectionString", given, "a path, file:path or :memory:")
    return Path(location), pragmas


def _pragma(fields: Fields, text: str) -> tuple[str, str]:
    match = _PRAGMA.fullmatch(text)
    if match is None:
        raise fields.refuse("connectionString", f"_pragma={text}", "_pragma=name(value)")
    name, value = match[1].lower(), match[2]
    if name in _FORBIDDEN:
        raise fields.refuse("connectionString", f"_pragma={text}", f"the field {_FORBIDDEN[name]}")
    return name, value
