"""Group commit: one thread, one connection, one statement for a whole group of writes.

A group: look up the versions of its keys where they are not known (one SELECT, one row), decide in Python, apply by
one INSERT into the view of `statements.prepare`, which is its own transaction. It verifies that each item still has the
etag the decision was based on, so that a daprd writing to the same file loses nothing. In an epoch (`epoch.py`) the
loop decides, and this thread only opens the transaction, looks keys up, and brings in what the journal made durable.
"""

import logging
import os
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from msgspec import Struct

from components.contract import Item, Ledger, StoreKey, Unavailable, owner_of, size_of
from components.journal.file import Journal
from components.state.changes import Deltas, Version, add, free, refund_growth
from components.state.sqlite.epoch import Epoch
from components.state.sqlite.file import with_remedy, write_totals
from components.state.sqlite.group import Group, Request, decide_group, encode
from components.state.sqlite.recount import Recount
from components.state.sqlite.recovery import last_epoch
from components.state.sqlite.sharing import Sharing
from components.state.sqlite.statements import CHANGED, Statements
from components.state.sqlite.versions import Versions, look_up, parse
from components.state.sqlite.worker import Job, Worker

log = logging.getLogger("noded.components")

_ATTEMPTS = 5
"""How often a group is decided anew because another process changed its items."""
_PURGE_SLICE = 500
_EPOCH_ROOM_BYTES = 64 << 20
"""What must be free on the disk for an epoch: what the journal has must find room in the file."""

Items = dict[StoreKey, Item | None]
Settled = Callable[[Sequence[Request], Items], None]


class LoopSide(Struct, frozen=True):
    """What the writer needs of the loop's thread; the callables but `now` run by `run_soon` on it."""

    run_soon: Callable[[Callable[[], None]], object]
    now: Callable[[], float]
    ledger: Ledger
    settled: Settled
    """These keys hold this, by nobody's request."""
    changed_outside: Callable[[], None]
    """Another process wrote to the file."""


class Journaling(Struct, frozen=True):
    """What epochs need."""

    journal: Journal
    sharing: Sharing
    directory: str


class OpenFile(Struct, frozen=True):
    """What the writer owns."""

    connection: sqlite3.Connection
    statements: Statements
    name: str
    """As messages name it."""
    journaling: Journaling | None


Found = Callable[[Mapping[StoreKey, Version] | Unavailable], None]
"""Told the versions of those keys that hold something."""


