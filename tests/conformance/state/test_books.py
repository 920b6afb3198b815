"""What each owner keeps is counted exactly, and growth past a ceiling is refused whole."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.contract import Delete, Write
from tenancy.admission import LimitExceeded
from tenancy.limits import Limits
from tests.conformance.state.rig import BACKENDS, Rig, Store, count, delete, write

KEYS = st.sampled_from(["one||a", "one||\u00e9", "two||a", "two||b", "none", "||x"])
VALUES = st.sampled_from([b"", b"1", b"\x00\xff", b"text" * 10, "\u00e9".encode()])
OPERATIONS = st.one_of(
    st.builds(write, KEYS, VALUES, ttl=st.sampled_from([None, 1, 50]), first_write=st.booleans()),
    st.builds(delete, KEYS, etag=st.sampled_from([None, None, "wrong"])),
)
STEPS = st.lists(st.tuples(st.sampled_from(["each", "transact", "wait"]), st.lists(OPERATIONS, max_size=5)), max_size=8)


@pytest.mark.parametrize("backend", BACKENDS)
@settings(max_examples=25, deadline=None)
@given(steps=STEPS)
def test_the_books_equal_a_recount(backend: str, steps: list[tuple[str, list[Write | Delete]]]) -> None:
    """After any operations the counts are those of the items there: what can be read, with nothing expired."""
    with TemporaryDirectory() as directory:
        rig = Rig(Path(directory))
        try:
            _check_books(Store(rig, rig.open(*BACKENDS[backend])), steps)
        finally:
            rig.close()


def _check_books(store: Store, steps: list[tuple[str, list[Write | Delete]]]) -> None:
    for kind, operations in steps:
        if kind == "wait":
            store.rig.advance(1)
        elif kind == "transact":
            store.rig.outcomes([store.inner.transact(operations)], inline=store.inner.inline)
        else:
            store.set_many(*(operation for operation in operations if isinstance(operation, Write)))
            store.delete_many(*(operation for operation in operations if isinstance(operation, Delete)))
    store.rig.advance(100)
    keys = ["one||a", "one||\u00e9", "two||a", "two||b", "none", "||x"]
    items = {key: item.value for key, item in zip(keys, store.get_many(*keys), strict=True) if item}
    store.rig.until(lambda: store.rig.listing() == count(items))


def limit(store: Store, *, keys: int | None = None, size_bytes: int | None = None) -> None:
    store.rig.books.node.set_limits(Limits(state_keys=keys, state_bytes=size_bytes))


def test_exactly_at_the_ceiling_of_keys(store: Store) -> None:
    """As many items as allowed fit; one more does not, and rewriting one still does."""
    limit(store, keys=2)
    store.set("app||a", b"1")
    store.set("app||b", b"1")
    with pytest.raises(LimitExceeded):
        store.set("app||c", b"1")
    store.set("app||a", b"longer")
    assert store.get("app||c") is None
    store.delete("app||b")
    store.set("app||c", b"1")
    assert store.rig.listing() == count({"app||a": b"longer", "app||c": b"1"})


def test_an_overwrite_pays_or_frees_the_difference(store: Store) -> None:
    """Whether the value is as long as the one before, shorter or longer."""
    for value in (b"12345", b"54321", b"1", b"1234567"):
        store.set("app||a", value)
        assert store.rig.listing() == count({"app||a": value})


def test_exactly_at_the_ceiling_of_bytes(store: Store) -> None:
    """Key and value bytes count; an overwrite pays the difference."""
    limit(store, size_bytes=len(b"app||a") + 10)
    store.set("app||a", b"12345")
    store.set("app||a", b"1234567890")
    with pytest.raises(LimitExceeded):
        store.set("app||a", b"12345678901")
    assert store.value("app||a") == b"1234567890"
    assert store.rig.listing() == count({"app||a": b"1234567890"})


@pytest.mark.parametrize("room", [2, 3])
def test_a_bulk_save_fits_whole_or_not_at_all(store: Store, room: int) -> None:
    """A bulk save at the ceiling is done; one item over it nothing is, and nothing is counted."""
    limit(store, keys=room)
    writes = [write("app||a", b"1"), write("app||b", b"1"), write("app||c", b"1")]
    if room == 3:
        assert store.set_many(*writes) == [None] * 3
        return
    with pytest.raises(LimitExceeded):
        store.set_many(*writes)
    assert store.get_many("app||a", "app||b", "app||c") == [None] * 3
    assert store.rig.listing() == {}


def test_a_transaction_fits_whole_or_not_at_all(store: Store) -> None:
    """A transaction counts as what it comes to: a swap fits at the ceiling, growth does not."""
    limit(store, keys=1)
    store.set("app||a", b"1")
    with pytest.raises(LimitExceeded):
        store.transact(write("app||b", b"1"), write("app||a", b"22"))
    assert store.value("app||a") == b"1"
    store.transact(write("app||b", b"1"), delete("app||a"))
    assert store.rig.listing() == count({"app||b": b"1"})


def test_one_owner_s_refusal_charges_nobody(store: Store) -> None:
    """When items of several owners are written together and one of them has no room, none is charged."""
    store.rig.books.app("default", "two").set_limits(Limits(state_keys=0))
    with pytest.raises(LimitExceeded):
        store.transact(write("one||a", b"1"), write("two||a", b"1"))
    assert store.rig.listing() == {}


def test_a_refusal_of_one_leaves_its_neighbours(store: Store) -> None:
    """Of requests arriving together only those of the owner without room are refused."""
    store.rig.books.app("default", "two").set_limits(Limits(state_keys=1))
    coroutines = [store.inner.set(write(f"{owner}||{number}", b"1")) for number in range(3) for owner in ("one", "two")]
    outcomes = store.rig.outcomes(coroutines, inline=store.inner.inline)
    assert [isinstance(outcome, LimitExceeded) for outcome in outcomes] == [False, False, False, True, False, True]
    assert {owner: keys for owner, (keys, _) in store.rig.listing().items()} == {"one": 3, "two": 1}
