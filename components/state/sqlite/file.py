"""The file: one process owns it, its schema is made or checked, its journal brought in, its totals are read.

Beside `x.db` stands `x.db.noded-lock`, locked while a daemon has the store open; the kernel lets go of it when the
process dies. After a clean close it holds the file's size and time, so that the next start knows whether anyone wrote
since.

What is made here only its owner may read: SQLite gives a file's -wal, -shm and -journal the file's own mode. A file
that was there keeps its mode: whoever opened it to a group, for backups or another process, meant it.
Source: SQLite's os_unix.c, findCreateFileMode.
"""

import fcntl
import os
import sqlite3
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

import msgspec

from components.contract import ConfigError, Unavailable
from components.disk import disk_remedy
from components.state.changes import Deltas
from components.state.sqlite.recovery import recover
from components.state.sqlite.settings import Settings
from components.state.sqlite.statements import Statements

_LEVEL = "1"
_EVERY_ROW = -1
_LOG_BYTES = 64 << 20
"""What is left of the write-ahead log's file after a burst."""
_FILLED_BYTES = 32 + 1064 * (24 + 4096)
"""What the log grows to by itself: its header, SQLite's 1000 pages between checkpoints, and a large last group."""
_FILLED_PART = 16
"""A log over this part of the room that is left on the disk is not filled: its items need that room themselves."""


_DAMAGED = (
    "it is damaged or no SQLite file: restore it from a backup, or move it away with its -wal and -shm to start with an"
    " empty store"
)
_NOT_WRITABLE = "make the file and its directory writable for this user"
_LOCKED = "another process keeps it locked: stop that one, or raise busyTimeout"
_REMEDIES = {
    sqlite3.SQLITE_NOTADB: _DAMAGED,
    sqlite3.SQLITE_CORRUPT: _DAMAGED,
    sqlite3.SQLITE_READONLY: _NOT_WRITABLE,
    sqlite3.SQLITE_CANTOPEN: _NOT_WRITABLE,
    sqlite3.SQLITE_PERM: _NOT_WRITABLE,
    sqlite3.SQLITE_BUSY: _LOCKED,
    sqlite3.SQLITE_LOCKED: _LOCKED,
    sqlite3.SQLITE_FULL: "make room on its disk, or raise the quota or max_page_count that is used up",
    sqlite3.SQLITE_IOERR: "its disk, a quota or a limit on the size of files refused it: `dmesg`, `quota`, `ulimit -f`",
}
"""By SQLite's primary result code. Source: https://www.sqlite.org/rescode.html."""


class OwnedFile:
    """The right to use one file, until `release`."""

    suffix: ClassVar[str] = ".noded-lock"

    def __init__(self, component: str, path: Path) -> None:
        """Lock the file. Raises Unavailable: another process has it, or the directory cannot be written."""
        self._path = path
        lock = Path(f"{path}{self.suffix}")
        try:
            self._descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            what = f"component {component}: cannot write in {path.parent} ({error.strerror})"
            otherwise = "make it a directory that this user may write, or set connectionString"
            raise Unavailable(f"{what}: {disk_remedy(error, path.parent, otherwise)}") from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._descriptor)
            raise Unavailable(
                f"component {component}: {path} belongs to another running noded (it holds {lock}): stop that one, or"
                " give this one another connectionString or state directory"
            ) from error
        mark = os.pread(self._descriptor, 100, 0)
        self.untouched = mark != b"" and mark == self._mark()
        """Whether nobody wrote to the file since it was closed cleanly."""
        os.ftruncate(self._descriptor, 0)
        _make_private(path)

    def release(self, *, clean: bool) -> None:
        """Let others have it; `clean`: the totals in it are right. Unmarked (a full disk), they are counted anew."""
        try:
            if clean:
                with suppress(OSError):
                    os.pwrite(self._descriptor, self._mark(), 0)
        finally:
            os.close(self._descriptor)

    def _mark(self) -> bytes:
        try:
            status = self._path.stat()
        except OSError:
            return b""
        wal = Path(f"{self._path}-wal")
        wal_bytes = wal.stat().st_size if wal.exists() else 0
        return f"{status.st_ino} {status.st_size} {status.st_mtime_ns} {wal_bytes}".encode()


def connect(component: str, settings: Settings) -> sqlite3.Connection:
    """Open a connection in autocommit mode. Raises Unavailable, naming the file and a remedy."""
    try:
        connection = sqlite3.connect(
            settings.path or ":memory:",
            timeout=settings.busy_timeout_seconds,
            isolation_level=None,
            check_same_thread=False,
        )
        journal = "memory" if settings.path is None else "wal" if settings.wal else "delete"
        connection.execute(f"PRAGMA journal_mode={journal}").fetchone()
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute(f"PRAGMA journal_size_limit={_LOG_BYTES}").fetchone()
        for name, value in settings.pragmas:
            connection.execute(f"PRAGMA {name}={value}").fetchall()
    except sqlite3.Error as error:
        raise cannot_open(component, settings, error) from error
    return connection


