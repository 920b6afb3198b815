"""Transactions: all in order, or none."""

import pytest

from components.contract import Delete, EtagMismatch, Write
from tests.conformance.state.rig import Store, delete, write

WRONG = "00000000-0000-4000-8000-000000000000"


def test_operations_are_done_in_order(store: Store) -> None:
    """Delete k1, upsert k2, delete k2, upsert k3: only k3 is left."""
    store.set("app||k1", b"1")
    store.transact(delete("app||k1"), write("app||k2", b"2"), delete("app||k2"), write("app||k3", b"3"))
    assert [store.value(f"app||k{number}") for number in (1, 2, 3)] == [None, None, b"3"]


def test_upserts_and_deletes_of_many_items(store: Store) -> None:
    """Items are made, replaced and removed together; deleting what is not there is no error."""
    store.transact(*(write(f"app||{number}", b"1") for number in range(10)), delete("app||none"))
    store.transact(*(delete(f"app||{number}") for number in range(5)), write("app||7", b"2"))
    values = [item and item.value for item in store.get_many(*(f"app||{number}" for number in range(10)))]
    assert values == [None] * 5 + [b"1", b"1", b"2", b"1", b"1"]


@pytest.mark.parametrize("refused", [write("app||b", b"9", etag=WRONG), delete("app||b", etag=WRONG)])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_one_refusal_undoes_all(store: Store, refused: Write | Delete, place: int) -> None:
    """A wrong etag anywhere in it leaves everything as it was."""
    store.set_many(write("app||a", b"1"), write("app||b", b"2"))
    operations: list[Write | Delete] = [write("app||a", b"8"), delete("app||a")]
    operations.insert(place, refused)
    with pytest.raises(EtagMismatch):
        store.transact(*operations)
    assert (store.value("app||a"), store.value("app||b")) == (b"1", b"2")


def test_an_operation_sees_those_before_it(store: Store) -> None:
    """Within a transaction an etag is good until the transaction itself rewrites the item; first-write likewise."""
    store.set("app||key", b"1")
    etag = store.etag("app||key")
    with pytest.raises(EtagMismatch):
        store.transact(write("app||key", b"2", etag=etag), write("app||key", b"3", etag=etag))
    store.transact(delete("app||key"), write("app||key", b"4", first_write=True))
    assert store.value("app||key") == b"4"


def test_an_empty_transaction_is_done(store: Store) -> None:
    """Nothing to do is no error."""
    store.transact()


def test_concurrent_transactions_do_not_mix(store: Store) -> None:
    """Of transactions racing with one etag exactly one is done, and wholly."""
    store.set("app||guard", b"0")
    etag = store.etag("app||guard")
    coroutines = [
        store.inner.transact([write(f"app||{number}", b"1"), write("app||guard", b"%d" % number, etag=etag)])
        for number in range(10)
    ]
    outcomes = store.rig.outcomes(coroutines, inline=store.inner.inline)
    assert [outcome is None for outcome in outcomes] == [True] + [False] * 9
    values = [store.value(f"app||{number}") for number in range(10)]
    assert values == [b"1"] + [None] * 9
