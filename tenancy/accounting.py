"""What one tenant did and holds, as plain integers; prometheus and `noded usage` read them, nothing pushes them.

Bounded by construction: requests by face of an operation and status, refusals by field of Limits, the rest by `Tally`.
Called from the loop's thread only.
"""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from msgspec import Struct

from tenancy.tally import LARGE_BYTES, LATENCY_BOUNDS_MS, MOST, Cell, Tally

OTHER: Final = "(other)"
"""Stands for every name that found no room."""
STATUS_BITS: Final = 10
"""Of a key of `Usage.answers`: a status is below 1024."""


class LimitUse(Struct, frozen=True):
    """One limit of one tenant."""

    used: float
    """In use now; of a rate, what of the burst is spent (0 where no rate is set)."""
    allowed: float | None
    """The effective ceiling; None: no limit."""
    refused: int
    """Requests refused for it since the tenant was attached."""


class UsageReport(Struct, frozen=True):
    """A tenant's, a namespace's or the node's use of its limits at one moment."""

    subject: str
    """`<namespace>/<app id>`, a namespace, or "node"."""
    limits: Mapping[str, LimitUse]
    """{field of Limits: its use}"""


class Time(Protocol):
    """The loop's clock, in seconds since some moment: read once for all that happens in one go."""

    now: float

    def tick(self) -> float:
        """Read the clock: `now` is that from here on."""


class Frozen:
    """A time that does not pass, for who has none."""

    now = 0.0

    def tick(self) -> float:
        """Stand still."""
        return self.now


class StateUse(NamedTuple):
    """A key of `Usage.state`."""

    store: str
    operation: str
    """get, set, delete, transaction, bulk_get, bulk_delete, query."""
    success: bool


class TopicUse(NamedTuple):
    """A key of what is counted by topic."""

    pubsub: str
    topic: str
    outcome: tuple[str, ...]
    """Published: ("true",) or ("false",). Taken: a method. Received: process_status and status."""


class CallUse(NamedTuple):
    """A key of calls to an app."""

    method: bytes
    """HTTP's verb, or gRPC's path."""
    status: int
    """HTTP's, 500 where there was no answer; or gRPC's code."""
    streaming: bool = False
    path: str = ""
    """Of HTTP, where it is one of Dapr's own."""


class Peer:
    """Calls from one app to another, counted once for both."""

    __slots__ = ("begun", "begun_streams", "calls", "http")

    def __init__(self) -> None:
        self.begun = 0
        """Unary calls sent on."""
        self.begun_streams = 0
        self.calls: Tally[CallUse] = Tally(CallUse(b"", 0))
        self.http: dict[tuple[bytes, int], Cell] = {}
        """{(verb, status): the cell of it in `calls`}; one that is not in it is to be asked for by `http_cell`."""

    def http_cell(self, verb: bytes, status: int) -> Cell:
        """The cell of calls over HTTP that ended so."""
        cell = self.calls.cell(CallUse(verb, status))
        if len(self.http) < MOST:
            self.http[verb, status] = cell
        return cell

    def answered_http(  # noqa: PLR0913, PLR0917 - a call has so many figures
        self, usage: "Usage", verb: bytes, status: int, received: int, sent: int, since: float
    ) -> None:
        """Count a call over HTTP by the caller's clock, which is read; it began at `since`."""
        cell = self.http.get((verb, status)) or self.http_cell(verb, status)
        cell.add(received, sent, (usage.time.tick() - since) * 1000, usage.bounds_ms)


class Totals(NamedTuple):
    """Of all requests of one tenant."""

    requests: int
    bytes_in: int
    """Of their bodies."""
    bytes_out: int
    """Of the answers' bodies."""