class Writer:
    """The owner of the writing connection. All methods run on its worker's thread, but for `remember` in an epoch."""

    def __init__(self, file: OpenFile, worker: Worker, loop_side: LoopSide) -> None:
        self._connection = file.connection
        self._statements = file.statements
        self._name = file.name
        self._journaling = file.journaling
        self.worker = worker
        self._loop_side = loop_side
        self.versions = Versions()
        self._recount: Recount | None = None
        self._data_version = self._read_data_version()
        self._failing = False
        self._without_journal = False
        self._in_epoch = False
        self._deferred: dict[Job, None] = {}
        """Jobs that came in an epoch, for its end."""

    def commit(self, requests: list[Request], committed: Settled) -> None:
        """Do a group and tell on the loop."""
        items: Items = {}
        try:
            items = self._commit(requests)
        except sqlite3.Error as error:
            self._fail(requests, self._tell_failing(error))
        except Exception as error:  # noqa: BLE001 - a defect fails the group it met, not the store
            self._fail(requests, error)
        else:
            self._tell_working()
        self._loop_side.run_soon(partial(committed, requests, items))

    def begin_epoch(self, begun: Callable[[int | None], None]) -> None:
        """Open an epoch and tell its number; None: not now, commit groups as they come."""
        number, journaling = None, self._journaling
        try:
            if journaling is not None and not self._without_journal:
                number = self._begin_epoch(journaling)
        except sqlite3.Error:  # locked: the commit that is tried next tells whom it concerns
            number = None
        except OSError as error:
            self._without_journal = True
            assert journaling is not None, "it failed"
            told = journaling.journal.told(error)
            log.warning("%s: goes on without a journal until the next start: %s", self._name, told)
        self._loop_side.run_soon(partial(begun, number))

    def look_up(
        self, keys: Sequence[StoreKey], found: Callable[[Mapping[StoreKey, Version] | Unavailable], None]
    ) -> None:
        """Tell the versions of those keys that hold something."""
        answer: Mapping[StoreKey, Version] | Unavailable
        try:
            answer = look_up(self._connection, self._statements, keys)
        except sqlite3.Error as error:
            answer = self._tell_failing(error)
        self._loop_side.run_soon(partial(found, answer))

    def end_epoch(self, epoch: Epoch, ended: Callable[[Unavailable | None], None]) -> None:
        """Bring an epoch into the file, and tell whether it is there now; if not, this may be called again."""
        failure = None
        try:
            self._end_epoch(epoch)
        except sqlite3.Error as error:
            if self._connection.in_transaction:
                self._connection.rollback()
            failure = self._tell_failing(error)
        else:
            self._tell_working()
            self._in_epoch = False
            deferred, self._deferred = self._deferred, {}
            for job in deferred:
                self.worker.run(job)
        self._loop_side.run_soon(partial(ended, failure))

    def remember(self, group: Group) -> None:
        """Take in what a group changed, once it is durable. Only who decides groups calls this."""
        if self._recount is not None:
            self._recount.note(group.changed, self.versions)
        self.versions.remember(group.changed)

    def look_outside(self) -> None:
        """Notice what other processes committed."""
        if self._in_epoch:  # nobody else can
            return
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
            self.worker.run(self._recount_slice)

    def purge(self) -> None:
        """Remove a slice of the expired items, and call again while there are more."""
        if self._in_epoch:
            self._deferred[self.purge] = None
            return
        try:
            more = self._purge_slice()
        except sqlite3.Error:
            return
        if more:
            self.worker.run(self.purge)

    def close(self) -> bool:
        """Close the connection, which folds the log into the file. True when the stored totals are surely right."""
        self.look_outside()
        right = self._recount is None and not self._in_epoch
        self._recount = None
        try:
            self._connection.close()
        except sqlite3.Error:
            right = False
        if self._journaling is not None:
            self._journaling.sharing.close()
            if not self._in_epoch:
                self._journaling.journal.remove()
        return right

    def _commit(self, requests: Sequence[Request]) -> Items:
        keys = {operation.key for request in requests for operation in request.operations}
        versions, loop_side = self.versions, self._loop_side
        for _ in range(_ATTEMPTS):
            unknown = versions.unknown(keys)
            if unknown:
                versions.update(dict.fromkeys(unknown))
                versions.update(look_up(self._connection, self._statements, unknown))
            group = decide_group(requests, versions, versions.next_etag, loop_side.ledger, loop_side.now())
            items = group.items()
            if self._apply(group):
                return items
            self._forget()
        raise Unavailable(f"{self._name}: nothing was written: another process keeps changing these items")

    def _apply(self, group: Group) -> bool:
        """Do the group; False when another process had changed an item. On any failure all charges are given back."""
        if not group.changed:
            return True
        try:
            self._execute(encode(group, self.versions))
        except BaseException as error:
            if self._connection.in_transaction:  # else a later group would be told done without a commit of its own
                self._connection.rollback()
            refund_growth(self._loop_side.ledger, group.grown)
            if _is_changed_outside(error):
                return False
            raise
        free(self._loop_side.ledger, group.shrunk)
        self.remember(group)
        group.forget_values()
        return True

    def _execute(self, texts: Sequence[str]) -> None:
        self._connection.execute(self._statements.changing(texts), texts)

    def _begin_epoch(self, journaling: Journaling) -> int | None:
        if journaling.sharing.others():
            return None
        disk = os.statvfs(journaling.directory)
        if disk.f_bavail * disk.f_frsize < _EPOCH_ROOM_BYTES:
            return None
        journaling.journal.prepare()
        self._connection.execute("BEGIN IMMEDIATE")
        self.look_outside()
        self._in_epoch = True
        return last_epoch(self._connection, self._statements) + 1

    def _end_epoch(self, epoch: Epoch) -> None:
        connection = self._connection
        retried = not connection.in_transaction
        if retried:
            connection.execute("BEGIN IMMEDIATE")
        if epoch.changed:
            texts = encode(epoch.group(), epoch.base)
            try:
                self._execute(texts)
            except sqlite3.IntegrityError as error:
                if not (retried and _is_changed_outside(error)):
                    raise
                log.warning("%s: another process has changed items whose writes were under way: undone", self._name)
                self._execute(("{}", *texts[1:]))
                self.start_recount()
        connection.execute(self._statements.write_epoch, (str(epoch.number),))
        connection.execute("COMMIT")

    def _tell_failing(self, error: sqlite3.Error) -> Unavailable:
        """Log the first of a row of failures: each request is told its own."""
        told = with_remedy(error)
        if not self._failing:
            self._failing = True
            log.error("%s: cannot write: %s", self._name, told)
        return Unavailable(f"{self._name}: nothing was written: {told}")

    def _tell_working(self) -> None:
        if self._failing:
            self._failing = False
            log.warning("%s: writes again", self._name)

    def _forget(self) -> None:
        self.versions.clear()
        self._loop_side.run_soon(self._loop_side.changed_outside)
        self.start_recount()

    def _fail(self, requests: Sequence[Request], error: Exception) -> None:
        self.versions.clear()
        for request in requests:
            request.error = error

    def _purge_slice(self) -> bool:
        query = (int(self._loop_side.now()), _PURGE_SLICE)
        (text,) = self._connection.execute(self._statements.expired, query).fetchone()
        expired = parse(text)
        if not expired:
            return False
        self.versions.update(expired)
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
        if self._in_epoch:
            self._deferred[self._recount_slice] = None
            return
        try:
            if recount.slice(self._connection):
                self._recount = None
                self._replace_totals(recount.totals)
                return
        except sqlite3.Error:
            self._recount = None
            return
        self.worker.run(self._recount_slice)

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


def _is_changed_outside(error: BaseException) -> bool:
    return isinstance(error, sqlite3.IntegrityError) and CHANGED in str(error)


def _freed(versions: dict[StoreKey, Version]) -> Deltas:
    freed: Deltas = {}
    for key, version in versions.items():
        add(freed, owner_of(key), -1, -size_of(key, b"") - version.value_bytes)
    return freed
