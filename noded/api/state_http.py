"""State over HTTP. Source: dapr-api.md 1.3."""

from collections.abc import Sequence
from functools import partial
from typing import Final

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from components.completion import Completion
from components.contract import NOT_AT_HAND, ComponentError, Delete, Item, StoreKey, Write
from noded.api.pieces import KEYED, TEXT_BYTES, UNREADABLE_JSON, decode_items, each
from noded.api.state import (
    check_options,
    delete,
    draw_key,
    expiry_metadata,
    failure,
    find_store,
    find_transactional,
    get,
    get_bulk,
    parse_ttl,
    refuse_query,
    save,
    transact,
)
from noded.app import App, StateBinding
from noded.calls import JSON, NO_CONTENT, Header, HttpCall, Reply
from noded.errors import (
    MALFORMED_BODY,
    MALFORMED_REQUEST,
    NOT_SUPPORTED_STATE_OPERATION,
    STATE_DELETE,
    STATE_SAVE,
    STATE_TRANSACTION,
)
from noded.query import metadata_of, pairs
from noded.route_table import Later, Running

_NULL: Final = Raw(b"null")
_ETAG: Final = b"etag"


class _Options(Struct):
    concurrency: str | None = None
    consistency: str | None = None


class _Item(Struct):
    """One item of a save, and the request of a transaction's operation."""

    key: str = ""
    value: Raw = _NULL
    etag: str | None = None
    metadata: dict[str, str] | None = None
    options: _Options | None = None
    contentType: str | None = None  # noqa: N815 - Dapr's spelling


class _Operation(Struct):
    operation: str = ""
    request: _Item = msgspec.field(default_factory=_Item)


class _Transaction(Struct):
    operations: list[_Operation] | None = None
    metadata: dict[str, str] | None = None


class _BulkGet(Struct):
    keys: list[str] | None = None
    parallelism: int | None = None
    metadata: dict[str, str] | None = None


class _BulkItem(Struct, omit_defaults=True):
    key: str
    data: Raw | UnsetType = UNSET
    etag: str | UnsetType = UNSET
    metadata: dict[str, str] | UnsetType = UNSET
    error: str = ""


_items = msgspec.json.Decoder(list[_Item] | None)
_transaction = msgspec.json.Decoder(_Transaction | None)
_bulk_get = msgspec.json.Decoder(_BulkGet | None)
_encode = msgspec.json.Encoder().encode


def get_http(call: HttpCall) -> Reply | Running:
    """`GET state/{store}/{key}`: the value as it was stored, its etag, and when it expires."""
    store, raw_key = call.params
    binding = call.app.state.get(store) or find_store(call.app, store)
    key = draw_key(binding, raw_key)
    item = NOT_AT_HAND if binding.at_hand is None else binding.at_hand.get_now(key)
    if item is NOT_AT_HAND:
        return _get_later(binding, key, raw_key)
    binding.use.get.count += 1
    if item is None:
        return NO_CONTENT
    if item.expires_at is None:  # as `_told` does: a call less
        return Reply(200, item.value, JSON, ((_ETAG, item.etag.encode()),))
    return _told(item)


async def _get_later(binding: StateBinding, key: StoreKey, raw_key: str) -> Reply:
    item = await get(binding, key, raw_key)
    return NO_CONTENT if item is None else _told(item)


def _told(item: Item) -> Reply:
    headers: tuple[Header, ...] = ((_ETAG, item.etag.encode()),)
    if item.expires_at is not None:
        told = expiry_metadata(item).items()
        headers += tuple((b"metadata." + name.encode(), value.encode()) for name, value in told)
    return Reply(200, item.value, JSON, headers)


def save_http(call: HttpCall) -> Reply | Later | Running:
    """`POST state/{store}`: save every item of the array."""
    binding = find_store(call.app, call.params[0])
    if len(call.body) > TEXT_BYTES:
        return _save_long(call.app, binding, call)
    try:
        items = _items.decode(call.body)
    except UNREADABLE_JSON as error:
        raise MALFORMED_REQUEST.error(text=error) from error
    if not items:
        return NO_CONTENT
    common = metadata_of(call.query) if call.query else None
    if len(items) > 1:
        return _save_all(call.app, binding, items, common)
    write = _write(binding, items[0], common)
    use = binding.use
    try:
        if binding.in_groups is not None:
            saving = binding.in_groups.set_later(write)
            return Later(saving, partial(_saved, binding, saving, use.time.now))
        if binding.in_memory is None:
            return _save_one(call.app, binding, write)
        binding.in_memory.set_now(write)
    except ComponentError as error:
        use.failed("set", use.time.now)
        raise failure(STATE_SAVE, error, name=binding.name) from error
    use.set.count += 1
    return NO_CONTENT


async def _save_long(app: App, binding: StateBinding, call: HttpCall) -> Reply:
    """Save the items of a body that is decoded in pieces."""
    try:
        items = await decode_items(app, _items, call.body, KEYED)
    except UNREADABLE_JSON as error:
        raise MALFORMED_REQUEST.error(text=error) from error
    return await _save_all(app, binding, items, metadata_of(call.query) if call.query else None)


