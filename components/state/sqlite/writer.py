"""Group commit: one thread, one connection, one statement for all that came in while the last commit was syncing.

A group: look up the versions of its keys where they are not known (one SELECT, one row), decide in Python, apply by
one INSERT into the view of `statements.prepare`, which is its own transaction. It verifies that each item still has the
etag the decision was based on, so that a daprd writing to the same file loses nothing. Only after it returned are the
requests told, all in one call on the loop.
"""

import logging
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from functools import partial

import msgspec
from msgspec import Struct

from components.contract import Item, Ledger, StoreKey, Unavailable, owner_of, size_of
from components.state.changes import Deltas, Version, add, free, refund_growth
from components.state.etags import Etags
from components.state.sqlite.file import write_totals
from components.state.sqlite.group import Group, Request, decide_group, encode
from components.state.sqlite.recount import Recount
from components.state.sqlite.statements import CHANGED, Statements
from components.state.sqlite.worker import Worker

log = logging.getLogger("noded.components")

_ATTEMPTS = 5
"""How often a group is decided anew because another process changed its items."""
_VERSIONS = 16_384
"""Versions remembered, some 5 MB: a group whose keys are among them needs no SELECT."""
_PURGE_SLICE = 500
_OVERWRITE_TEXTS = 2

Settled = Callable[[Sequence[Request], dict[StoreKey, Item | None]], None]


class LoopSide(Struct, frozen=True):
    """What the writer needs of the store; the callables but `now` run by `run_soon` on the loop."""

    run_soon: Callable[[Callable[[], None]], object]
    now: Callable[[], float]
    ledger: Ledger
    settled: Settled
    """These requests are done; these keys hold this."""
    changed_outside: Callable[[], None]
    """Another process wrote to the file."""


