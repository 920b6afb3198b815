"""What a group of requests comes to: decided in order in Python, then done by one statement. No IO."""

from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence

import msgspec
from msgspec import Struct

from components.completion import Completion
from components.contract import Delete, EtagMismatch, Item, Ledger, Outcome, StoreKey, Write
from components.state.changes import Deltas, Version, add, charge_growth, decide, judge

_LAST_SECOND = 253_402_300_799
"""9999-12-31 23:59:59: SQLite's datetime() ends there, and daprd lets what expires later live for ever."""

Answer = Sequence[Outcome] | None


class Request(Struct):
    """Operations that belong together, and who waits for them."""

    operations: Sequence[Write | Delete]
    atomic: bool
    """All or nothing; else each has its own outcome, and only an account's refusal concerns them all."""
    completion: Completion[Answer]
    size_bytes: int
    since: int
    """The tick it came at."""
    error: Exception | None = None
    outcomes: Answer = None


class Group(Struct):
    """What to do, and what was charged for it."""

    changed: dict[StoreKey, Version | None]
    grown: Deltas
    """Charged already."""
    shrunk: Deltas
    """To be freed when it is done."""

    def items(self) -> dict[StoreKey, Item | None]:
        """What each changed key holds once the group is committed."""
        return {
            key: None if version is None else Item(version.value or b"", version.etag, version.expires_at)
            for key, version in self.changed.items()
        }


def decide_group(
    requests: Sequence[Request],
    known: Mapping[StoreKey, Version | None],
    next_etag: Callable[[], str],
    ledger: Ledger,
    now: float,
) -> Group:
    """Judge the requests in order, each seeing those before it; charge for what will be done."""
    changed: dict[StoreKey, Version | None] = {}
    grown: Deltas = {}
    shrunk: Deltas = {}

    def current(key: StoreKey) -> Version | None:
        return changed[key] if key in changed else known[key]

    def place(write: Write) -> Version:
        return Version(next_etag(), expiry(write.ttl_seconds, now), len(write.value), write.value)

    for request in requests:
        decision = decide(request.operations, current, place, now, _judge)
        request.outcomes = decision.outcomes
        request.error = next(filter(None, decision.outcomes), None) if request.atomic else None
        if request.error is not None:
            continue
        try:
            charge_growth(ledger, decision.deltas)
        except Exception as refusal:  # noqa: BLE001 - the account's refusal, whatever the daemon makes it, is the answer
            request.error = refusal
            continue
        changed.update(decision.changed)
        for owner, (keys, size_bytes) in decision.deltas.items():
            add(grown, owner, max(keys, 0), max(size_bytes, 0))
            add(shrunk, owner, min(keys, 0), min(size_bytes, 0))
    return Group(changed, grown, shrunk)


def expiry(ttl_seconds: int | None, now: float) -> float | None:
    """When an item expires, by a clock of whole seconds as daprd's."""
    if ttl_seconds is None or ttl_seconds <= 0:
        return None
    at = int(now) + ttl_seconds
    return float(at) if at <= _LAST_SECOND else None


def encode(group: Group, known: Mapping[StoreKey, Version | None]) -> tuple[str, str, str, str]:
    """Make the four JSON texts of `Statements.apply`."""
    expected: dict[str, str | None] = {}
    written: dict[str, str] = {}
    deleted: list[str] = []
    for key, version in group.changed.items():
        before = known[key]
        expected[key] = None if before is None else before.etag
        if version is None:
            deleted.append(key)
        else:
            written[key] = _encode_version(version)
    totals = dict(group.grown)
    for owner, (keys, size_bytes) in group.shrunk.items():
        add(totals, owner, keys, size_bytes)
    return _json(expected), _json(written), _json(deleted), _json(totals)


def _encode_version(version: Version) -> str:
    """Etag (36), is_binary (1), Unix time of expiry or 0 (12), then the value's text."""
    value = version.value or b""
    binary = 0
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text, binary = b64encode(value).decode("ascii"), 1
    else:
        if "\0" in text:
            text, binary = b64encode(value).decode("ascii"), 1
    return f"{version.etag}{binary}{int(version.expires_at or 0):012d}{text}"


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _judge(operation: Write | Delete, live: str | None) -> EtagMismatch | None:
    """Refuse without a reason of its own, as daprd's SQLite store does."""
    return None if judge(operation, live) is None else EtagMismatch()
