"""What is kept in the local state stores, counted exactly: per store, owner, app, namespace and node.

Counts belong to names, not to attached tenants: they outlive a detach, and what a tenant left behind still counts for
its namespace and the node. A charge is checked at all levels and then made at all, or raises and changes nothing.
Thread-safe: stores charge from their writer threads; one lock guards every count.
"""

import math
from collections.abc import Mapping
from threading import Lock
from typing import Final

from tenancy.admission import LimitExceeded, Refusal, Scope
from tenancy.limits import Limits
from tenancy.namespacing import tenant_of

STORED_RETRY_SECONDS: Final = 60.0
"""Told when a store is full for somebody: only deleting, expiry or a higher ceiling makes room, so not at once."""


class Totals:
    """What one app, one namespace or the node keeps, and its ceilings."""

    __slots__ = ("_limits", "keys", "max_bytes", "max_keys", "pressed", "scope", "size_bytes", "subject")

    def __init__(self, scope: Scope, subject: str) -> None:
        self.scope: Scope = scope
        self.subject = subject
        self.keys = 0
        self.size_bytes = 0
        self.pressed: Refusal | None = None
        """Why nothing may grow, whatever the ceilings; None: it may."""
        self._limits = Limits()
        self._apply()

    def set_limits(self, limits: Limits) -> None:
        """Replace the ceilings at once. What is kept above a lowered one stays, and may only shrink."""
        self._limits = limits
        self._apply()

    def press(self, refusal: Refusal | None) -> None:
        """Refuse all growth with `refusal`, or (None) no longer."""
        self.pressed = refusal
        self._apply()

    def refusal(self, keys: int) -> Refusal:
        """Say which ceiling growing by `keys` would pass: that of keys, else that of bytes."""
        if self.pressed is not None:
            return self.pressed
        limit, allowed, used = "state_bytes", self.max_bytes, self.size_bytes
        if keys > 0 and self.keys + keys > self.max_keys:
            limit, allowed, used = "state_keys", self.max_keys, self.keys
        return Refusal(limit, self.scope, self.subject, allowed, used, STORED_RETRY_SECONDS)

    def _apply(self) -> None:
        keys, size_bytes = self._limits.state_keys, self._limits.state_bytes
        pressed = self.pressed is not None
        self.max_keys = -math.inf if pressed else math.inf if keys is None else keys
        self.max_bytes = -math.inf if pressed else math.inf if size_bytes is None else size_bytes


class Books:
    """All counts of the node; gives each local store its ledger."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.node = Totals("node", "node")
        self._namespaces: dict[str, Totals] = {}  # {namespace: totals}
        self._apps: dict[tuple[str, str], Totals] = {}  # {(namespace, app id): totals}

    def namespace(self, namespace: str) -> Totals:
        """What the apps of a namespace keep, attached or not."""
        found = self._namespaces.get(namespace)
        return found or self._namespaces.setdefault(namespace, Totals("namespace", namespace))

    def app(self, namespace: str, app_id: str) -> Totals:
        """What an app keeps, attached or not."""
        key = (namespace, app_id)
        return self._apps.get(key) or self._apps.setdefault(key, Totals("app", f"{namespace}/{app_id}"))

    def press(self, refusal: Refusal | None) -> None:
        """Let nothing grow in any store, and refuse with `refusal`; or (None) as the ceilings say again."""
        with self.lock:
            self.node.press(refusal)

    def open_ledger(self, *, shared: bool = False, namespace: str | None = None) -> "StoreLedger":
        """Begin the books of one store, empty.

        shared: its keyPrefix gives several apps the same names, so no app pays.
        namespace: the component's own; None: it serves every namespace.
        """
        return StoreLedger(self, shared=shared, namespace=namespace)

    def levels_of(self, owner: str, *, shared: bool, namespace: str | None) -> tuple[Totals, ...]:
        """Who pays for an owner's items: app, namespace and node, or only the last where no tenant owns them."""
        tenant = None if shared else tenant_of(owner)
        if tenant and namespace in {None, tenant[0]}:
            return self.app(*tenant), self.namespace(tenant[0]), self.node
        return (self.node,) if namespace is None else (self.namespace(namespace), self.node)


class StoreLedger:
    """The books of one store (components.contract.Ledger)."""

    def __init__(self, books: Books, *, shared: bool, namespace: str | None) -> None:
        self._books = books
        self._shared = shared
        self._namespace = namespace
        self._closed = False
        self._accounts: dict[str, StoreAccount] = {}  # {owner: account}

    def account(self, owner: str) -> "StoreAccount":
        """The account of one owner; the same object for the same owner."""
        found = self._accounts.get(owner)
        if found is not None:
            return found
        with self._books.lock:
            return self._open(owner)

    def recount(self, totals: Mapping[str, tuple[int, int]]) -> None:
        """Replace every count of this store by {owner: (keys, bytes)}. Facts, so no ceiling can refuse them."""
        with self._books.lock:
            for account in self._accounts.values():
                account.move(-account.keys, -account.size_bytes)
            for owner, (keys, size_bytes) in totals.items():
                self._open(owner).move(keys, size_bytes)

    def close(self) -> None:
        """Take the store out of all counts: its component is gone. Later charges count nowhere."""
        self.recount({})
        with self._books.lock:
            self._closed = True
            for account in self._accounts.values():
                account.levels = ()

    def listing(self) -> dict[str, tuple[int, int]]:
        """{owner: (keys, bytes)} of owners who keep something."""
        with self._books.lock:
            return {
                owner: (account.keys, account.size_bytes)
                for owner, account in self._accounts.items()
                if account.keys or account.size_bytes
            }

    def _open(self, owner: str) -> "StoreAccount":
        found = self._accounts.get(owner)
        if found is None:
            levels = self._books.levels_of(owner, shared=self._shared, namespace=self._namespace)
            found = self._accounts[owner] = StoreAccount(self._books.lock, () if self._closed else levels)
        return found


class StoreAccount:
    """What one owner keeps in one store (components.contract.Account)."""

    __slots__ = ("_lock", "keys", "levels", "size_bytes")

    def __init__(self, lock: Lock, levels: tuple[Totals, ...]) -> None:
        self._lock = lock
        self.levels = levels
        """Who pays: app, namespace, node, as far as each is known."""
        self.keys = 0
        self.size_bytes = 0

    def charge(self, keys: int, size_bytes: int) -> None:
        """Add a difference at every level. Raises LimitExceeded, changing nothing: free some, or raise the ceiling."""
        with self._lock:
            for level in self.levels:
                if (keys > 0 and level.keys + keys > level.max_keys) or (
                    size_bytes > 0 and level.size_bytes + size_bytes > level.max_bytes
                ):
                    raise LimitExceeded(level.refusal(keys))
            self.move(keys, size_bytes)

    def move(self, keys: int, size_bytes: int) -> None:
        """Add a difference unchecked; the caller holds the lock."""
        for level in self.levels:
            level.keys += keys
            level.size_bytes += size_bytes
        self.keys += keys
        self.size_bytes += size_bytes
