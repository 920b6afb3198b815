"""Items that expire."""

import pytest

from components.contract import EtagMismatch
from tests.conformance.state.rig import START, Store, write


def test_an_item_expires(store: Store) -> None:
    """It is there before its time, with the time it expires at, and gone after it; a bulk read says the same."""
    store.set("app||key", b"1", ttl=3)
    item = store.get("app||key")
    assert item is not None
    assert item.expires_at == START + 3
    store.rig.time += 2
    assert store.value("app||key") == b"1"
    store.rig.time += 1
    assert store.get("app||key") is None
    assert store.get_many("app||key") == [None]


@pytest.mark.parametrize("ttl", [None, -1, 0])
def test_no_ttl_clears_an_older_one(store: Store, ttl: int | None) -> None:
    """A write without a ttl, or with -1, makes the item stay."""
    store.set("app||key", b"1", ttl=2)
    store.set("app||key", b"2", ttl=ttl)
    store.rig.advance(5)
    item = store.get("app||key")
    assert item is not None
    assert (item.value, item.expires_at) == (b"2", None)


def test_a_new_ttl_replaces_the_older(store: Store) -> None:
    """The last write's ttl counts, longer or shorter."""
    store.set_many(write("app||long", b"1", ttl=2), write("app||short", b"1", ttl=9))
    store.set_many(write("app||long", b"2", ttl=9), write("app||short", b"2", ttl=2))
    store.rig.advance(4)
    assert store.value("app||long") == b"2"
    assert store.get("app||short") is None


def test_an_expired_item_is_absent_to_writers(store: Store) -> None:
    """Its etag is no longer good, and a first-write may take its place."""
    store.set("app||key", b"1", ttl=2)
    etag = store.etag("app||key")
    store.rig.time += 2
    with pytest.raises(EtagMismatch):
        store.set("app||key", b"2", etag=etag)
    store.set("app||key", b"3", first_write=True)
    assert store.value("app||key") == b"3"


def test_expired_items_count_until_purged(store: Store) -> None:
    """What is expired still takes room; the purge gives it back, all of it, and leaves what lives."""
    store.set_many(*(write(f"app||{number}", b"1", ttl=2) for number in range(1100)), write("app||stays", b"1"))
    store.set("app||0", b"22", ttl=100)
    store.rig.time += 2
    assert store.rig.listing()["app"][0] == 1101
    store.rig.advance(3)
    store.rig.until(lambda: store.rig.listing()["app"][0] == 2)
    assert store.rig.listing() == {"app": (2, len(b"app||stays1") + len(b"app||022"))}
    assert store.value("app||0") == b"22"


def test_a_ttl_beyond_all_calendars_is_for_ever(store: Store) -> None:
    """A ttl of billions of years is not refused and does not expire."""
    store.set("app||key", b"1", ttl=10**15)
    store.rig.time += 10**9
    assert store.value("app||key") == b"1"
