"""The last things that went wrong for tenants: what an operator reads first.

Bounded: at most `size` entries, the oldest fall out. The same thing happening again within QUIET_SECONDS raises a
count, so that a flood costs one dictionary look-up each and pushes nobody else's events out.
"""

from collections import deque
from typing import Final

from msgspec import Struct

from tenancy.admission import Refusal

QUIET_SECONDS: Final = 60.0
"""How long a thing must not have happened for its next time to be a new entry."""


class Event(Struct, frozen=True):
    """Something that happened to a tenant, once or `count` times."""

    first_at: float
    """When it first and last happened, by the clock of whoever recorded it."""
    last_at: float
    count: int
    tenant: str
    """`<namespace>/<app id>`."""
    what: str
    """"refused", "dropped", or another short word."""
    limit: str
    """The limit met, or ""."""
    subject: str
    """Whose ceiling, or what it is about."""
    used: float
    """As of the last time."""
    allowed: float


class _Entry:
    __slots__ = ("count", "first_at", "key", "last_at", "refusal")

    def __init__(self, key: tuple[str, str, str, str], refusal: Refusal, now: float) -> None:
        self.key = key
        self.first_at = now
        self.again(refusal, now, 0)

    def again(self, refusal: Refusal, now: float, count: int) -> None:
        self.refusal = refusal
        self.last_at = now
        self.count = count + 1


class EventLog:
    """A ring of events, oldest first."""

    def __init__(self, size: int = 1000) -> None:
        self._size = size
        self._ring: deque[_Entry] = deque()
        self._latest: dict[tuple[str, str, str, str], _Entry] = {}  # {(tenant, what, limit, subject): its last entry}

    def record(self, now: float, tenant: str, what: str, refusal: Refusal) -> None:
        """Note that `refusal` happened to `tenant`."""
        key = (tenant, what, refusal.limit, refusal.subject)
        entry = self._latest.get(key)
        if entry is not None and now - entry.last_at < QUIET_SECONDS:
            entry.again(refusal, now, entry.count)
            return
        if len(self._ring) == self._size:
            self._drop_oldest()
        self._latest[key] = entry = _Entry(key, refusal, now)
        self._ring.append(entry)

    def listing(self, tenant: str | None = None) -> tuple[Event, ...]:
        """What is remembered, of one tenant or of all, in order of first happening."""
        return tuple(_event(entry) for entry in self._ring if tenant is None or entry.key[0] == tenant)

    def __len__(self) -> int:
        return len(self._ring)

    def _drop_oldest(self) -> None:
        oldest = self._ring.popleft()
        if self._latest[oldest.key] is oldest:
            del self._latest[oldest.key]


def _event(entry: _Entry) -> Event:
    tenant, what, limit, subject = entry.key
    refusal = entry.refusal
    return Event(
        entry.first_at, entry.last_at, entry.count, tenant, what, limit, subject, refusal.used, refusal.allowed
    )