class Writer:
    """The owner of the writing connection. All methods run on its worker's thread."""

    def __init__(
        self, connection: sqlite3.Connection, statements: Statements, worker: Worker, loop_side: LoopSide, name: str
    ) -> None:
        self._connection = connection
        self._statements = statements
        self._overwrite, self._apply_all = statements.overwrite, statements.apply
        self._worker = worker
        self._loop_side = loop_side
        self._name = name
        self._etags = Etags()
        self._versions: dict[StoreKey, Version | None] = {}
        self._recount: Recount | None = None
        self._data_version = self._read_data_version()
        self._failing = False

    def commit(self, requests: list[Request]) -> None:
        """Do a group and tell its requests."""
        items: dict[StoreKey, Item | None] = {}
        try:
            items = self._commit(requests)
        except sqlite3.Error as error:
            self._tell_failing(error)
            self._fail(requests, Unavailable(f"{self._name}: nothing was written: {error}"))
        except Exception as error:  # noqa: BLE001 - a defect fails the group it met, not the store
            self._fail(requests, error)
        else:
            if self._failing:
                self._failing = False
                log.warning("%s: writes again", self._name)
        self._loop_side.run_soon(partial(self._loop_side.settled, requests, items))

    def _tell_failing(self, error: sqlite3.Error) -> None:
        """Log the first of a row of failures: each request is told its own."""
        if not self._failing:
            self._failing = True
            log.error("%s: cannot write: %s", self._name, error)

    def look_outside(self) -> None:
        """Notice what other processes committed."""
        try:
            version = self._read_data_version()
        except sqlite3.Error:
            return
        if version != self._data_version:
            self._data_version = version
            self._forget()

    def start_recount(self) -> None:
        """Count all items again, in slices between groups; the result replaces stored and charged totals."""
        running = self._recount is not None
        self._recount = Recount(self._statements)
        if not running:
            self._worker.run(self._recount_slice)

    def purge(self) -> None:
        """Remove a slice of the expired items, and call again while there are more."""
        try:
            more = self._purge_slice()
        except sqlite3.Error:
            return
        if more:
            self._worker.run(self.purge)

    def close(self) -> bool:
        """Close the connection, which folds the log into the file. True when the stored totals are surely right."""
        self.look_outside()
        right = self._recount is None
        self._recount = None
        try:
            self._connection.close()
        except sqlite3.Error:
            return False
        return right

    def _commit(self, requests: Sequence[Request]) -> dict[StoreKey, Item | None]:
        keys = {operation.key for request in requests for operation in request.operations}
        for _ in range(_ATTEMPTS):
            self._look_up(keys)
            group = decide_group(
                requests, self._versions, self._etags.next, self._loop_side.ledger, self._loop_side.now()
            )
            items = group.items()
            if self._apply(group):
                return items
            self._forget()
        raise Unavailable(f"{self._name}: nothing was written: another process keeps changing these items")

    def _look_up(self, keys: Iterable[StoreKey]) -> None:
        unknown = [key for key in keys if key not in self._versions]
        if not unknown:
            return
        (text,) = self._connection.execute(
            self._statements.versions, (msgspec.json.encode(unknown).decode(),)
        ).fetchone()
        self._versions.update(dict.fromkeys(unknown))
        self._versions.update(_versions(text))

    def _apply(self, group: Group) -> bool:
        """Do the group; False when another process had changed an item. On any failure all charges are given back."""
        if not group.changed:
            return True
        texts = encode(group, self._versions)
        try:
            self._connection.execute(self._overwrite if len(texts) == _OVERWRITE_TEXTS else self._apply_all, texts)
        except BaseException as error:
            if self._connection.in_transaction:  # else a later group would be told done without a commit of its own
                self._connection.rollback()
            refund_growth(self._loop_side.ledger, group.grown)
            if isinstance(error, sqlite3.IntegrityError) and CHANGED in str(error):
                return False
            raise
        free(self._loop_side.ledger, group.shrunk)
        self._remember(group)
        return True

    def _remember(self, group: Group) -> None:
        if self._recount is not None:
            self._recount.note(group.changed, self._versions)
        for key, version in group.changed.items():
            if version is not None:
                version.value = None
            self._versions[key] = version
        while len(self._versions) > _VERSIONS:
            del self._versions[next(iter(self._versions))]

    def _forget(self) -> None:
        self._versions.clear()
        self._loop_side.run_soon(self._loop_side.changed_outside)
        self.start_recount()

    def _fail(self, requests: Sequence[Request], error: Exception) -> None:
        self._versions.clear()
        for request in requests:
            request.error = error

    def _purge_slice(self) -> bool:
        query = (int(self._loop_side.now()), _PURGE_SLICE)
        (text,) = self._connection.execute(self._statements.expired, query).fetchone()
        expired = _versions(text)
        if not expired:
            return False
        self._versions.update(expired)
        group = Group(dict.fromkeys(expired), {}, _freed(expired))
        if not self._apply(group):
            self._forget()
            return True
        self._loop_side.run_soon(partial(self._loop_side.settled, (), group.items()))
        return len(expired) == _PURGE_SLICE

    def _recount_slice(self) -> None:
        recount = self._recount
        if recount is None:
            return
        try:
            if recount.slice(self._connection):
                self._recount = None
                self._replace_totals(recount.totals)
                return
        except sqlite3.Error:
            self._recount = None
            return
        self._worker.run(self._recount_slice)

    def _replace_totals(self, totals: Deltas) -> None:
        stored = {owner: (keys, size) for owner, keys, size in self._connection.execute(self._statements.totals)}
        counted = {owner: counts for owner, counts in totals.items() if counts != (0, 0)}
        if stored == counted:
            return
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            write_totals(self._connection, self._statements, counted)
            self._connection.execute("COMMIT")
        except sqlite3.Error:
            self._connection.rollback()
            raise
        self._loop_side.ledger.recount(counted)

    def _read_data_version(self) -> int:
        (version,) = self._connection.execute("PRAGMA data_version").fetchone()
        return int(version)


def _versions(text: str) -> dict[StoreKey, Version]:
    rows = msgspec.json.decode(text, type=list[tuple[str, str, int | None, int]])
    return {StoreKey(key): Version(etag, expires_at, size) for key, etag, expires_at, size in rows}


def _freed(versions: dict[StoreKey, Version]) -> Deltas:
    freed: Deltas = {}
    for key, version in versions.items():
        add(freed, owner_of(key), -1, -size_of(key, b"") - version.value_bytes)
    return freed