def cannot_open(component: str, settings: Settings, error: sqlite3.Error) -> Unavailable:
    """Say what is wrong with the file, and what to do."""
    where = settings.path or ":memory:"
    return Unavailable(f"component {component}: cannot open {where}: {with_remedy(error)}")


def with_remedy(error: Exception) -> str:
    """What is wrong with the file, and what to do where that is known."""
    remedy = _REMEDIES.get(getattr(error, "sqlite_errorcode", 0) & 0xFF)  # the modules' own errors have no code
    return f"{error}: {remedy}" if remedy else str(error)


def open_database(
    component: str, settings: Settings, statements: Statements
) -> tuple[sqlite3.Connection, Deltas, bool]:
    """Open the writing connection with its schema. Return it, the totals, and whether they were counted just now.

    Raises ConfigError for a schema of a later Dapr, Unavailable as `cannot_open`.
    """
    connection = connect(component, settings)
    try:
        return connection, *_prepare(component, settings, connection, statements)
    except sqlite3.Error as error:
        connection.close()
        raise cannot_open(component, settings, error) from error
    except ConfigError:
        connection.close()
        raise


def count(connection: sqlite3.Connection, statements: Statements) -> Deltas:
    """Count all items, in one go."""
    _, text = connection.execute(statements.count, ("", _EVERY_ROW)).fetchone()
    return {owner: (keys, size) for owner, keys, size in msgspec.json.decode(text, type=list[tuple[str, int, int]])}


def write_totals(connection: sqlite3.Connection, statements: Statements, totals: Mapping[str, tuple[int, int]]) -> None:
    """Replace the stored totals, inside the caller's transaction."""
    connection.execute(statements.clear_totals)
    connection.executemany(statements.write_totals, [(owner, *counts) for owner, counts in totals.items()])


def _make_private(path: Path) -> None:
    """Make the file where there is none: to SQLite an empty one is new. What cannot be made SQLite tells of."""
    with suppress(OSError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def _prepare(
    component: str, settings: Settings, connection: sqlite3.Connection, statements: Statements
) -> tuple[Deltas, bool]:
    connection.execute("BEGIN IMMEDIATE")
    for statement in statements.schema:
        connection.execute(statement)
    _check_level(component, settings, connection, statements)
    counted = not _has_totals(connection, statements)
    if counted:
        connection.execute(statements.make_totals)
        write_totals(connection, statements, count(connection, statements))
    connection.execute("COMMIT")
    for statement in statements.prepare:
        connection.execute(statement)
    if settings.path is not None:
        recover(component, settings.path, connection, statements)
    if settings.path is not None and settings.wal:
        _fill_log(connection)
    return {owner: (keys, size) for owner, keys, size in connection.execute(statements.totals)}, counted


def _fill_log(connection: sqlite3.Connection) -> None:
    """Bring the log's file to its usual size with zeros: to sync a grown file takes twice as long.

    Zeros are no frames to SQLite, and nobody else appends while the write lock is held.
    Source: SQLite's file format, section 4.1.
    """
    (location,) = (path for _, name, path in connection.execute("PRAGMA database_list") if name == "main")
    connection.execute("BEGIN IMMEDIATE")
    try:
        log = os.open(f"{location}-wal", os.O_WRONLY | os.O_CLOEXEC)
        try:
            size = os.fstat(log).st_size
            disk = os.fstatvfs(log)
            if size < _FILLED_BYTES < disk.f_bavail * disk.f_frsize // _FILLED_PART:
                os.pwrite(log, bytes(_FILLED_BYTES - size), size)
                os.fsync(log)
        finally:
            os.close(log)
    except OSError:
        pass  # then it grows as it is written
    finally:
        connection.execute("COMMIT")


def _check_level(component: str, settings: Settings, connection: sqlite3.Connection, statements: Statements) -> None:
    (level,) = connection.execute(statements.migration_level).fetchone()
    if level != _LEVEL:
        raise ConfigError(
            f"component {component}: {settings.path} has the schema version {level!r} in {settings.metadata_table},"
            f" allowed: {_LEVEL!r} (Dapr up to 1.18); another metadataTableName and tableName keep both apart"
        )


def _has_totals(connection: sqlite3.Connection, statements: Statements) -> bool:
    query = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = ?"
    return bool(connection.execute(query, (f"{statements.table}_totals",)).fetchone()[0])
