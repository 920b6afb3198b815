"""A thread that runs jobs in order, and batches of what came in while the last batch ran."""

from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import Generic, Protocol, TypeVar

Job = Callable[[], None]


class Sized(Protocol):
    """What a batch is made of."""

    size_bytes: int


T = TypeVar("T", bound=Sized)


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
