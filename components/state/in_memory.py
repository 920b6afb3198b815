"""state.in-memory: a dict. Nothing is kept when the daemon stops.

Expired items are hidden at once and counted until they are purged, once a second in bounded slices.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Self

from components.contract import (
    Capability,
    Delete,
    Item,
    Outcome,
    StoreKey,
    Surroundings,
    Timer,
    Write,
    owner_of,
    size_of,
)
from components.fields import Field
from components.state.changes import Decision, Version, charge_growth, decide, free, judge
from components.state.etags import Etags
from components.state.expiries import Expiries

_PURGE_SECONDS = 1.0
_PURGE_SLICE = 500
"""Items a slice of the purge removes: some 0.5 ms."""


class InMemoryStateStore:
    """The reference: what every other store is compared with."""

    type: ClassVar[str] = "state.in-memory"
    capabilities: ClassVar[frozenset[Capability]] = frozenset(
        {Capability.ETAG, Capability.TRANSACTIONAL, Capability.TTL}
    )
    inline: ClassVar[bool] = True
    fields: ClassVar[tuple[Field, ...]] = ()

    def __init__(self, surroundings: Surroundings) -> None:
        self._now = surroundings.now
        self._ledger = surroundings.ledger
        self._call_later = surroundings.call_later
        self._items: dict[StoreKey, Item] = {}
        self._expiries = Expiries(surroundings.now())
        self._etags = Etags()
        self._timer: Timer | None = None
        self._closed = False
        surroundings.run_soon(self._purge)

    @classmethod
    def open(cls, _name: str, _metadata: Mapping[str, str], surroundings: Surroundings) -> Self:
        """Make an empty store; it takes no metadata."""
        return cls(surroundings)

    async def get(self, key: StoreKey) -> Item | None:
        """Return the live item."""
        return self.get_now(key)

    def get_now(self, key: StoreKey) -> Item | None:
        """Return the live item."""
        item = self._items.get(key)
        if item is None or item.expires_at is None or item.expires_at > self._now():
            return item
        return None

    async def get_many(self, keys: Sequence[StoreKey]) -> Sequence[Item | None]:
        """Return one answer per key."""
        now = self._now()
        return [self._live(key, now) for key in keys]

    async def set(self, write: Write) -> None:
        """Store one item. Raises EtagMismatch, or what the account refuses with."""
        self.set_now(write)

    def set_now(self, write: Write) -> None:
        """Store one item. Raises EtagMismatch, or what the account refuses with."""
        key = write.key
        old = self._items.get(key)
        if write.etag or write.first_write:
            self._check(write)
        value = write.value
        if old is None:
            self._ledger.account(owner_of(key)).charge(1, size_of(key, value))
        elif len(value) != len(old.value):  # a charge of nothing changes nothing
            self._ledger.account(owner_of(key)).charge(0, len(value) - len(old.value))
        expires_at = None if write.ttl_seconds is None else self._expiry(write)
        self._put(key, Item(value, self._etags.next(), expires_at), old)

    async def set_many(self, writes: Sequence[Write]) -> Sequence[Outcome]:
        """Store several; a refusal of an account refuses them all."""
        decision = self._decide(writes)
        self._do(decision)
        return decision.outcomes

    async def delete(self, delete: Delete) -> None:
        """Remove one item. Raises EtagMismatch."""
        if delete.etag:
            self._check(delete)
        self._remove(delete.key)

    async def delete_many(self, deletes: Sequence[Delete]) -> Sequence[Outcome]:
        """Remove several."""
        decision = self._decide(deletes)
        self._do(decision)
        return decision.outcomes

    async def transact(self, operations: Sequence[Write | Delete]) -> None:
        """Do all in order, or none."""
        decision = self._decide(operations)
        for outcome in decision.outcomes:
            if outcome is not None:
                raise outcome
        self._do(decision)

    async def aclose(self) -> None:
        """Stop purging and let go of the items."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        self._items.clear()

    def _live(self, key: StoreKey, now: float) -> Item | None:
        item = self._items.get(key)
        if item is None or (item.expires_at is not None and item.expires_at <= now):
            return None
        return item

    def _check(self, operation: Write | Delete) -> None:
        live = self._live(operation.key, self._now())
        refusal = judge(operation, None if live is None else live.etag)
        if refusal is not None:
            raise refusal

    def _expiry(self, write: Write) -> float | None:
        ttl = write.ttl_seconds
        return None if ttl is None or ttl <= 0 else self._now() + ttl

    def _put(self, key: StoreKey, item: Item, old: Item | None) -> None:
        self._items[key] = item
        if item.expires_at is not None:
            self._expiries.put(key, item.expires_at)
        elif old is not None and old.expires_at is not None:
            self._expiries.discard(key)

    def _remove(self, key: StoreKey) -> None:
        old = self._items.pop(key, None)
        if old is None:
            return
        self._ledger.account(owner_of(key)).charge(-1, -size_of(key, old.value))
        if old.expires_at is not None:
            self._expiries.discard(key)

    def _decide(self, operations: Sequence[Write | Delete]) -> Decision:
        return decide(operations, self._current, self._place, self._now())

    def _current(self, key: StoreKey) -> Version | None:
        item = self._items.get(key)
        return None if item is None else Version(item.etag, item.expires_at, len(item.value))

    def _place(self, write: Write) -> Version:
        return Version(self._etags.next(), self._expiry(write), len(write.value), write.value)

    def _do(self, decision: Decision) -> None:
        charge_growth(self._ledger, decision.deltas)
        for key, version in decision.changed.items():
            old = self._items.get(key)
            if version is not None and version.value is not None:
                self._put(key, Item(version.value, version.etag, version.expires_at), old)
            elif old is not None:
                del self._items[key]
                self._expiries.discard(key)
        free(self._ledger, decision.deltas)

    def _purge(self) -> None:
        if self._closed:
            return
        keys = self._expiries.take(self._now(), _PURGE_SLICE)
        for key in keys:
            self._remove(key)
        self._timer = self._call_later(0.0 if len(keys) == _PURGE_SLICE else _PURGE_SECONDS, self._purge)
