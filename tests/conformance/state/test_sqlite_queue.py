"""The queue of writes: who asked first is first, owners take turns, batches keep to their bounds."""

from dataclasses import dataclass

from components.state.sqlite.fair_queue import FairQueue

MOST_BYTES = 1000


@dataclass
class Entry:
    owner: str
    number: int
    size_bytes: int = 1


def filled(*entries: Entry) -> FairQueue[Entry]:
    queue: FairQueue[Entry] = FairQueue(MOST_BYTES)
    for entry in entries:
        queue.add(entry)
    return queue


def drained(queue: FairQueue[Entry], most_items: int) -> list[list[tuple[str, int]]]:
    batches = []
    while batch := queue.take(most_items):
        batches.append([(entry.owner, entry.number) for entry in batch])
    return batches


def test_one_owner_is_served_in_order() -> None:
    """As many as asked for at a time, and the rest next."""
    queue = filled(*(Entry("a", number) for number in range(100)))
    assert len(queue) == 100
    batches = drained(queue, 40)
    assert [len(batch) for batch in batches] == [40, 40, 20]
    assert [number for batch in batches for _, number in batch] == list(range(100))
    assert not queue


def test_owners_take_turns() -> None:
    """Who has one item waits for a small batch, not for all of another's; each owner's own stay in their order."""
    queue = filled(*(Entry("flood", number) for number in range(500)), Entry("quiet", 0))
    first = queue.take(256)
    assert Entry("quiet", 0) in first
    assert len(first) < 30
    assert len(queue) + len(first) == 501
    assert sorted(entry.number for entry in queue) == list(range(len(first) - 1, 500))
    rest = [number for batch in drained(queue, 256) for _, number in batch]
    assert rest == list(range(len(first) - 1, 500))


def test_a_batch_is_bounded_in_bytes() -> None:
    """It may exceed its bytes by its last item, and is never empty while something waits."""
    large = [Entry("a", number, 600) for number in range(3)] + [Entry("a", 3, 5000), Entry("a", 4)]
    assert [len(batch) for batch in drained(filled(*large), 256)] == [2, 2, 1]
