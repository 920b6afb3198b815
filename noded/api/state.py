"""State: get, save, delete, bulk and transactions, once for both protocols.

What a request says becomes the component's records with this tenant's names; what a component raises becomes the
answer daprd 1.18 gives. Source: dapr-api.md 1.3 and 2.2.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial

from components.contract import (
    Capability,
    ComponentError,
    Delete,
    EtagMismatch,
    InvalidEtag,
    Item,
    StoreKey,
    Unsupported,
    Write,
)
from noded.api import pieces
from noded.app import App, StateBinding
from noded.errors import (
    STATE_BULK_DELETE,
    STATE_BULK_GET,
    STATE_DELETE,
    STATE_GET,
    STATE_ILLEGAL_KEY,
    STATE_QUERY_NOT_SUPPORTED,
    STATE_SAVE,
    STATE_STORE_NOT_CONFIGURED,
    STATE_STORE_NOT_FOUND,
    STATE_TRANSACTION,
    STATE_TRANSACTIONS_NOT_SUPPORTED,
    TRANSACTIONS_HELP,
    ApiError,
    ErrorRow,
    Grpc,
    bad_request,
    resource_info,
)
from tenancy.namespacing import ILLEGAL

MAX_TTL_SECONDS = 2**31 - 1
_MISMATCH = "possible etag mismatch. error from state store"
_INVALID = "invalid etag value"
_WHOLE_NUMBER = re.compile(r"[+-]?[0-9]{1,18}")
_TTL = "error parsing TTL: incorrect value for metadata 'ttlInSeconds': "
_CONCURRENCY = frozenset(("", "first-write", "last-write"))
_CONSISTENCY = frozenset(("", "strong", "eventual"))


def find_store(app: App, name: str) -> StateBinding:
    """The state store of that name, as this app sees it."""
    binding = app.state.get(name)
    if binding is not None:
        return binding
    row = STATE_STORE_NOT_FOUND if app.state else STATE_STORE_NOT_CONFIGURED
    raise row.error(name=name, metadata={"appID": app.app_id})


def draw_key(binding: StateBinding, raw: str) -> StoreKey:
    """The key's name in the store. Refuses one that holds the separator."""
    if ILLEGAL in raw:
        text = f"input key/keyPrefix '{raw}' can't contain '{ILLEGAL}'"
        raise STATE_ILLEGAL_KEY.error(bad_request(raw, text), resource_info("state", binding.name), text=text)
    return binding.names.key(raw)


