"""Optimistic concurrency: etags and first-write."""

from uuid import RFC_4122, UUID

import pytest

from components.contract import EtagMismatch
from tests.conformance.state.rig import Store, delete, write

WRONG = "00000000-0000-4000-8000-000000000000"


def test_an_etag_is_a_random_uuid(store: Store) -> None:
    """Etags have daprd's form, UUID version 4, and differ by write, also within one bulk call."""
    store.set_many(*(write(f"app||{number}", b"1") for number in range(300)))
    etags = [item.etag for item in store.get_many(*(f"app||{number}" for number in range(300))) if item]
    assert len(set(etags)) == 300
    assert all(UUID(etag).version == 4 and UUID(etag).variant == RFC_4122 and str(UUID(etag)) == etag for etag in etags)


def test_a_stale_etag_is_refused(store: Store) -> None:
    """A write carrying an old etag is refused and changes nothing; the current one is accepted, once."""
    store.set("app||key", b"1")
    old = store.etag("app||key")
    store.set("app||key", b"2", etag=old)
    with pytest.raises(EtagMismatch):
        store.set("app||key", b"3", etag=old)
    assert store.value("app||key") == b"2"


@pytest.mark.parametrize("etag", [WRONG, "9999", "'; --"])
def test_an_etag_needs_an_item(store: Store, etag: str) -> None:
    """With an etag, neither a write nor a delete makes or removes anything where nothing is."""
    with pytest.raises(EtagMismatch):
        store.set("app||key", b"1", etag=etag)
    with pytest.raises(EtagMismatch):
        store.delete("app||key", etag=etag)
    assert store.get("app||key") is None


def test_an_empty_etag_is_none(store: Store) -> None:
    """An empty etag is no etag."""
    store.set("app||key", b"1", etag="")
    store.set("app||key", b"2", etag="")
    store.delete("app||key", etag="")
    assert store.get("app||key") is None


def test_delete_with_an_etag(store: Store) -> None:
    """A delete with a wrong etag leaves the item; with the right one it removes it."""
    store.set("app||key", b"1")
    with pytest.raises(EtagMismatch):
        store.delete("app||key", etag=WRONG)
    assert store.value("app||key") == b"1"
    store.delete("app||key", etag=store.etag("app||key"))
    assert store.get("app||key") is None


def test_bulk_writes_fail_one_by_one(store: Store) -> None:
    """In a bulk save a wrong etag fails its own item; the others are done."""
    store.set("app||a", b"1")
    outcomes = store.set_many(
        write("app||a", b"2", etag=WRONG), write("app||b", b"3"), write("app||a", b"4", etag=store.etag("app||a"))
    )
    assert isinstance(outcomes[0], EtagMismatch)
    assert outcomes[1:] == [None, None]
    assert (store.value("app||a"), store.value("app||b")) == (b"4", b"3")


def test_bulk_deletes_fail_one_by_one(store: Store) -> None:
    """In a bulk delete a wrong etag keeps its own item; the others are gone."""
    store.set_many(write("app||a", b"1"), write("app||b", b"2"))
    outcomes = store.delete_many(delete("app||a", etag=WRONG), delete("app||b", etag=store.etag("app||b")))
    assert isinstance(outcomes[0], EtagMismatch)
    assert outcomes[1] is None
    assert store.value("app||a") == b"1"
    assert store.get("app||b") is None


def test_first_write_only_where_nothing_is(store: Store) -> None:
    """First-write without an etag makes an item, and never replaces one."""
    store.set("app||key", b"1", first_write=True)
    with pytest.raises(EtagMismatch):
        store.set("app||key", b"2", first_write=True)
    assert store.value("app||key") == b"1"
    store.delete("app||key")
    store.set("app||key", b"3", first_write=True)
    assert store.value("app||key") == b"3"


def test_first_write_with_an_etag_wins_once(store: Store) -> None:
    """Of two first-writes with the same etag the second fails."""
    store.set("app||key", b"1")
    etag = store.etag("app||key")
    store.set("app||key", b"2", etag=etag, first_write=True)
    with pytest.raises(EtagMismatch):
        store.set("app||key", b"3", etag=etag, first_write=True)
    assert store.value("app||key") == b"2"


def test_of_concurrent_first_writes_one_wins(store: Store) -> None:
    """Writers that arrive together are judged one after the other: one first-write is accepted."""
    coroutines = [store.inner.set(write("app||key", b"%d" % number, first_write=True)) for number in range(20)]
    outcomes = store.rig.outcomes(coroutines, inline=store.inner.inline)
    assert [isinstance(outcome, EtagMismatch) for outcome in outcomes] == [False] + [True] * 19
    assert store.value("app||key") == b"0"
