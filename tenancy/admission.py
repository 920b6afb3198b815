"""Whether a tenant may have more: rates, requests in flight and counted things, at app, namespace and node at once.

All or nothing: when any of the three refuses, none has taken. Ceilings change while running, up and down; counts stay.
A lowered ceiling evicts nothing: it refuses until enough was freed. Called from the loop's thread only.
"""

import math
from typing import Final, Literal

from msgspec import Struct

from tenancy.bucket import Bucket
from tenancy.limits import Limits, yaml_name

Scope = Literal["app", "namespace", "node"]

COUNTED: Final = (
    "connections",
    "streams",
    "subscriptions",
    "queued_messages",
    "queued_bytes",
    "deliveries_in_flight",
    "locks",
    "jobs",
    "actors",
    "reminders",
    "workflows",
)
"""The limits on things that are held for a while, by `acquire` and `free`."""
COUNTED_RETRY_SECONDS: Final = 1.0
"""Told with a refusal of something held, as nobody knows when it will be free: the smallest whole Retry-After."""
_NONE: Final = -1
"""A ceiling that nothing passes under, not even the first."""


class Refusal(Struct, frozen=True):
    """What a tenant may not have now, whose ceiling it met, and when to try again."""

    limit: str
    """A field of Limits, or "memory": the daemon is near the memory it may take."""
    scope: Scope
    subject: str
    """Whose ceiling: `<namespace>/<app id>`, a namespace, or "node"."""
    allowed: float
    used: float
    """What was in use before this request; for a rate, what of the burst is spent."""
    retry_after_seconds: float
    """Above 0."""

    def __str__(self) -> str:
        whose = self.subject if self.scope == "node" else f"{self.scope} {self.subject}"
        wait = f"{self.retry_after_seconds:.3g}"
        used = self.used
        if self.limit.endswith("_per_second"):
            used = min(math.ceil(used), self.allowed)  # what has begun to grow back is none yet
        return f"{self.name} of {whose} exhausted: {used:.15g} of {self.allowed:.15g} used, retry in {wait} s"

    @property
    def name(self) -> str:
        """The limit as it is spelt where it is set."""
        return yaml_name(self.limit)