def expiry_metadata(item: Item) -> dict[str, str]:
    """What a get tells besides the value: `ttlExpireTime` in RFC 3339, where the item expires."""
    if item.expires_at is None:
        return {}
    return {"ttlExpireTime": datetime.fromtimestamp(int(item.expires_at), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")}


def parse_ttl(metadata: Mapping[str, str] | None) -> int | None:
    """Read `ttlInSeconds`: None or -1 for no expiry.

    Raises ComponentError, as the backend would, for what is no number of seconds.
    """
    text = metadata.get("ttlInSeconds") if metadata else None
    if not text:
        return None
    if _WHOLE_NUMBER.fullmatch(text) is None:
        raise ComponentError(f"{_TTL}strconv.ParseInt: parsing {_quoted(text)}: invalid syntax")
    seconds = int(text)
    if not -1 <= seconds <= MAX_TTL_SECONDS:
        raise ComponentError(f"{_TTL}must be -1 or greater")
    return seconds if seconds > 0 else None


def check_options(concurrency: str, consistency: str) -> None:
    """Accept the options Dapr has; "" leaves them to the store.

    Raises ComponentError, as the backend would, for any other.
    """
    if concurrency not in _CONCURRENCY:
        raise ComponentError(f"unrecognized concurrency model '{concurrency}'")
    if consistency not in _CONSISTENCY:
        raise ComponentError(f"unrecognized consistency model '{consistency}'")


async def get(binding: StateBinding, key: StoreKey, raw_key: str) -> Item | None:
    """Read one item that is not at hand."""
    use = binding.use
    since = use.time.now
    try:
        item = await binding.store.get(key)
    except ComponentError as error:
        use.failed("get", since)
        raise STATE_GET.error(key=raw_key, name=binding.name, text=error) from error
    use.get.count += 1
    if use.time.now is not since:
        use.took(use.get, since)
    return item


async def get_bulk(app: App, store_name: str, raw_keys: Sequence[str]) -> Sequence[Item | None]:
    """Read several items, in order; each key once asked is once answered."""
    binding = find_store(app, store_name)
    keys = await pieces.each(app, raw_keys, partial(draw_key, binding))
    if not keys:
        return ()
    use = binding.use
    since = use.time.now
    try:
        items = await pieces.asked(app, keys, pieces.ITEMS, binding.store.get_many)
    except ComponentError as error:
        use.failed("bulk_get", since)
        raise STATE_BULK_GET.error(text=error) from error
    use.bulk_get.count += 1
    use.took(use.bulk_get, since)
    return items


async def save(app: App, binding: StateBinding, writes: Sequence[Write]) -> None:
    """Write one item, or several with an outcome each: one stale etag does not keep the others out."""
    use = binding.use
    since = use.time.now
    outcomes: Sequence[Exception | None] = ()
    try:
        if len(writes) == 1:
            await binding.store.set(writes[0])
        else:
            outcomes = await pieces.asked(app, writes, pieces.size_for(binding), binding.store.set_many)
    except ComponentError as error:
        use.failed("set", since)
        raise failure(STATE_SAVE, error, name=binding.name) from error
    if any(outcomes):
        use.failed("set", since)
        _raise_joined(STATE_SAVE, outcomes, name=binding.name)
    use.set.count += 1
    if use.time.now is not since:
        use.took(use.set, since)


async def delete(binding: StateBinding, raw_key: str, etag: str | None) -> None:
    """Remove one item."""
    removed = Delete(draw_key(binding, raw_key), etag or None)
    use = binding.use
    since = use.time.now
    try:
        await binding.store.delete(removed)
    except ComponentError as error:
        use.failed("delete", since)
        raise failure(STATE_DELETE, error, key=raw_key) from error
    use.delete.count += 1
    if use.time.now is not since:
        use.took(use.delete, since)


async def delete_bulk(app: App, binding: StateBinding, deletes: Sequence[Delete]) -> None:
    """Remove several items with an outcome each."""
    use = binding.use
    since = use.time.now
    outcomes: Sequence[Exception | None] = ()
    try:
        if len(deletes) == 1:
            await binding.store.delete(deletes[0])
        else:
            outcomes = await pieces.asked(app, deletes, pieces.size_for(binding), binding.store.delete_many)
    except ComponentError as error:
        use.failed("bulk_delete", since)
        raise failure(STATE_BULK_DELETE, error, name=binding.name) from error
    if any(outcomes):
        use.failed("bulk_delete", since)
        _raise_joined(STATE_BULK_DELETE, outcomes, name=binding.name)
    use.bulk_delete.count += 1
    use.took(use.bulk_delete, since)


def find_transactional(app: App, store_name: str) -> StateBinding:
    """A store that has transactions."""
    binding = find_store(app, store_name)
    if Capability.TRANSACTIONAL not in binding.store.capabilities:
        raise STATE_TRANSACTIONS_NOT_SUPPORTED.error(
            TRANSACTIONS_HELP, resource_info("state", store_name), name=store_name
        )
    return binding


async def transact(binding: StateBinding, operations: Sequence[Write | Delete]) -> None:
    """Do all operations in order, or none. Every failure of the store is one error, a stale etag too."""
    use = binding.use
    since = use.time.now
    try:
        await _transact(binding, operations)
    except ApiError:
        use.failed("transaction", since)
        raise
    use.transaction.count += 1
    use.took(use.transaction, since)


async def _transact(binding: StateBinding, operations: Sequence[Write | Delete]) -> None:
    try:
        await binding.store.transact(operations)
    except (EtagMismatch, InvalidEtag) as error:
        raise STATE_TRANSACTION.error(text=_etag_text(error)) from error
    except Unsupported as error:
        raise STATE_TRANSACTIONS_NOT_SUPPORTED.error(
            TRANSACTIONS_HELP, resource_info("state", binding.name), name=binding.name
        ) from error
    except ComponentError as error:
        raise STATE_TRANSACTION.error(text=error) from error


def refuse_query(app: App, store_name: str) -> ApiError:
    """No backend here has queries: say so as daprd does of one that has none."""
    find_store(app, store_name)
    return STATE_QUERY_NOT_SUPPORTED.error(resource_info("state", store_name))


def failure(row: ErrorRow, error: Exception, *, name: str = "", key: str = "") -> ApiError:
    """The answer to a write that one of the store's own errors ended."""
    if isinstance(error, EtagMismatch):
        return row.error(text=_etag_text(error), http=409, grpc=Grpc.ABORTED, name=name, key=key)
    if isinstance(error, InvalidEtag):
        return row.error(text=_etag_text(error), http=400, grpc=Grpc.INVALID_ARGUMENT, name=name, key=key)
    return row.error(text=error, name=name, key=key)


def _raise_joined(row: ErrorRow, outcomes: Sequence[Exception | None], *, name: str) -> None:
    """Raise what several items failed with as one error: of etags only when nothing else failed."""
    failed = [outcome for outcome in outcomes if outcome is not None]
    if not failed:
        return
    text = "\n".join(_etag_text(each) if isinstance(each, EtagMismatch | InvalidEtag) else str(each) for each in failed)
    if all(isinstance(each, EtagMismatch | InvalidEtag) for each in failed):
        invalid = any(isinstance(each, InvalidEtag) for each in failed)
        raise failure(row, InvalidEtag(text) if invalid else EtagMismatch(text), name=name)
    raise row.error(text=text, name=name)


def _etag_text(error: Exception) -> str:
    kind, why = _INVALID if isinstance(error, InvalidEtag) else _MISMATCH, str(error)
    return f"{kind}: {why}" if why else kind


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
