"""After a crash: what the journal has and the file has not is brought in before the store opens."""

import logging
import sqlite3
from pathlib import Path

import msgspec

from components.contract import StoreKey, Unavailable
from components.journal.records import read
from components.state.changes import Deltas, Version, add_all
from components.state.sqlite.epoch import Expected, decode_record
from components.state.sqlite.group import Group, encode
from components.state.sqlite.statements import Statements
from components.state.sqlite.versions import look_up

log = logging.getLogger("noded.components")


def journal_of(path: Path) -> Path:
    """Where the journal of a file stands."""
    return Path(f"{path}.noded-journal")


def last_epoch(connection: sqlite3.Connection, statements: Statements) -> int:
    """Return the last epoch that is in the file, 0 before the first. Raises sqlite3.Error."""
    row = connection.execute(statements.epoch).fetchone()
    return int(row[0]) if row else 0


def recover(component: str, path: Path, connection: sqlite3.Connection, statements: Statements) -> None:
    """Bring the journal into the file.

    A key that another process has changed since keeps that change: it is the later one.
    Raises sqlite3.Error, and Unavailable for a journal that cannot be read.
    """
    journal = journal_of(path)
    try:
        found, payloads = read(journal.read_bytes()) if journal.exists() else (0, [])
        if found != last_epoch(connection, statements) + 1:
            return
        expected, group = _merge(payloads)
    except (OSError, msgspec.DecodeError) as error:
        raise Unavailable(
            f"component {component}: cannot read {journal}: {error}: it has the last writes before a crash; make it"
            " readable, or move it away to start without them"
        ) from error
    connection.execute("BEGIN IMMEDIATE")
    try:
        _bring_in(component, connection, statements, expected, group)
        connection.execute(statements.write_epoch, (str(found),))
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    log.warning("component %s: %d groups of writes brought in from %s", component, len(payloads), journal)


def _merge(payloads: list[bytes]) -> tuple[Expected, Group]:
    expected: Expected = {}
    changed: dict[StoreKey, Version | None] = {}
    totals: Deltas = {}
    for payload in payloads:
        based_on, holds, deltas = decode_record(payload)
        expected = based_on | expected
        changed.update(holds)
        add_all(totals, deltas)
    return expected, Group(changed, totals, {})


def _bring_in(
    component: str, connection: sqlite3.Connection, statements: Statements, expected: Expected, group: Group
) -> None:
    found = look_up(connection, statements, list(group.changed))
    known = {key: found.get(key) for key in group.changed}
    later = [key for key, version in known.items() if (None if version is None else version.etag) != expected[key]]
    for key in later:
        del group.changed[key]
    if later:
        log.warning("component %s: another process has changed %d items since the crash: kept", component, len(later))
    texts = encode(group, known)
    connection.execute(statements.changing(texts), texts)
