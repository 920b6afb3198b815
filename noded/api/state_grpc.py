"""State over gRPC. Source: dapr-api.md 2.2; `contentType: application/json` in an item's metadata makes it JSON."""

from collections.abc import Coroutine
from functools import partial
from typing import Any

import msgspec
from google.protobuf.empty_pb2 import Empty

from components.contract import NOT_AT_HAND, ComponentError, Delete, Item, StoreKey, Write
from noded.api.pieces import UNREADABLE_JSON, each
from noded.api.state import (
    delete,
    delete_bulk,
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
from noded.app import StateBinding
from noded.calls import GrpcCall
from noded.errors import NOT_SUPPORTED_STATE_OPERATION, STATE_KEY_EMPTY, STATE_SAVE, STATE_TRANSACTION, UNREADABLE_VALUE
from noded.proto import common_pb2, state_pb2

_FIRST_WRITE = common_pb2.StateOptions.CONCURRENCY_FIRST_WRITE
_EMPTY = Empty()


def get_grpc(
    call: GrpcCall, request: state_pb2.GetStateRequest
) -> state_pb2.GetStateResponse | Coroutine[Any, Any, state_pb2.GetStateResponse]:
    """GetState: a missing key is an empty answer."""
    raw_key = request.key
    binding = call.app.state.get(store := request.store_name) or find_store(call.app, store)
    key = draw_key(binding, raw_key)
    item = NOT_AT_HAND if binding.at_hand is None else binding.at_hand.get_now(key)
    if item is NOT_AT_HAND:
        return _get_later(binding, key, raw_key)
    binding.use.get.count += 1
    return _found(item)


async def _get_later(binding: StateBinding, key: StoreKey, raw_key: str) -> state_pb2.GetStateResponse:
    return _found(await get(binding, key, raw_key))


def _found(item: Item | None) -> state_pb2.GetStateResponse:
    if item is None:
        return state_pb2.GetStateResponse()
    if item.expires_at is not None:
        return state_pb2.GetStateResponse(data=item.value, etag=item.etag, metadata=expiry_metadata(item))
    answer = state_pb2.GetStateResponse()
    answer.data = item.value  # sooner done than by keywords
    answer.etag = item.etag
    return answer


async def get_bulk_grpc(call: GrpcCall, request: state_pb2.GetBulkStateRequest) -> state_pb2.GetBulkStateResponse:
    """GetBulkState: one item per key, in order."""
    keys = list(request.keys)
    found = await get_bulk(call.app, request.store_name, keys)
    items = await each(call.app, tuple(zip(keys, found, strict=True)), _told)
    return state_pb2.GetBulkStateResponse(items=items)


async def save_grpc(call: GrpcCall, request: state_pb2.SaveStateRequest) -> Empty:
    """SaveState."""
    binding = find_store(call.app, request.store_name)
    if request.states:
        await save(call.app, binding, await each(call.app, request.states, partial(_save_item, binding)))
    return _EMPTY


async def delete_grpc(call: GrpcCall, request: state_pb2.DeleteStateRequest) -> Empty:
    """DeleteState."""
    await delete(find_store(call.app, request.store_name), request.key, request.etag.value)
    return _EMPTY


async def delete_bulk_grpc(call: GrpcCall, request: state_pb2.DeleteBulkStateRequest) -> Empty:
    """DeleteBulkState."""
    binding = find_store(call.app, request.store_name)
    if request.states:
        await delete_bulk(call.app, binding, await each(call.app, request.states, partial(_delete, binding)))
    return _EMPTY


async def transact_grpc(call: GrpcCall, request: state_pb2.ExecuteStateTransactionRequest) -> Empty:
    """ExecuteStateTransaction: all operations or none."""
    binding = find_transactional(call.app, request.storeName)
    operations = await each(call.app, request.operations, partial(_operation, binding))
    if operations:
        await transact(binding, operations)
    return _EMPTY


async def query_grpc(call: GrpcCall, request: state_pb2.QueryStateRequest) -> state_pb2.QueryStateResponse:
    """QueryStateAlpha1: no store here has it."""
    raise refuse_query(call.app, request.store_name)


def _told(found: tuple[str, Item | None]) -> state_pb2.BulkStateItem:
    key, item = found
    if item is None:
        return state_pb2.BulkStateItem(key=key)
    return state_pb2.BulkStateItem(key=key, data=item.value, etag=item.etag, metadata=expiry_metadata(item))


def _save_item(binding: StateBinding, item: common_pb2.StateItem) -> Write:
    if not item.key:
        raise STATE_KEY_EMPTY.error()
    key = draw_key(binding, item.key)
    value = item.value
    if item.metadata and item.metadata.get("contentType") == "application/json":
        try:
            msgspec.json.decode(value, type=msgspec.Raw)
        except UNREADABLE_JSON as error:
            raise UNREADABLE_VALUE.error(text=error) from error
    try:
        return _write(key, item)
    except ComponentError as error:
        raise failure(STATE_SAVE, error, name=binding.name) from error


def _write(key: StoreKey, item: common_pb2.StateItem) -> Write:
    ttl = parse_ttl(item.metadata) if item.metadata else None
    return Write(key, item.value, item.etag.value or None, item.options.concurrency == _FIRST_WRITE, ttl)


def _delete(binding: StateBinding, item: common_pb2.StateItem) -> Delete:
    return Delete(draw_key(binding, item.key), item.etag.value or None)


def _operation(binding: StateBinding, operation: state_pb2.TransactionalStateOperation) -> Write | Delete:
    item = operation.request
    if operation.operationType == "delete":
        return _delete(binding, item)
    key = draw_key(binding, item.key)
    if operation.operationType != "upsert":
        raise NOT_SUPPORTED_STATE_OPERATION.error(operation=operation.operationType)
    try:
        return _write(key, item)
    except ComponentError as error:
        raise STATE_TRANSACTION.error(text=error) from error