async def _save_all(app: App, binding: StateBinding, items: Sequence[_Item], common: dict[str, str] | None) -> Reply:
    if items:
        await save(app, binding, await each(app, items, lambda item: _write(binding, item, common)))
    return NO_CONTENT


async def _save_one(app: App, binding: StateBinding, write: Write) -> Reply:
    await save(app, binding, (write,))
    return NO_CONTENT


def _saved(binding: StateBinding, saving: Completion[object], since: float) -> Reply:
    """As `save` ends, without a coroutine: most durable saves."""
    use = binding.use
    try:
        saving.result()
    except ComponentError as error:
        use.failed("set", since)
        raise failure(STATE_SAVE, error, name=binding.name) from error
    use.set.count += 1
    if use.time.now is not since:
        use.took(use.set, since)
    return NO_CONTENT


async def delete_http(call: HttpCall) -> Reply:
    """`DELETE state/{store}/{key}`, with If-Match only that version."""
    store, key = call.params
    binding = find_store(call.app, store)
    etag = call.header(b"if-match")
    if call.query:
        _check_query(call.query, key)
    await delete(binding, key, etag.decode("latin-1") if etag else None)
    return NO_CONTENT


async def get_bulk_http(call: HttpCall) -> Reply:
    """`POST state/{store}/bulk`: one entry per key; one that is missing has no data."""
    store = call.params[0]
    find_store(call.app, store)
    try:
        request = _bulk_get.decode(call.body) or _BulkGet()
    except UNREADABLE_JSON as error:
        raise MALFORMED_BODY.error(text=error) from error
    keys = request.keys or []
    found = await get_bulk(call.app, store, keys)
    return Reply(200, _encode(await each(call.app, tuple(zip(keys, found, strict=True)), _entry)))


def _entry(found: tuple[str, Item | None]) -> _BulkItem:
    key, item = found
    if item is None:
        return _BulkItem(key)
    if not _is_json(item.value):
        return _BulkItem(key, error="the stored value is no JSON: read it alone, or over gRPC")
    return _BulkItem(key, Raw(item.value), item.etag, expiry_metadata(item) or UNSET)


async def transact_http(call: HttpCall) -> Reply:
    """`POST state/{store}/transaction`: upserts and deletes, all or none."""
    binding = find_transactional(call.app, call.params[0])
    try:
        request = _transaction.decode(call.body) or _Transaction()
    except UNREADABLE_JSON as error:
        raise MALFORMED_BODY.error(text=error) from error
    if not request.operations:
        return NO_CONTENT
    common = (request.metadata or {}) | (metadata_of(call.query) if call.query else {})
    operations = await each(call.app, request.operations, lambda operation: _operation(binding, operation, common))
    await transact(binding, operations)
    return NO_CONTENT


async def query_http(call: HttpCall) -> Reply:
    """`POST state/{store}/query`: no store here has it."""
    raise refuse_query(call.app, call.params[0])


def _check_query(query: bytes, key: str) -> None:
    asked = dict(reversed(pairs(query)))  # the first of several counts
    try:
        check_options(asked.get("concurrency", ""), asked.get("consistency", ""))
    except ComponentError as error:
        raise failure(STATE_DELETE, error, key=key) from error


def _write(binding: StateBinding, item: _Item, common: dict[str, str] | None) -> Write:
    if not item.key:
        raise MALFORMED_REQUEST.error(text='"key" is a required field')
    key = draw_key(binding, item.key)
    metadata = (item.metadata or {}) | common if common else item.metadata
    if item.options is None and not metadata:
        return Write(key, bytes(item.value), item.etag or None)
    first_write = item.options is not None and item.options.concurrency == "first-write"
    try:
        if item.options is not None:
            check_options(item.options.concurrency or "", item.options.consistency or "")
        ttl = parse_ttl(metadata) if metadata else None
    except ComponentError as error:
        raise failure(STATE_SAVE, error, name=binding.name) from error
    return Write(key, bytes(item.value), item.etag or None, first_write, ttl)


def _operation(binding: StateBinding, operation: _Operation, common: dict[str, str]) -> Write | Delete:
    item = operation.request
    if operation.operation == "delete":
        return Delete(draw_key(binding, item.key), item.etag or None)
    if operation.operation != "upsert":
        raise NOT_SUPPORTED_STATE_OPERATION.error(operation=operation.operation)
    key = draw_key(binding, item.key)
    first_write = item.options is not None and item.options.concurrency == "first-write"
    try:
        ttl = parse_ttl((item.metadata or {}) | common)
    except ComponentError as error:
        raise STATE_TRANSACTION.error(text=error) from error
    return Write(key, bytes(item.value), item.etag or None, first_write, ttl)


def _is_json(value: bytes) -> bool:
    try:
        msgspec.json.decode(value, type=Raw)
        value.decode()  # a raw decode looks into no string
    except UNREADABLE_JSON:
        return False
    return True
