"""What operations on a store come to: which are refused, what is changed, and who pays. Pure; shared by local stores.

Operations are taken in order, each seeing the ones before it. Texts of refusals are those of daprd's in-memory store.
"""

from collections.abc import Callable, Iterable, Mapping

from msgspec import Struct

from components.contract import Delete, EtagMismatch, Ledger, Outcome, StoreKey, Write, owner_of, size_of


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
    deltas: dict[str, tuple[int, int]]
    """owner -> (keys, bytes) to charge."""


def refuse(operation: Write | Delete, live: str | None) -> EtagMismatch | None:
    """Judge an operation against the etag of the live item (None: there is none)."""
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
) -> Decision:
    """Take the operations in order. `current` gives what a key holds, expired or not; `place` makes a new version."""
    outcomes: list[Outcome] = []
    changed: dict[StoreKey, Version | None] = {}
    deltas: dict[str, tuple[int, int]] = {}
    for operation in operations:
        key = operation.key
        before = changed[key] if key in changed else current(key)
        live = before is not None and (before.expires_at is None or before.expires_at > now)
        refusal = refuse(operation, before.etag if before is not None and live else None)
        outcomes.append(refusal)
        if refusal is None:
            after = place(operation) if isinstance(operation, Write) else None
            changed[key] = after
            _add(deltas, key, before, after)
    return Decision(outcomes, changed, deltas)


def charge(ledger: Ledger, deltas: Mapping[str, tuple[int, int]]) -> None:
    """Charge every owner, or none: what one refuses with is raised after the others were given theirs back."""
    charged: list[tuple[str, int, int]] = []
    for owner, (keys, size_bytes) in deltas.items():
        try:
            ledger.account(owner).charge(keys, size_bytes)
        except Exception:
            for paid_by, paid_keys, paid_bytes in charged:
                ledger.account(paid_by).charge(-paid_keys, -paid_bytes)
            raise
        charged.append((owner, keys, size_bytes))


def refund(ledger: Ledger, deltas: Mapping[str, tuple[int, int]]) -> None:
    """Give back what `charge` took, whatever the limits are by now."""
    for owner, (keys, size_bytes) in deltas.items():
        ledger.account(owner).charge(-keys, -size_bytes)


def _add(deltas: dict[str, tuple[int, int]], key: StoreKey, before: Version | None, after: Version | None) -> None:
    if before is None and after is None:
        return
    key_bytes = size_of(key, b"")
    keys = (after is not None) - (before is not None)
    size_bytes = (key_bytes + after.value_bytes if after else 0) - (key_bytes + before.value_bytes if before else 0)
    owner = owner_of(key)
    paid_keys, paid_bytes = deltas.get(owner, (0, 0))
    deltas[owner] = (paid_keys + keys, paid_bytes + size_bytes)