class LimitExceeded(Exception):
    """A ceiling was met and nothing was changed. Wait `refusal.retry_after_seconds`, free something, or raise it."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(str(refusal))
        self.refusal = refusal


class Level:
    """The ceilings and counts of one app, one namespace, or the node."""

    __slots__ = ("bytes", "counted", "gates", "limits", "pressed", "refused", "requests", "scope", "subject", "used")

    def __init__(self, scope: Scope, subject: str, limits: Limits) -> None:
        self.scope: Scope = scope
        self.subject = subject
        self.limits = limits
        self.pressed: Refusal | None = None
        """Why it refuses every request and stream, whatever its ceilings; None: it does not."""
        self.gates: set[Gate] = set()
        self.counted = 0
        """Requests in flight: of an app always; of a namespace or the node only while its ceiling asks for it."""
        self.used = dict.fromkeys(COUNTED, 0)
        """What is held: of an app always right; of the others only where they have a ceiling, else ask `held`."""
        self.refused: dict[str, int] = {}
        """{limit: refusals for which this level's ceiling was the reason}"""
        self.requests = _bucket(None, limits.requests_per_second, 0.0)
        self.bytes = _bucket(None, limits.bytes_per_second, 0.0)

    @property
    def in_flight(self) -> int:
        """Requests in flight."""
        if self.scope == "app":
            return self.counted
        return sum(gate.app.counted for gate in self.gates)

    def held(self, limit: str) -> int:
        """What is held of a COUNTED limit."""
        if self.scope == "app":
            return self.used[limit]
        return sum(gate.app.used[limit] for gate in self.gates)

    @property
    def counts(self) -> bool:
        """Whether it must know its requests in flight at every moment."""
        return self.limits.concurrent_requests is not None

    def set_limits(self, limits: Limits, now: float) -> None:
        """Replace the ceilings from `now` on, for every gate of this level."""
        self.limits = limits
        self.counted = self.in_flight
        self.used = {limit: self.held(limit) for limit in COUNTED}
        self.requests = _bucket(self.requests, limits.requests_per_second, now)
        self.bytes = _bucket(self.bytes, limits.bytes_per_second, now)
        for gate in self.gates:
            gate.refresh()

    def press(self, refusal: Refusal | None) -> None:
        """Refuse every request and stream with `refusal`, or (None) no longer."""
        changed = (refusal is None) != (self.pressed is None)
        self.pressed = refusal
        if changed:
            for gate in self.gates:
                gate.refresh()

    def refusal(self, limit: str, used: float, retry_after_seconds: float) -> Refusal:
        """Say that the ceiling `limit` of this level was met."""
        if self.pressed is not None:
            return self.pressed
        allowed: float = getattr(self.limits, limit)
        return Refusal(limit, self.scope, self.subject, allowed, used, retry_after_seconds)

    def give_up(self, other: "Level") -> None:
        """Forget what `other` counted as part of this level."""
        self.counted -= other.counted
        for name, held in other.used.items():
            self.used[name] -= held


class Gate:
    """What one tenant passes for all it does; links its app, namespace and node levels."""

    __slots__ = (
        "_bytes",
        "_concurrency",
        "_counted",
        "_counting",
        "_holding",
        "_limited",
        "_queues",
        "_requests",
        "app",
        "levels",
        "namespace",
        "node",
    )

    def __init__(self, app: Level, namespace: Level, node: Level) -> None:
        self._link(app, namespace, node)
        for level in self.levels:
            level.gates.add(self)

    def refresh(self) -> None:
        """Gather the ceilings that are set, so that a request asks no other."""
        levels = self.levels
        self._concurrency = _ceilings(levels, "concurrent_requests")
        self._counting = tuple(level for level in (self.namespace, self.node) if level.counts)
        self._requests = [(level, level.requests) for level in levels if level.requests is not None]
        self._bytes = [(level, level.bytes) for level in levels if level.bytes is not None]
        pressed = self.node.pressed is not None
        self._limited = bool(self._concurrency or self._requests or self._bytes or pressed)
        self._counted = {name: ceilings for name in COUNTED if (ceilings := _ceilings(levels, name))}
        if pressed:
            self._counted["streams"] = [(self.node, _NONE)]
        self._holding = {
            name: (self.app, *(level for level in levels[1:] if getattr(level.limits, name) is not None))
            for name in COUNTED
        }
        self._queues = tuple(_queue(level) for level in levels if level is self.app or _limits_queues(level))

    def admit(self, now: float, request_bytes: int) -> Refusal | None:
        """Let one request in, to be followed by one `release`; or say why not, having taken nothing."""
        if self._limited and (refusal := self._take(now, request_bytes)) is not None:
            return refusal
        self.app.counted += 1
        for level in self._counting:
            level.counted += 1
        return None

    def release(self, now: float, reply_bytes: int) -> None:
        """End a request that was admitted. Its reply's bytes are charged now that they are known."""
        self.app.counted -= 1
        for level in self._counting:
            level.counted -= 1
        if reply_bytes and self._bytes:
            for _, bucket in self._bytes:
                bucket.debit(now, reply_bytes)

    def charge_bytes(self, now: float, size_bytes: int) -> None:
        """Charge bytes of a request under way: pieces of a streamed body, messages of a stream."""
        for _, bucket in self._bytes:
            bucket.debit(now, size_bytes)

    def acquire(self, limit: str, n: int = 1) -> Refusal | None:
        """Count `n` (0 or more) of a COUNTED limit as held, or say why not, having counted nothing."""
        if limit in self._counted:
            for level, allowed in self._counted[limit]:
                if level.used[limit] + n > allowed:
                    return level.refusal(limit, level.used[limit], COUNTED_RETRY_SECONDS)
        for level in self._holding[limit]:
            level.used[limit] += n
        return None

    def free(self, limit: str, n: int = 1) -> None:
        """Give back what `acquire` counted."""
        assert self.app.used[limit] >= n, f"{self.app.subject} frees more {limit} than it holds"
        for level in self._holding[limit]:
            level.used[limit] -= n

    def acquire_queued(self, messages: int, size_bytes: int) -> Refusal | None:
        """As `acquire` of queued_messages and queued_bytes at once: both or neither."""
        for level, most, _ in self._queues:
            if level.used["queued_messages"] + messages > most:
                return level.refusal("queued_messages", level.used["queued_messages"], COUNTED_RETRY_SECONDS)
        for level, _, most in self._queues:
            if level.used["queued_bytes"] + size_bytes > most:
                return level.refusal("queued_bytes", level.used["queued_bytes"], COUNTED_RETRY_SECONDS)
        for level, _, _ in self._queues:
            used = level.used
            used["queued_messages"] += messages
            used["queued_bytes"] += size_bytes
        return None

    def free_queued(self, messages: int, size_bytes: int) -> None:
        """Give back what `acquire_queued` counted."""
        held = self.app.used
        enough = held["queued_messages"] >= messages and held["queued_bytes"] >= size_bytes
        assert enough, f"{self.app.subject} frees more of its queues than they hold"
        for level, _, _ in self._queues:
            used = level.used
            used["queued_messages"] -= messages
            used["queued_bytes"] -= size_bytes

    def close(self) -> None:
        """Take the app out of its namespace's and the node's counts, whatever it still holds.

        What is released later changes nobody's counts but its own.
        """
        for level in (self.namespace, self.node):
            level.give_up(self.app)
            level.gates.discard(self)
        self._link(self.app, self._alone(self.namespace), self._alone(self.node))

    def _link(self, app: Level, namespace: Level, node: Level) -> None:
        self.app = app
        self.namespace = namespace
        self.node = node
        self.levels = (app, namespace, node)
        """The order in which ceilings are asked."""
        self.refresh()

    def _alone(self, level: Level) -> Level:
        alone = Level(level.scope, level.subject, Limits())
        alone.counted = self.app.counted
        alone.used = dict(self.app.used)
        return alone

    def _take(self, now: float, request_bytes: int) -> Refusal | None:
        if self.node.pressed is not None:
            return self.node.pressed
        for level, allowed in self._concurrency:
            if level.counted >= allowed:
                return level.refusal("concurrent_requests", level.counted, COUNTED_RETRY_SECONDS)
        for level, bucket in self._requests:
            if wait := bucket.take(now, 1.0):
                _give_back(self._requests, bucket, 1.0)
                return level.refusal("requests_per_second", bucket.used(now), wait)
        for level, bucket in self._bytes:
            if wait := bucket.take(now, request_bytes):
                _give_back(self._bytes, bucket, request_bytes)
                _give_back(self._requests, None, 1.0)
                return level.refusal("bytes_per_second", bucket.used(now), wait)
        return None


def _give_back(asked: list[tuple[Level, Bucket]], refused_by: Bucket | None, n: float) -> None:
    for _, bucket in asked:
        if bucket is refused_by:
            return
        bucket.give_back(n)


def _ceilings(levels: tuple[Level, ...], limit: str) -> list[tuple[Level, int]]:
    return [(level, allowed) for level in levels if (allowed := getattr(level.limits, limit)) is not None]


def _limits_queues(level: Level) -> bool:
    return level.limits.queued_messages is not None or level.limits.queued_bytes is not None


def _queue(level: Level) -> tuple[Level, float, float]:
    """A level and what may wait in it: messages, bytes."""
    messages, size_bytes = level.limits.queued_messages, level.limits.queued_bytes
    return level, math.inf if messages is None else messages, math.inf if size_bytes is None else size_bytes


def _bucket(existing: Bucket | None, rate: float | None, now: float) -> Bucket | None:
    if rate is None:
        return None
    if existing is None:
        return Bucket(rate)
    existing.set_rate(rate, now)
    return existing
