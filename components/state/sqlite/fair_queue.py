"""A queue in which owners take turns."""

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Generic, Protocol, TypeVar

_SHARED_ITEMS = 12
"""Of one owner in a batch while there are several."""
_SHARED_BATCHES = 64
"""How long that stays so, in batches, after the last with several: who asks one by one is in every second batch."""


class Owned(Protocol):
    """What is somebody's."""

    owner: str
    """Whose; only told apart."""
    size_bytes: int


OwnedT = TypeVar("OwnedT", bound=Owned)


class FairQueue(Generic[OwnedT]):
    """Batches in which the owners take turns, item by item, each with a few while there are several.

    So nobody waits for all that another has queued, and who has one item waits for two small batches at most.
    What it holds is bounded by those who fill it.
    """

    __slots__ = ("_most_bytes", "_queues", "_shared_for", "_turns", "_waiting", "add")

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._waiting: deque[OwnedT] = deque()
        self.add = self._waiting.append
        """Add an item."""
        self._queues: dict[str, deque[OwnedT]] = {}
        self._turns: deque[tuple[str, deque[OwnedT]]] = deque()
        """Those of `_queues`, in the order of their turns."""
        self._shared_for = 0

    def __bool__(self) -> bool:
        return bool(self._waiting or self._turns)

    def __len__(self) -> int:
        return len(self._waiting) + sum(len(queue) for _, queue in self._turns)

    def __iter__(self) -> Iterator[OwnedT]:
        yield from self._waiting
        for _, queue in self._turns:
            yield from queue

    def take(self, most_items: int) -> list[OwnedT]:
        """Take the next batch, empty where nothing waits; it may exceed its bytes by its last item."""
        waiting = self._waiting
        if not (self._turns or self._shared_for) and len(waiting) <= most_items:
            batch = list(waiting)
            if _have_one_owner(batch) and sum([item.size_bytes for item in batch]) <= self._most_bytes:
                waiting.clear()
                return batch
        return self._take_in_turns(most_items)

    def _take_in_turns(self, most_items: int) -> list[OwnedT]:
        self._sort()
        self._shared_for = _SHARED_BATCHES if len(self._turns) > 1 else max(self._shared_for - 1, 0)
        rounds = _SHARED_ITEMS if self._shared_for else most_items
        batch: list[OwnedT] = []
        room_bytes = self._most_bytes
        while self._turns and rounds:
            rounds -= 1
            for _ in range(len(self._turns)):
                item = self._take_one()
                batch.append(item)
                room_bytes -= item.size_bytes
                if room_bytes <= 0 or len(batch) == most_items:
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
        while waiting:
            item = waiting.popleft()
            queue = queues.get(item.owner)
            if queue is None:
                queues[item.owner] = queue = deque()
                self._turns.append((item.owner, queue))
            queue.append(item)


def _have_one_owner(batch: Sequence[Owned]) -> bool:
    owner = batch[0].owner if batch else ""
    return not [item for item in batch if item.owner is not owner]
