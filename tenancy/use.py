"""Counters as those who count hold them: cells bound once, when a component or a subscription is, not per request.

A time of nought is not told: what ended in the go in which it began took less than the clock's steps.
"""

from typing import Final

from tenancy.accounting import CallUse, StateUse, TopicUse, Usage
from tenancy.tally import MOST, Cell

DROP, RETRY, SUCCESS = "drop", "retry", "success"
"""What became of an event (process_status). Source: daprd 1.18 pkg/runtime/subscription."""
_TRUE: Final = ("true",)
_FALSE: Final = ("false",)


class StoreUse:
    """One tenant's operations on one state store."""

    __slots__ = (
        "_name", "_usage", "bulk_delete", "bulk_get", "delete", "get", "set", "time", "transaction",
    )  # fmt: skip

    def __init__(self, usage: Usage, name: str) -> None:
        self._usage = usage
        self._name = name
        self.time = usage.time
        self.get = self._cell("get")
        self.set = self._cell("set")
        self.delete = self._cell("delete")
        self.transaction = self._cell("transaction")
        self.bulk_get = self._cell("bulk_get")
        self.bulk_delete = self._cell("bulk_delete")

    def took(self, cell: Cell, since: float) -> None:
        """Say that what a cell counted last began then."""
        cell.took((self.time.now - since) * 1000, self._usage.bounds_ms)

    def failed(self, operation: str, since: float) -> None:
        """Count a failure; `operation` is daprd's word for it."""
        cell = self._usage.state.cell(StateUse(self._name, operation, success=False))
        cell.count += 1
        self.took(cell, since)

    def _cell(self, operation: str) -> Cell:
        return self._usage.state.cell(StateUse(self._name, operation, success=True))


class PublishUse:
    """One tenant's publications to one broker."""

    __slots__ = ("_name", "_usage", "time", "topics")

    def __init__(self, usage: Usage, name: str) -> None:
        self._usage = usage
        self._name = name
        self.time = usage.time
        self.topics: dict[str, Cell] = {}
        """{topic: its successes}; a topic that is not in it is to be asked for by `topic`."""

    def topic(self, name: str) -> Cell:
        """The cell of a topic's successes."""
        cell = self._usage.published.cell(TopicUse(self._name, name, _TRUE))
        if len(self.topics) < MOST:
            self.topics[name] = cell
        return cell

    def took(self, cell: Cell, since: float) -> None:
        """Say that what a cell counted last began then."""
        cell.took((self.time.now - since) * 1000, self._usage.bounds_ms)

    def failed(self, topic: str, since: float) -> None:
        """Count a failure."""
        cell = self._usage.published.cell(TopicUse(self._name, topic, _FALSE))
        cell.count += 1
        self.took(cell, since)

    def batch(self, topic: str, since: float, *, success: bool) -> None:
        """Count a bulk publication, a failure where one event of it failed."""
        cell = self._usage.bulk_published.cell(TopicUse(self._name, topic, _TRUE if success else _FALSE))
        cell.count += 1
        self.took(cell, since)


class Reception:
    """Events of one subscription, and the calls that bring them to the app."""

    __slots__ = ("_bounds_ms", "_name", "_taken", "_topic", "_usage", "time")

    def __init__(self, usage: Usage, pubsub: str, topic: str, method: str = "POST") -> None:
        """Begin with none; `method` is HTTP's verb or gRPC's path, by which the app is called."""
        self._usage = usage
        self._bounds_ms = usage.bounds_ms
        self._name = pubsub
        self._topic = topic
        self.time = usage.time
        self._taken = usage.taken.cell(TopicUse(pubsub, topic, (method,)))

    def taken(self, sent: int, received: int, since: float) -> None:
        """Count an event that the app took, with the plain answer that most have: 200, or OK. The clock is read."""
        self._taken.add(received, sent, (self.time.tick() - since) * 1000, self._bounds_ms)

    def came_to(self, process_status: str, status: str, since: float) -> None:
        """Count an event by what became of it otherwise; the app has had it since then."""
        cell = self._usage.received.cell(TopicUse(self._name, self._topic, (process_status, status)))
        cell.count += 1
        cell.took((self.time.now - since) * 1000, self._bounds_ms)

    def called(self, use: CallUse, sent: int, received: int, since: float) -> None:
        """Count a call that brought one event or several, but is not counted as `taken`. The clock is read."""
        self._usage.calls.cell(use).add(received, sent, (self.time.tick() - since) * 1000, self._bounds_ms)

    def batch(self, since: float) -> None:
        """Count a batch that the app was given then."""
        cell = self._usage.bulk_received.cell(TopicUse(self._name, self._topic, ("",)))
        cell.count += 1
        cell.took((self.time.now - since) * 1000, self._bounds_ms)

    def in_batch(self, process_status: str) -> None:
        """Count one event of a batch."""
        self._usage.bulk_events.cell(TopicUse(self._name, self._topic, (process_status.upper(),))).count += 1
