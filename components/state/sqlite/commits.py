"""Who makes the next group of writes durable: SQLite itself, or the journal, and SQLite later. On the loop's thread.

One group at a time; what comes meanwhile is the next one. While somebody waits whenever a group is done, groups go to
the journal, in epochs of a tenth of a second (`epoch.py`); a store with little to do commits each at once.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial

from components.contract import NOT_AT_HAND, Item, StoreKey, Surroundings, Timer, Unavailable
from components.journal.awake import Awake
from components.journal.file import Journal
from components.state.changes import Version, free, refund_growth
from components.state.sqlite.epoch import Epoch, encode_record
from components.state.sqlite.fair_queue import FairQueue
from components.state.sqlite.group import Group, Request, decide_group
from components.state.sqlite.writer import Items, Settled, Writer

log = logging.getLogger("noded.components")

_GROUP_ITEMS = 256
"""Requests in a group: more would keep the loop, or the GIL from it, for milliseconds while they are decided."""
_GROUP_BYTES = 4 << 20
_HALVED_ITEMS = 24
"""Fewer do not keep the loop busy while others are written."""
_EPOCH_SECONDS = 0.1
_AWAKE_REQUESTS = 8
"""In a group, for which the loop stays awake while it is written: they share what that costs."""
_CALM_GROUPS = -200
"""Groups before an epoch is tried again where none was to be had."""


class Commits:
    """The one way of a store's writes."""

    def __init__(
        self,
        writer: Writer,
        journal: Journal | None,
        busy_groups: int,
        surroundings: Surroundings,
        settled: Settled,
    ) -> None:
        """`busy_groups`: so many in a row that left somebody waiting open an epoch; `settled` is told of each group."""
        self._writer = writer
        self._versions = writer.versions
        self._worker = writer.worker
        self._journal = journal
        self._busy_groups = busy_groups
        self._surroundings = surroundings
        self._settled = settled
        self._queue: FairQueue[Request] = FairQueue(_GROUP_BYTES)
        self._batch: list[Request] = []
        """The group under way."""
        self._awake = Awake(surroundings.next_pass)
        self._under_way = False
        self._busy = 0
        self._epoch: Epoch | None = None
        self._age: Timer | None = None
        self._failure: Unavailable | None = None
        """Why an epoch is not in the file, although it should be."""
        self._not_for_journal: list[Request] = []
        self._finished: Callable[[], None] | None = None

    def add(self, request: Request) -> None:
        """Do a request with the next group."""
        self._queue.add(request)
        if not self._under_way:
            self._under_way = True
            self._surroundings.next_pass(self._next)  # once the loop has read whoever else is ready

    def waiting(self) -> Iterator[Request]:
        """Give all that was added and is not settled."""
        yield from self._batch
        yield from self._queue

    def item(self, key: StoreKey) -> Item | None:
        """Return what a key holds where that is in the journal only, else NOT_AT_HAND."""
        return NOT_AT_HAND if self._epoch is None else self._epoch.item(key)

    def tick(self) -> None:
        """Try again what failed. Once a second."""
        if self._failure is not None and self._epoch is not None and not self._under_way:
            self._under_way = True
            self._end(self._epoch)

    def finish(self, finished: Callable[[], None]) -> None:
        """Do what was added, bring it into the file, then call `finished`; nothing is added after this."""
        self._finished = finished
        if not self._under_way:
            self._under_way = True
            self._next()

    def _next(self) -> None:
        """Begin the next group, or what has to be done before it."""
        epoch = self._epoch
        if epoch is not None and epoch.due and self._failure is None:
            self._end(epoch)
            return
        if epoch is None and self._journal is not None and self._busy >= self._busy_groups and self._queue:
            self._worker.run(partial(self._writer.begin_epoch, self._on_begun))
            return
        self._batch = batch = self._queue.take(self._most_items())
        if not batch:
            self._rest()
        elif epoch is None:
            self._worker.run(partial(self._writer.commit, batch, self._on_committed))
        elif self._failure is not None:
            self._refuse(batch, self._failure)
        else:
            self._look_up(epoch, batch)

    def _most_items(self) -> int:
        """Half of those who write, where they are many: while one half is written the other is told, and asks anew."""
        writers = len(self._batch) + len(self._queue)
        return _GROUP_ITEMS if self._epoch is None or writers < _HALVED_ITEMS else min(writers // 2 + 1, _GROUP_ITEMS)

    def _rest(self) -> None:
        self._under_way = False
        if self._finished is None:
            return
        if self._epoch is not None and self._failure is None:
            self._under_way = True
            self._end(self._epoch)
        else:
            self._finished()

    def _on_committed(self, batch: Sequence[Request], items: Items) -> None:
        self._busy = self._busy + 1 if self._queue or self._busy < 0 else 0
        self._next()  # first: it may be written while these are told
        self._settled(batch, items)

    def _on_begun(self, number: int | None) -> None:
        if number is None or self._journal is None:
            self._busy = _CALM_GROUPS
        else:
            self._epoch = Epoch(number)
            self._journal.start(number)
            self._age = self._surroundings.call_later(_EPOCH_SECONDS, self._on_age)
        self._next()

    def _on_age(self) -> None:
        if self._epoch is not None:
            self._epoch.due = True
            if not self._under_way:
                self._under_way = True
                self._next()

    def _look_up(self, epoch: Epoch, batch: list[Request]) -> None:
        versions = self._versions
        unknown = versions.unknown({operation.key for request in batch for operation in request.operations})
        if unknown:
            unknown = epoch.recall(unknown, versions)
        if unknown:
            self._worker.run(partial(self._writer.look_up, unknown, partial(self._on_found, epoch, batch, unknown)))
        else:
            self._decide(epoch, batch)

    def _on_found(
        self,
        epoch: Epoch,
        batch: list[Request],
        keys: Iterable[StoreKey],
        found: Mapping[StoreKey, Version] | Unavailable,
    ) -> None:
        if isinstance(found, Unavailable):
            self._refuse(batch, found)
            return
        self._versions.update(dict.fromkeys(keys))
        self._versions.update(found)
        self._decide(epoch, batch)

    def _decide(self, epoch: Epoch, batch: list[Request]) -> None:
        """Decide a group and begin its record, or give it to SQLite where the journal has no room for it."""
        surroundings, versions = self._surroundings, self._versions
        try:
            group = decide_group(batch, versions, versions.next_etag, surroundings.ledger, surroundings.now())
            payload = encode_record(group, versions)
        except Exception as error:  # noqa: BLE001 - a defect fails the group it met, not the store
            self._refuse(batch, error)
            return
        if not group.changed:
            self._done(batch, {})
        elif self._journal is not None and self._journal.has_room(len(payload)):
            self._journal.append(payload, partial(self._on_appended, epoch, batch, group))
            if len(batch) >= _AWAKE_REQUESTS:
                self._awake.begin()
        else:
            refund_growth(surroundings.ledger, group.grown)
            self._not_for_journal = batch
            self._end(epoch)

    def _on_appended(self, epoch: Epoch, batch: list[Request], group: Group, error: OSError | None) -> None:
        self._awake.end()
        ledger = self._surroundings.ledger
        if error is not None:
            assert self._journal is not None, "it was written to"
            told = self._journal.told(error)
            log.error("goes on without a journal until the next start: %s", told)
            self._journal = None
            epoch.due = True
            refund_growth(ledger, group.grown)
            self._refuse(batch, Unavailable(f"nothing was written: {told}"))
            return
        free(ledger, group.shrunk)
        items = group.items()
        epoch.take_in(group, self._versions)
        self._writer.remember(group)
        self._done(batch, items)

    def _refuse(self, batch: list[Request], error: Exception) -> None:
        for request in batch:
            request.error = error
        self._done(batch, {})

    def _done(self, batch: list[Request], items: Items) -> None:
        """Tell a group that did not go through the writer."""
        self._surroundings.next_pass(self._next)
        self._settled(batch, items)

    def _end(self, epoch: Epoch) -> None:
        self._worker.run(partial(self._writer.end_epoch, epoch, self._on_ended))

    def _on_ended(self, failure: Unavailable | None) -> None:
        epoch, self._failure = self._epoch, failure
        if failure is None and epoch is not None:
            epoch.group().forget_values()
            self._epoch = None
            if self._age is not None:
                self._age.cancel()
        batch, self._not_for_journal = self._not_for_journal, []
        if not batch:
            self._next()
        elif failure is None:
            self._worker.run(partial(self._writer.commit, batch, self._on_committed))
        else:
            self._refuse(batch, failure)
