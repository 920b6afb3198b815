"""What operations on a store come to: which are refused, what is changed, and who pays. Pure; shared by local stores.

Operations are taken in order, each seeing the ones before it.
"""

from collections.abc import Callable, Iterable

from msgspec import Struct

from components.contract import Delete, EtagMismatch, Ledger, Outcome, StoreKey, Write, owner_of, size_of

Deltas = dict[str, tuple[int, int]]
"""owner -> (keys, bytes)."""


class Version(Struct, gc=False):
    """One version of an item, stored or about to be."""

    etag: str
    expires_at: float | None
    """Unix seconds; None: never."""
    value_bytes: int
    value: bytes | None = None
    """None where only its size is known."""


class Decision(Struct):
    """What a sequence of operations comes to, before anything is done."""

    outcomes: list[Outcome]
    """One per operation."""
    changed: dict[StoreKey, Version | None]
    """What each key holds afterwards (None: nothing), where an operation was accepted."""
    deltas: Deltas


Judge = Callable[[Write | Delete, str | None], EtagMismatch | None]


def judge(operation: Write | Delete, live: str | None) -> EtagMismatch | None:
    """Judge an operation against the etag of the live item (None: there is none), in the words of daprd's store."""
    if operation.etag:
        if live is None:
            return EtagMismatch(f"state not exist or expired for key={operation.key}")
        if live != operation.etag:
            return EtagMismatch(
                f"state etag not match for key={operation.key}: current={live}, expect={operation.etag}"
            )
    elif live is not None and isinstance(operation, Write) and operation.first_write:
        return EtagMismatch("item already exists and no etag was passed")
    return None


def decide(
    operations: Iterable[Write | Delete],
    current: Callable[[StoreKey], Version | None],
    place: Callable[[Write], Version],
    now: float,
    judge: Judge = judge,
) -> Decision:
    """Take the operations in order. `current` gives what a key holds, expired or not; `place` makes a new version."""
    outcomes: list[Outcome] = []
    changed: dict[StoreKey, Version | None] = {}
    deltas: Deltas = {}
    for operation in operations:
        key = operation.key
        before = changed[key] if key in changed else current(key)
        live = before is not None and (before.expires_at is None or before.expires_at > now)
        refusal = judge(operation, before.etag if before is not None and live else None)
        outcomes.append(refusal)
        if refusal is None:
            after = place(operation) if isinstance(operation, Write) else None
            changed[key] = after
            add(deltas, owner_of(key), *difference(key, before, after))
    return Decision(outcomes, changed, deltas)


def charge_growth(ledger: Ledger, deltas: Deltas) -> None:
    """Charge what grows, for every owner or none: a refusal is raised after the others were given theirs back.

    What shrinks is given back by `free` when it is done: until then it is still there, and taking that back could be
    refused.
    """
    charged: Deltas = {}
    for owner, (keys, size_bytes) in deltas.items():
        if keys <= 0 and size_bytes <= 0:
            continue
        try:
            ledger.account(owner).charge(max(keys, 0), max(size_bytes, 0))
        except Exception:
            refund_growth(ledger, charged)
            raise
        charged[owner] = (keys, size_bytes)


def refund_growth(ledger: Ledger, deltas: Deltas) -> None:
    """Give back what `charge_growth` took: nothing was written."""
    for owner, (keys, size_bytes) in deltas.items():
        ledger.account(owner).charge(-max(keys, 0), -max(size_bytes, 0))


def free(ledger: Ledger, deltas: Deltas) -> None:
    """Give back what shrank, once it is done."""
    for owner, (keys, size_bytes) in deltas.items():
        if keys < 0 or size_bytes < 0:
            ledger.account(owner).charge(min(keys, 0), min(size_bytes, 0))


def add(deltas: Deltas, owner: str, keys: int, size_bytes: int) -> None:
    """Add to an owner's delta."""
    had_keys, had_bytes = deltas.get(owner, (0, 0))
    deltas[owner] = (had_keys + keys, had_bytes + size_bytes)


def add_all(deltas: Deltas, more: Deltas) -> None:
    """Add every owner's delta."""
    for owner, (keys, size_bytes) in more.items():
        add(deltas, owner, keys, size_bytes)


def difference(key: StoreKey, before: Version | None, after: Version | None) -> tuple[int, int]:
    """What a change adds to its owner's (keys, bytes)."""
    if before is not None and after is not None:
        return 0, after.value_bytes - before.value_bytes
    if after is not None:
        return 1, size_of(key, b"") + after.value_bytes
    if before is not None:
        return -1, -size_of(key, b"") - before.value_bytes
    return 0, 0
