"""What a group of requests comes to: decided in order in Python, then done by one statement. No IO."""

from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence

import msgspec
from msgspec import Struct

from components.completion import Completion
from components.contract import Delete, EtagMismatch, Item, Ledger, Outcome, StoreKey, Write, owner_of
from components.state.changes import Deltas, Version, add, add_all, charge_growth, decide, difference, judge

_LAST_SECOND = 253_402_300_799
"""9999-12-31 23:59:59: SQLite's datetime() ends there, and daprd lets what expires later live for ever."""

_DONE: Sequence[Outcome] = (None,)

Answer = Sequence[Outcome] | None


class Share(Struct):
    """What one owner has in the queue."""

    owner: str
    items: int = 0
    size_bytes: int = 0


class Request(Struct):
    """Operations that belong together, and who waits for them."""

    operations: Sequence[Write | Delete]
    atomic: bool
    """All or nothing; else each has its own outcome, and only an account's refusal concerns them all."""
    completion: Completion[Answer]
    size_bytes: int
    since: int
    """The tick it came at."""
    share: Share
    owner: str
    """Whose items these are: of `share`."""
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
        return {key: item_of(version) for key, version in self.changed.items()}

    def totals(self) -> Deltas:
        """What it adds to the totals, whichever way."""
        totals = dict(self.grown)
        add_all(totals, self.shrunk)
        return totals

    def forget_values(self) -> None:
        """Let go of the values once they are where they belong: others keep the versions."""
        for version in self.changed.values():
            if version is not None:
                version.value = None


def decide_group(
    requests: Sequence[Request],
    known: Mapping[StoreKey, Version | None],
    next_etag: Callable[[], str],
    ledger: Ledger,
    now: float,
) -> Group:
    """Judge the requests in order, each seeing those before it; charge for what will be done."""
    group = Group({}, {}, {})
    deciding = _Deciding(group, known, next_etag, ledger, now)
    for request in requests:
        if len(request.operations) == 1:
            deciding.one(request, request.operations[0])
        else:
            deciding.several(request)
    return group


class _Deciding:
    """A group as it is decided."""

    __slots__ = ("_changed", "_group", "_known", "_ledger", "_next_etag", "_now")

    def __init__(
        self,
        group: Group,
        known: Mapping[StoreKey, Version | None],
        next_etag: Callable[[], str],
        ledger: Ledger,
        now: float,
    ) -> None:
        self._group = group
        self._changed = group.changed
        self._known = known
        self._next_etag = next_etag
        self._ledger = ledger
        self._now = now

    def several(self, request: Request) -> None:
        """Decide a request of any size."""
        decision = decide(request.operations, self._current, self._place, self._now, _judge)
        request.outcomes = decision.outcomes
        request.error = next(filter(None, decision.outcomes), None) if request.atomic else None
        if request.error is not None:
            return
        try:
            charge_growth(self._ledger, decision.deltas)
        except Exception as refusal:  # noqa: BLE001 - the account's refusal, whatever the daemon makes it, is the answer
            request.error = refusal
            return
        self._changed.update(decision.changed)
        for owner, (keys, size_bytes) in decision.deltas.items():
            self._note(owner, keys, size_bytes)

    def one(self, request: Request, operation: Write | Delete) -> None:
        """Decide a single operation: the same as `several` at a third of its cost."""
        key = operation.key
        made = self._changed.get(key)  # in this group, so nobody has read it yet
        before = made if made is not None or key in self._changed else self._known[key]
        after = None
        if isinstance(operation, Write):
            if (operation.etag or operation.first_write) and self._refused(request, operation, before):
                return
            value_bytes = len(operation.value)
            if before is not None and before.value_bytes == value_bytes:  # no total changes
                request.outcomes, request.error = _DONE, None
                if made is not None and operation.ttl_seconds is None:
                    made.value, made.expires_at = operation.value, None
                else:
                    self._changed[key] = self._place(operation)
                return
            after = self._place(operation)
        elif operation.etag and self._refused(request, operation, before):
            return
        request.outcomes, request.error = _DONE, None
        keys, size_bytes = difference(key, before, after)
        owner = owner_of(key)
        if keys > 0 or size_bytes > 0:
            try:
                self._ledger.account(owner).charge(max(keys, 0), max(size_bytes, 0))
            except Exception as refusal:  # noqa: BLE001 - as in `several`
                request.error = refusal
                return
        self._changed[key] = after
        self._note(owner, keys, size_bytes)

    def _refused(self, request: Request, operation: Write | Delete, before: Version | None) -> bool:
        refusal = _judge(operation, self._live_etag(before))
        if refusal is not None:
            request.outcomes, request.error = (refusal,), refusal if request.atomic else None
        return refusal is not None

    def _current(self, key: StoreKey) -> Version | None:
        return self._changed[key] if key in self._changed else self._known[key]

    def _live_etag(self, version: Version | None) -> str | None:
        if version is None or (version.expires_at is not None and version.expires_at <= self._now):
            return None
        return version.etag

    def _place(self, write: Write) -> Version:
        value = write.value
        expires_at = None if write.ttl_seconds is None else expiry(write.ttl_seconds, self._now)
        return Version(self._next_etag(), expires_at, len(value), value)

    def _note(self, owner: str, keys: int, size_bytes: int) -> None:
        if keys > 0 or size_bytes > 0:
            add(self._group.grown, owner, max(keys, 0), max(size_bytes, 0))
        if keys < 0 or size_bytes < 0:
            add(self._group.shrunk, owner, min(keys, 0), min(size_bytes, 0))


def item_of(version: Version | None) -> Item | None:
    """Make the item of a version that has its value."""
    return None if version is None else Item(version.value or b"", version.etag, version.expires_at)


def expiry(ttl_seconds: int, now: float) -> float | None:
    """When an item expires, by a clock of whole seconds as daprd's."""
    if ttl_seconds <= 0:
        return None
    at = int(now) + ttl_seconds
    return float(at) if at <= _LAST_SECOND else None


def encode(group: Group, known: Mapping[StoreKey, Version | None]) -> tuple[str, ...]:
    """Make the JSON texts of `Statements.apply`; the two of `Statements.overwrite` where no total changes."""
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
    if not (deleted or group.grown or group.shrunk):
        return _json(expected), _json(written)
    return _json(expected), _json(written), _json(deleted), _json(group.totals())


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
