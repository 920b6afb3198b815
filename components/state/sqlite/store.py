"""state.sqlite on the loop's thread: answers from the cache, gathers misses and writes for the two threads.

What an app reads is committed: the cache changes when a commit has returned, in the same call that tells the writers.
A read under way when its key is committed is answered by that commit, so nobody reads an older item after an
acknowledged write.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from functools import partial
from math import ceil
from pathlib import Path
from typing import ClassVar, Self

from components.completion import Completion
from components.contract import (
    NOT_AT_HAND,
    Capability,
    Delete,
    InvalidRequest,
    Item,
    Outcome,
    StoreKey,
    Surroundings,
    Timer,
    Unavailable,
    Write,
    owner_of,
)
from components.fields import Field
from components.journal.file import Journal
from components.state.sqlite.cache import Cache
from components.state.sqlite.commits import Commits
from components.state.sqlite.file import OwnedFile, connect, open_database
from components.state.sqlite.group import Answer, Request, Share
from components.state.sqlite.reader import Answer as ReadAnswer
from components.state.sqlite.reader import Miss, Reader
from components.state.sqlite.recovery import journal_of
from components.state.sqlite.settings import FIELDS, Settings, read_settings
from components.state.sqlite.sharing import Sharing
from components.state.sqlite.statements import Statements
from components.state.sqlite.worker import Batches, Worker
from components.state.sqlite.writer import Journaling, LoopSide, OpenFile, Writer

_TICK_SECONDS = 1.0
_BUSY_GROUPS = 3
"""In a row that left somebody waiting, before the next ones go to the journal."""
_QUEUE_ITEMS = 16_384
_QUEUE_BYTES = 64 << 20
"""Nobody may have more of the queue than is free: one owner half of it, two a third each, and so on."""
_TOLD_AT_ONCE = 32
"""Requests of a group that are told in one pass of the loop."""
_READ_ITEMS = 256
_READ_QUEUE = 16_384
_OPERATION_BYTES = 200
"""What an operation costs in a queue besides its value."""
_CLOSE_SECONDS = 30.0
_JOIN_SECONDS = 1.0
"""For threads that have nothing left to do."""


class SqliteStateStore:
    """One file, or memory; see the package's docstring."""

    type: ClassVar[str] = "state.sqlite"
    capabilities: ClassVar[frozenset[Capability]] = frozenset(
        {Capability.ETAG, Capability.TRANSACTIONAL, Capability.TTL}
    )
    inline: ClassVar[bool] = True
    fields: ClassVar[tuple[Field, ...]] = FIELDS

    def __init__(self, name: str, settings: Settings, surroundings: Surroundings) -> None:
        """Open the file. Raises ConfigError, Unavailable; nothing stays open then."""
        self._settings = settings
        self._surroundings = surroundings
        self._now = surroundings.now
        self._cache = Cache(settings.cache_bytes)
        self._generation = 0
        self._reading: dict[StoreKey, Miss] = {}
        self._waiting_reads = 0
        self._untold: deque[Request] = deque()
        self._shares: dict[str, Share] = {}
        self._queued_items = 0
        self._queued_bytes = 0
        self._tick = 0
        self._timer: Timer | None = None
        self._closed = False
        self._stopped: Completion[None] = Completion()
        self._file = None if settings.path is None else OwnedFile(name, settings.path)
        try:
            self._start(name)
        except BaseException:
            if self._file is not None:
                self._file.release(clean=False)
            raise
        surroundings.run_soon(self._on_tick)

    @classmethod
    def open(cls, name: str, metadata: Mapping[str, str], surroundings: Surroundings) -> Self:
        """Open the store the metadata describes. Raises ConfigError, Unavailable."""
        settings = read_settings(name, metadata, surroundings.state_dir)
        if settings.path is not None and settings.path.parent == surroundings.state_dir:
            surroundings.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        return cls(name, settings, surroundings)

    async def get(self, key: StoreKey) -> Item | None:
        """Return the live item."""
        item = self.get_now(key)
        if item is not NOT_AT_HAND:
            return item
        item = await self._read(key)
        if item is None or item.expires_at is None or item.expires_at > self._now():
            return item
        return None

    def get_now(self, key: StoreKey) -> Item | None:
        """Return the live item, or NOT_AT_HAND where it must be read."""
        item = self._cache.get(key)
        if item is None or item.expires_at is None or item.expires_at > self._now():
            return item
        return None

    async def get_many(self, keys: Sequence[StoreKey]) -> Sequence[Item | None]:
        """Return one answer per key; those not cached are read together."""
        found = [self._cache.get(key) for key in keys]
        reads = [self._read(key) if item is NOT_AT_HAND else None for key, item in zip(keys, found, strict=True)]
        items = [item if read is None else await read for item, read in zip(found, reads, strict=True)]
        now = self._now()
        return [None if item and item.expires_at is not None and item.expires_at <= now else item for item in items]

    async def set(self, write: Write) -> None:
        """Store one item, durably."""
        await self.set_later(write)

    def set_later(self, write: Write) -> Completion[Answer]:
        """Begin to store one item."""
        key = write.key
        if not key.isascii() or "\0" in key:
            _check_key(key)
        return self._queue((write,), _OPERATION_BYTES + len(write.value), atomic=True)

    async def set_many(self, writes: Sequence[Write]) -> Sequence[Outcome]:
        """Store several in one commit."""
        return await self._submit(writes, atomic=False) or ()

    async def delete(self, delete: Delete) -> None:
        """Remove one item, durably."""
        await self._submit((delete,), atomic=True)

    async def delete_many(self, deletes: Sequence[Delete]) -> Sequence[Outcome]:
        """Remove several in one commit."""
        return await self._submit(deletes, atomic=False) or ()

    async def transact(self, operations: Sequence[Write | Delete]) -> None:
        """Do all in order, or none, in one commit."""
        await self._submit(operations, atomic=True)

    async def aclose(self) -> None:
        """Commit what was accepted, end both threads, close the file; gives up on a disk that hangs after 30 s."""
        if self._closed:
            return
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        deadline = self._surroundings.call_later(_CLOSE_SECONDS, self._give_up)
        self._commits.finish(partial(self._read_worker.run, self._close_reader))
        try:
            await self._stopped
        finally:
            deadline.cancel()
        if self._journal is not None:
            self._journal.journal.close()
        while self._untold:
            self._tell()
        self._read_worker.join(_JOIN_SECONDS)
        self._write_worker.join(_JOIN_SECONDS)

    def _start(self, name: str) -> None:
        settings, surroundings = self._settings, self._surroundings
        self._name = f"state.sqlite {name} ({settings.path or ':memory:'})"
        statements = Statements(settings.table, settings.metadata_table)
        connection, totals, counted = open_database(name, settings, statements)
        reading = connection if settings.path is None else connect(name, settings)
        surroundings.ledger.recount(totals)
        loop_side = LoopSide(
            surroundings.run_soon, surroundings.now, surroundings.ledger, self._on_settled, self._on_changed_outside
        )
        self._write_worker = worker = Worker(f"sqlite-write-{name}")
        self._read_worker = worker if settings.path is None else Worker(f"sqlite-read-{name}")
        self._journal = journal = None if settings.path is None else self._journal_of(settings.path)
        self._writer = Writer(OpenFile(connection, statements, self._name, journal), worker, loop_side)
        self._reader = Reader(reading, statements, surroundings.run_soon, self._on_answered, self._name)
        busy_groups = 0 if settings.journaling == "always" else _BUSY_GROUPS
        self._commits = Commits(
            self._writer, journal.journal if journal else None, busy_groups, surroundings, self._on_settled
        )
        self._reads: Batches[Miss] = Batches(
            self._read_worker, self._reader.read, _READ_ITEMS, _READ_ITEMS, surroundings.next_pass
        )
        if self._file is not None and not (counted or self._file.untouched):
            self._write_worker.run(self._writer.start_recount)

    def _journal_of(self, path: Path) -> Journaling | None:
        """Prepare for epochs, which need the log that others can read past."""
        settings, surroundings = self._settings, self._surroundings
        if settings.journaling == "never" or not settings.wal:
            return None
        try:
            sharing = Sharing(path)
        except OSError:  # a file system on which SQLite keeps no such log
            return None
        journal = Journal(journal_of(path), self._write_worker, surroundings.run_soon, surroundings.watch)
        return Journaling(journal, sharing, str(path.parent))

    def _submit(self, operations: Sequence[Write | Delete], *, atomic: bool) -> Completion[Answer]:
        if not operations:
            completion: Completion[Answer] = Completion()
            completion.resolve(())
            return completion
        size_bytes = 0
        for operation in operations:
            _check_key(operation.key)
            size_bytes += _OPERATION_BYTES + (len(operation.value) if isinstance(operation, Write) else 0)
        return self._queue(operations, size_bytes, atomic=atomic)

    def _queue(self, operations: Sequence[Write | Delete], size_bytes: int, *, atomic: bool) -> Completion[Answer]:
        owner = owner_of(operations[0].key)
        share = self._shares.get(owner)
        if share is None:
            share = self._shares[owner] = Share(owner)
        items, share_bytes = share.items + 1, share.size_bytes + size_bytes
        free_items, free_bytes = _QUEUE_ITEMS - self._queued_items, _QUEUE_BYTES - self._queued_bytes
        if items > free_items or share_bytes > free_bytes or self._closed:
            self._check_room(share, size_bytes)
        completion: Completion[Answer] = Completion()
        request = Request(operations, atomic, completion, size_bytes, self._tick, share, share.owner)
        share.items, share.size_bytes = items, share_bytes
        self._queued_items += 1
        self._queued_bytes += size_bytes
        self._commits.add(request)
        return completion

    def _check_room(self, share: Share, size_bytes: int) -> None:
        if self._closed:
            raise Unavailable(f"{self._name}: is closed")
        queued = self._queued_items
        if share.items and (
            share.items >= _QUEUE_ITEMS - queued or share.size_bytes + size_bytes > _QUEUE_BYTES - self._queued_bytes
        ):
            raise Unavailable(
                f"{self._name}: its queue of writes is full ({queued} of {_QUEUE_ITEMS} requests,"
                f" {self._queued_bytes} of {_QUEUE_BYTES} bytes): the disk is slower than the writers; try again"
            )

    def _read(self, key: StoreKey) -> Completion[Item | None]:
        if self._closed:
            raise Unavailable(f"{self._name}: is closed")
        if self._waiting_reads >= _READ_QUEUE:
            raise Unavailable(f"{self._name}: its queue of reads is full ({_READ_QUEUE}): try again")
        item = self._commits.item(key)
        if item is not NOT_AT_HAND:
            known: Completion[Item | None] = Completion()
            known.resolve(item)
            return known
        miss = self._reading.get(key)
        if miss is None:
            _check_key(key)
            miss = Miss(key, self._generation, self._tick, [])
            self._reading[key] = miss
            self._reads.add(miss)
        completion: Completion[Item | None] = Completion()
        miss.waiting.append(completion)
        self._waiting_reads += 1
        return completion

    def _on_settled(self, requests: Sequence[Request], items: dict[StoreKey, Item | None]) -> None:
        for key, item in items.items():
            self._cache.put(key, item)
            miss = self._reading.pop(key, None)
            if miss is not None:
                self._answer(miss, item)
        for request in requests:
            share, size_bytes = request.share, request.size_bytes
            share.items -= 1
            share.size_bytes -= size_bytes
            self._queued_bytes -= size_bytes
            if not share.items:
                del self._shares[share.owner]
        self._queued_items -= len(requests)
        telling = bool(self._untold)
        self._untold.extend(requests)
        if not telling:
            self._tell()

    def _tell(self) -> None:
        """Tell some of those whose group is done, and the others when the loop has looked around."""
        untold = self._untold
        for _ in range(min(_TOLD_AT_ONCE, len(untold))):
            request = untold.popleft()
            if request.error is None:
                request.completion.resolve(request.outcomes)
            else:
                request.completion.fail(request.error)
        if untold:
            self._surroundings.next_pass(self._tell)

    def _on_answered(self, misses: Sequence[Miss], answers: dict[StoreKey, ReadAnswer]) -> None:
        for miss in misses:
            if self._reading.get(miss.key) is not miss:
                continue
            del self._reading[miss.key]
            answer = answers[miss.key]
            if miss.generation == self._generation and not isinstance(answer, Unavailable):
                self._cache.put(miss.key, answer)
            self._answer(miss, answer)

    def _answer(self, miss: Miss, answer: ReadAnswer) -> None:
        self._waiting_reads -= len(miss.waiting)
        for completion in miss.waiting:
            if isinstance(answer, Unavailable):
                completion.fail(answer)
            else:
                completion.resolve(answer)

    def _on_changed_outside(self) -> None:
        self._generation += 1
        self._cache.clear()

    def _on_tick(self) -> None:
        if self._closed:
            return
        self._tick += 1
        self._expire(self._tick - ceil(self._settings.timeout_seconds / _TICK_SECONDS))
        cleanup_ticks = ceil(self._settings.cleanup_seconds / _TICK_SECONDS)
        if cleanup_ticks > 0 and self._tick % cleanup_ticks == 0:
            self._write_worker.run(self._writer.purge)
        self._write_worker.run(self._writer.look_outside)
        self._commits.tick()
        self._timer = self._surroundings.call_later(_TICK_SECONDS, self._on_tick)

    def _expire(self, oldest: int) -> None:
        """Answer those who have waited since before the tick `oldest`."""
        for request in self._commits.waiting():
            if request.since < oldest:
                request.completion.fail(
                    Unavailable(f"{self._name}: no commit within the timeout; whether it will be written is unknown")
                )
        for miss in [miss for miss in self._reading.values() if miss.since < oldest]:
            del self._reading[miss.key]
            self._answer(miss, Unavailable(f"{self._name}: no answer within the timeout"))

    def _close_reader(self) -> None:
        if self._reads.waiting:
            self._read_worker.run(self._close_reader)
            return
        if self._read_worker is not self._write_worker:
            self._reader.close()
            self._read_worker.stop()
        self._write_worker.run(self._close_writer)

    def _close_writer(self) -> None:
        clean = self._writer.close()
        if self._file is not None:
            self._file.release(clean=clean)
        self._write_worker.stop()
        self._surroundings.run_soon(partial(self._stopped.resolve, None))

    def _give_up(self) -> None:
        self._stopped.fail(Unavailable(f"{self._name}: the disk did not answer within {_CLOSE_SECONDS:g} s"))


def _check_key(key: StoreKey) -> None:
    """Refuse a key that SQLite's JSON functions would cut or that is no Unicode text."""
    if "\0" in key or not (key.isascii() or _is_unicode(key)):
        raise InvalidRequest(f"key {key!r}: found U+0000 or a lone surrogate, allowed: Unicode text without U+0000")


def _is_unicode(key: str) -> bool:
    try:
        key.encode()
    except UnicodeEncodeError:
        return False
    return True
