"""Requests of many items are done in pieces: what they do, and where their text may be cut."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.completion import Completion
from noded.api.pieces import ITEMS, KEYED, TEXT_BYTES, UNREADABLE_JSON, decode_items, each
from noded.lanes import step
from noded.proto import common_pb2, state_pb2
from tests.daemon.server_clients import MEMORY, SQLITE, GrpcClient, app, grpc_client, http, resources
from tests.daemon_process import Daemon, running_daemon
from tests.wire.recording_link import make_app

MANY = 20 * ITEMS
NODE = resources(MEMORY, SQLITE, app("shop"), app("bank"))
DECODER = msgspec.json.Decoder(list[Any] | None)
NASTY = ('},{"key":', '"},{"key":"x"', "\\", '"', "[", "é", "")


@pytest.fixture(scope="module")
def node() -> Iterator[Daemon]:
    with running_daemon(NODE, dict.fromkeys(("shop", "bank"), "default")) as running:
        yield running


def outcome(body: bytes) -> object:
    """What decoding gives, or the text of what it raises."""
    ended: list[object] = []
    decoding = decode_items(make_app(), DECODER, body, KEYED)
    step(decoding, lambda items, error: ended.append(str(error) if error else items))
    return ended.pop()


def whole(body: bytes) -> object:
    try:
        return DECODER.decode(body) or []
    except UNREADABLE_JSON as error:
        return str(error)


texts = st.one_of(st.sampled_from(NASTY), st.text(max_size=20))
values = st.recursive(
    texts | st.integers(0, 9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.just("key") | texts, inner, max_size=3),
    max_leaves=8,
)
elements = st.builds(lambda key, value: {"key": key, "value": value}, texts, values) | values
paddings = st.sampled_from(("", "x" * (TEXT_BYTES // 3)))


@given(
    st.lists(st.tuples(elements, paddings), max_size=12),
    st.sampled_from((None, 1)),
    st.sampled_from((b"", b"]", b"[", b",", b"}", b'{"key"', b" ")),
    st.integers(0, 200_000),
)
def test_a_text_decoded_in_pieces_says_what_it_says_whole(
    items: list[tuple[object, str]], indent: int | None, inserted: bytes, at: int
) -> None:
    """However it is nested, padded, spaced or broken: the same elements, or the same error."""
    body = json.dumps([[item, pad] if pad else item for item, pad in items], indent=indent).encode()
    at %= len(body) + 1
    body = body[:at] + inserted + body[at:]
    assert outcome(body) == whole(body)


def test_a_long_text_of_items_is_cut() -> None:
    """Else the test above tells nothing."""
    body = json.dumps([{"key": "k" * 100, "value": number} for number in range(1000)]).encode()
    waits = 0

    def turn() -> Completion[None]:
        nonlocal waits
        waits += 1
        done: Completion[None] = Completion()
        done.resolve(None)
        return done

    there = make_app()
    there.next_turn = turn
    step(decode_items(there, DECODER, body, KEYED), lambda *_: None)
    assert waits == len(body) // (TEXT_BYTES + 200)
    step(each(there, range(ITEMS), str), lambda *_: None)
    assert waits == len(body) // (TEXT_BYTES + 200)
    step(each(there, range(ITEMS + 1), str), lambda *_: None)
    assert waits == len(body) // (TEXT_BYTES + 200) + 1


@pytest.mark.parametrize("store", ["memory", "statestore"])
def test_many_items_are_saved_and_read_in_order(node: Daemon, store: str) -> None:
    """By HTTP; an app that saves under the same keys at the same time has its own."""
    keys = [f"k{number}" for number in range(MANY)]
    with http(node, "shop") as shop, http(node, "bank") as bank:
        for client, mark in ((shop, "s" * 50), (bank, "b" * 50)):
            items = [{"key": key, "value": mark + key} for key in keys]
            assert client("POST", f"/v1.0/state/{store}", items).status == 204
        for client, mark in ((shop, "s" * 50), (bank, "b" * 50)):
            found = json.loads(client("POST", f"/v1.0/state/{store}/bulk", {"keys": keys}).body)
            assert [(each["key"], each["data"]) for each in found] == [(key, mark + key) for key in keys]


def bulk(call: GrpcClient, asked: state_pb2.GetBulkStateRequest) -> Sequence[state_pb2.BulkStateItem]:
    answer = call("GetBulkState", asked)
    assert isinstance(answer, state_pb2.GetBulkStateResponse)
    return answer.items


@pytest.mark.parametrize("store", ["memory", "statestore"])
def test_many_items_are_saved_read_and_deleted_by_grpc(node: Daemon, store: str) -> None:
    """As by HTTP."""
    keys = [f"g{number}" for number in range(MANY)]
    items = [common_pb2.StateItem(key=key, value=key.encode()) for key in keys]
    asked = state_pb2.GetBulkStateRequest(store_name=store, keys=keys)
    with grpc_client(node, "shop") as call:
        call("SaveState", state_pb2.SaveStateRequest(store_name=store, states=items))
        assert [(item.key, item.data) for item in bulk(call, asked)] == [(key, key.encode()) for key in keys]
        call("DeleteBulkState", state_pb2.DeleteBulkStateRequest(store_name=store, states=items))
        assert not any(item.data for item in bulk(call, asked))


def test_an_item_that_is_none_refuses_all_before_it(node: Daemon) -> None:
    """The last of many has no key: nothing is saved."""
    items = [{"key": f"none{number}", "value": "x" * 100} for number in range(MANY)]
    with http(node, "shop") as shop:
        answer = shop("POST", "/v1.0/state/memory", [*items, {"key": "", "value": 1}])
        assert (answer.status, answer.json["errorCode"]) == (400, "ERR_MALFORMED_REQUEST")
        assert shop("GET", "/v1.0/state/memory/none0").status == 204


@pytest.mark.parametrize("store", ["memory", "statestore"])
def test_a_long_transaction_is_done_whole_or_not_at_all(node: Daemon, store: str) -> None:
    """Its last operation fails; none before it was done."""
    with http(node, "shop") as shop:
        assert shop("POST", f"/v1.0/state/{store}", [{"key": "last", "value": 1}]).status == 204
        upserts = [{"operation": "upsert", "request": {"key": f"t{number}", "value": number}} for number in range(MANY)]
        stale = {"operation": "upsert", "request": {"key": "last", "value": 2, "etag": "999999"}}
        answer = shop("POST", f"/v1.0/state/{store}/transaction", {"operations": [*upserts, stale]})
        assert answer.status == 500
        assert shop("GET", f"/v1.0/state/{store}/t0").status == 204
        assert shop("POST", f"/v1.0/state/{store}/transaction", {"operations": upserts}).status == 204
        assert shop("GET", f"/v1.0/state/{store}/t{MANY - 1}").body == b"%d" % (MANY - 1)
