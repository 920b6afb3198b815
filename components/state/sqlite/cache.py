"""Items read or written lately, on the loop's side: least recently used out first, bounded by bytes."""

from collections import OrderedDict

from components.contract import NOT_AT_HAND, Item, StoreKey, size_of

_ENTRY_BYTES = 250
"""What an entry costs besides key and value: the dict's slot, the Item, the etag."""
_LARGEST_PART = 64
"""An item over this part of the cache is not kept: it would push out too many others."""


class Cache:
    """Committed items by key; None stands for a key known to hold nothing."""

    __slots__ = ("_bytes", "_items", "_limit_bytes")

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._bytes = 0
        self._items: OrderedDict[StoreKey, Item | None] = OrderedDict()

    def get(self, key: StoreKey) -> Item | None:
        """Return the item, None if there is none, or NOT_AT_HAND if that is not known. It may have expired."""
        item = self._items.get(key, NOT_AT_HAND)
        if item is not NOT_AT_HAND:
            self._items.move_to_end(key)
        return item

    def put(self, key: StoreKey, item: Item | None) -> None:
        """Say what a key holds."""
        self.forget(key)
        cost = _cost(key, item)
        if cost > self._limit_bytes // _LARGEST_PART:
            return
        self._items[key] = item
        self._bytes += cost
        while self._bytes > self._limit_bytes:
            self._bytes -= _cost(*self._items.popitem(last=False))

    def forget(self, key: StoreKey) -> None:
        """Know nothing of a key any more."""
        item = self._items.pop(key, NOT_AT_HAND)
        if item is not NOT_AT_HAND:
            self._bytes -= _cost(key, item)

    def clear(self) -> None:
        """Know nothing any more."""
        self._items.clear()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._items)


def _cost(key: StoreKey, item: Item | None) -> int:
    return _ENTRY_BYTES + size_of(key, b"" if item is None else item.value)
