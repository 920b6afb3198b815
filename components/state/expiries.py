"""Which keys expire when: one set of keys per second, so that a rewritten key leaves nothing behind.

A queue of (time, key) would keep an entry per write; here memory is bounded by the items that are there.
"""

from components.contract import StoreKey

_LONGEST_WALK_SECONDS = 3600
"""A clock may jump: more empty seconds than this are crossed by looking at the sets there are."""


class Expiries:
    """The keys that expire, by the second after which they have."""

    __slots__ = ("_by_second", "_purged_to", "_second_of")

    def __init__(self, now: float) -> None:
        self._purged_to = int(now)
        self._by_second: dict[int, set[StoreKey]] = {}
        self._second_of: dict[StoreKey, int] = {}

    def put(self, key: StoreKey, expires_at: float) -> None:
        """Say when a key expires, in place of what was said before."""
        self.discard(key)
        second = int(expires_at) + 1
        if second <= self._purged_to:  # the clock was set back: walk these seconds once more
            self._purged_to = second - 1
        self._second_of[key] = second
        self._by_second.setdefault(second, set()).add(key)

    def discard(self, key: StoreKey) -> None:
        """Forget a key; harmless when it is not here."""
        second = self._second_of.pop(key, None)
        if second is None:
            return
        keys = self._by_second[second]
        keys.discard(key)
        if not keys:
            del self._by_second[second]

    def take(self, now: float, at_most: int) -> list[StoreKey]:
        """Take out keys that have expired; fewer than `at_most` means that there are no more."""
        taken: list[StoreKey] = []
        for second in self._due(int(now)):
            while len(taken) < at_most and (keys := self._by_second.get(second)):
                key = next(iter(keys))
                taken.append(key)
                self.discard(key)
            if second in self._by_second:
                return taken
            self._purged_to = max(self._purged_to, second)
        self._purged_to = max(self._purged_to, int(now))
        return taken

    def _due(self, now: int) -> list[int]:
        if now - self._purged_to > _LONGEST_WALK_SECONDS:
            return sorted(second for second in self._by_second if second <= now)
        return list(range(self._purged_to + 1, now + 1))
