"""A thread that runs jobs in order, and batches of what came in while the last batch ran."""

from collections import deque
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from threading import Thread
from typing import Generic, Protocol, TypeVar

Job = Callable[[], None]

_SHARED_ITEMS = 12
"""Of one owner in a batch while there are several."""
_SHARED_BATCHES = 64
"""How long that stays so, in batches, after the last with several: who asks one by one is in every second batch."""


class Sized(Protocol):
    """What a batch is made of."""

    size_bytes: int


class Owned(Sized, Protocol):
    """What is somebody's."""

    owner: str
    """Whose; only told apart."""


T = TypeVar("T", bound=Sized)
OwnedT = TypeVar("OwnedT", bound=Owned)


class Worker:
    """One owned thread. What its queue holds is bounded by those who fill it."""

    __slots__ = ("_jobs", "_thread")

    def __init__(self, name: str) -> None:
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._thread = Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def run(self, job: Job) -> None:
        """Run a job after those before it; it must not raise. Any thread may call this."""
        self._jobs.put(job)

    def stop(self) -> None:
        """End the thread after the jobs it has."""
        self._jobs.put(None)

    def join(self, timeout_seconds: float) -> bool:
        """Wait until it ended; False when it did not in time."""
        self._thread.join(timeout_seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()


class Batches(Generic[T]):
    """Gather items while the worker is busy; hand it all of them at once, within bounds."""

    __slots__ = ("_most_bytes", "_most_items", "_next_pass", "_scheduled", "_waiting", "_work", "_worker")

    def __init__(
        self,
        worker: Worker,
        work: Callable[[list[T]], None],
        most_items: int,
        most_bytes: int,
        next_pass: Callable[[Job], object],
    ) -> None:
        self._worker = worker
        self._next_pass = next_pass
        self._work = work
        self._most_items = most_items
        self._most_bytes = most_bytes
        self._waiting: deque[T] = deque()
        self._scheduled = False

    def add(self, item: T) -> None:
        """Add an item. Only from the loop's thread."""
        self._waiting.append(item)
        if not self._scheduled:
            self._scheduled = True
            self._next_pass(self._hand_over)  # once the loop has read whoever else is ready: they share the batch

    @property
    def waiting(self) -> bool:
        """Whether there is something no batch has taken yet."""
        return bool(self._waiting)

    def _hand_over(self) -> None:
        self._worker.run(self._run)

    def _run(self) -> None:
        batch = self._take()
        if batch:
            self._work(batch)
        if self.waiting:
            self._worker.run(self._run)
            return
        self._scheduled = False
        # An item may have come between the last look and this flag: its `add` saw it still set.
        if self._waiting and not self._scheduled:
            self._scheduled = True
            self._worker.run(self._run)

    def _take(self) -> list[T]:
        batch: list[T] = []
        waiting, room_bytes = self._waiting, self._most_bytes
        for _ in range(min(len(waiting), self._most_items)):  # only this thread takes from it
            item = waiting.popleft()
            batch.append(item)
            room_bytes -= item.size_bytes
            if room_bytes <= 0:
                break
        return batch


class FairBatches(Batches[OwnedT]):
    """Batches in which the owners take turns, item by item, each with a few while there are several.

    So nobody waits for all that another has queued, and who has one item waits for two small batches at most.
    """

    __slots__ = ("_queues", "_shared_for", "_turns")

    def __init__(
        self,
        worker: Worker,
        work: Callable[[list[OwnedT]], None],
        most_items: int,
        most_bytes: int,
        next_pass: Callable[[Job], object],
    ) -> None:
        super().__init__(worker, work, most_items, most_bytes, next_pass)
        self._queues: dict[str, deque[OwnedT]] = {}
        self._turns: deque[tuple[str, deque[OwnedT]]] = deque()
        """Those of `_queues`, in the order of their turns; like these, only the worker's thread knows it."""
        self._shared_for = 0

    @property
    def waiting(self) -> bool:
        """As Batches.waiting. Only on the worker's thread."""
        return bool(self._waiting or self._turns)

    def _take(self) -> list[OwnedT]:
        if not (self._turns or self._shared_for) and len(self._waiting) <= self._most_items:
            batch = super()._take()
            if not self._waiting and _have_one_owner(batch):
                return batch
            self._waiting.extendleft(reversed(batch))
        return self._take_in_turns()

    def _take_in_turns(self) -> list[OwnedT]:
        self._sort()
        self._shared_for = _SHARED_BATCHES if len(self._turns) > 1 else max(self._shared_for - 1, 0)
        rounds = _SHARED_ITEMS if self._shared_for else self._most_items
        batch: list[OwnedT] = []
        room_bytes = self._most_bytes
        while self._turns and rounds:
            rounds -= 1
            for _ in range(len(self._turns)):
                item = self._take_one()
                batch.append(item)
                room_bytes -= item.size_bytes
                if room_bytes <= 0 or len(batch) == self._most_items:
                    return batch
        return batch

    def _take_one(self) -> OwnedT:
        owner, queue = self._turns.popleft()
        item = queue.popleft()
        if queue:
            self._turns.append((owner, queue))
        else:
            del self._queues[owner]
        return item

    def _sort(self) -> None:
        """Put what came into its owner's queue."""
        waiting, queues = self._waiting, self._queues
        for _ in range(len(waiting)):  # only this thread takes from it
            item = waiting.popleft()
            queue = queues.get(item.owner)
            if queue is None:
                queues[item.owner] = queue = deque()
                self._turns.append((item.owner, queue))
            queue.append(item)


def _have_one_owner(batch: Sequence[Owned]) -> bool:
    owner = batch[0].owner if batch else ""
    return not [item for item in batch if item.owner is not owner]