class Usage:
    """One tenant's counters since it was attached."""

    __slots__ = (
        "answers",
        "bounds_ms",
        "bulk_events",
        "bulk_published",
        "bulk_received",
        "callees",
        "callers",
        "calls",
        "delivered",
        "dropped_events",
        "errors",
        "paths",
        "probes",
        "proxied",
        "published",
        "received",
        "refusals",
        "state",
        "taken",
        "time",
    )

    def __init__(self, time: Time | None = None, bounds_ms: Sequence[float] = LATENCY_BOUNDS_MS) -> None:
        self.time: Time = Frozen() if time is None else time
        self.bounds_ms = bounds_ms
        """Of the spread of times."""
        self.answers: dict[int, Cell] = {}
        """Requests answered: {index of the face in the daemon's table << STATUS_BITS | status: cell}."""
        self.paths: Tally[tuple[str, str, int]] = Tally((OTHER, OTHER, 0))
        """HTTP requests by (verb, path, status), where they are to be counted by path as well."""
        self.proxied: Tally[CallUse] = Tally(CallUse(OTHER.encode(), 0))
        """Calls to other apps' own gRPC services, as their caller saw them."""
        self.calls: Tally[CallUse] = Tally(CallUse(b"", 0))
        """The daemon's own calls to the app: events, and what it asks of it."""
        self.probes: Tally[CallUse] = Tally(CallUse(b"", 0))
        """Questions whether the app is well."""
        self.callers: dict[tuple[str, str], Peer] = {}
        """{(namespace, app id) of the caller: its calls}"""
        self.callees: dict[tuple[str, str], Peer] = {}
        """{(namespace, app id) of the callee: calls to it}"""
        self.state: Tally[StateUse] = Tally(StateUse(OTHER, OTHER, True))
        self.published: Tally[TopicUse] = Tally(TopicUse(OTHER, OTHER, ("true",)))
        self.bulk_published: Tally[TopicUse] = Tally(TopicUse(OTHER, OTHER, ("true",)))
        """Batches."""
        self.taken: Tally[TopicUse] = Tally(TopicUse(OTHER, OTHER, ("POST",)))
        """Events that the app took, by the method it is called by; each is a call too, answered with 200 or OK."""
        self.received: Tally[TopicUse] = Tally(TopicUse(OTHER, OTHER, ("", "")))
        """All other events."""
        self.bulk_received: Tally[TopicUse] = Tally(TopicUse(OTHER, OTHER, ("",)))
        """Batches."""
        self.bulk_events: Tally[TopicUse] = Tally(TopicUse(OTHER, OTHER, ("",)))
        """Events in them, by outcome."""
        self.refusals: dict[str, int] = {}
        """{limit: times refused}; a limit never met has no entry."""
        self.delivered = 0
        """Messages handed to the app."""
        self.dropped_events = 0
        """Messages that found no room in the app's queues."""
        self.errors = 0
        """Requests that failed inside the daemon."""

    def served(self, face: int, status: int, bytes_in: int, bytes_out: int) -> None:
        """Count one answered request. Over gRPC the status is the code."""
        try:
            cell = self.answers[face << STATUS_BITS | status]
        except KeyError:
            cell = self._new(face, status)
        cell.count += 1
        cell.bytes_in += bytes_in
        cell.bytes_out += bytes_out
        if bytes_in >= LARGE_BYTES or bytes_out >= LARGE_BYTES:
            cell.sized(bytes_in, bytes_out)

    def served_late(self, face: int, status: int, bytes_in: int, bytes_out: int, since: float) -> None:
        """Count one request that had waited since then."""
        cell = self.answers.get(face << STATUS_BITS | status) or self._new(face, status)
        cell.add(bytes_in, bytes_out, (self.time.now - since) * 1000, self.bounds_ms)

    def totals(self) -> "Totals":
        """What all answered requests come to."""
        cells = [*list(self.answers.values()), *list(self.proxied.cells.values())]
        return Totals(*(sum(getattr(cell, name) for cell in cells) for name in ("count", "bytes_in", "bytes_out")))

    def refused(self, limit: str) -> None:
        """Count one refusal."""
        self.refusals[limit] = self.refusals.get(limit, 0) + 1

    def _new(self, face: int, status: int) -> Cell:
        """Statuses are an app's to choose where it is invoked: past `MOST` they share that of a broken answer."""
        known = status if 0 <= status >> STATUS_BITS < 1 and len(self.answers) < MOST else 0
        return self.answers.setdefault(face << STATUS_BITS | known, Cell())


def peer_of(caller: Usage, named: tuple[str, str], callee: Usage, caller_named: tuple[str, str]) -> Peer:
    """The one record of calls from `caller` to `callee`, whose (namespace, app id) are given.

    It outlives either: who is attached anew goes on counting where the other stands.
    """
    peer = caller.callees.get(named) or callee.callers.get(caller_named) or Peer()
    if len(caller.callees) < MOST:
        caller.callees.setdefault(named, peer)
    if len(callee.callers) < MOST:
        callee.callers.setdefault(caller_named, peer)
    return peer
