"""What is saved is what is read: single items and bulk."""

import pytest

from components.contract import Capability
from tests.conformance.state.rig import Store, delete, write

VALUES = [
    b"1",
    b"true",
    b'"text"',
    b'{"a":{"b":[1,2.50,null]}}',
    b"",
    b"null",
    b"plain text",
    b"\x00",
    b"a\x00b",
    bytes(range(256)),
    b"\xff\xfe",
    "\u2028 \U0001f600 \u00e9\t\n\\\"'".encode(),
    b"0" * 70_000,
    b"\xf0" * 70_000,
]


@pytest.mark.parametrize("value", VALUES, ids=range(len(VALUES)))
def test_a_value_comes_back_byte_for_byte(store: Store, value: bytes) -> None:
    """The bytes given are the bytes read: JSON, text, binary, long and empty."""
    store.set("app||key", value)
    assert store.value("app||key") == value


@pytest.mark.parametrize("key", ["app||a'b\"c\\d", "app||%_*?", "app||\u00e9", "app||a\n\tb", "app|| ", "bare"])
def test_any_text_is_a_key(store: Store, key: str) -> None:
    """A key is compared character by character: no wildcard, no escape, no folding."""
    store.set(key, b"1")
    store.set(key + "x", b"2")
    assert store.value(key) == b"1"
    assert store.value(key.upper() + "y") is None


def test_a_missing_item_is_none(store: Store) -> None:
    """Reading what is not there is no error, and stays so until it is written."""
    assert store.get("app||key") is None
    assert store.get("app||key") is None
    store.set("app||key", b"1")
    assert store.value("app||key") == b"1"


def test_a_later_write_replaces_the_item(store: Store) -> None:
    """The last write wins, with a new etag."""
    store.set("app||key", b"1")
    first = store.etag("app||key")
    store.set("app||key", b"2")
    assert store.value("app||key") == b"2"
    assert store.etag("app||key") != first


def test_delete_removes_and_forgives(store: Store) -> None:
    """A deleted item is gone; deleting it again is no error."""
    store.set("app||key", b"1")
    store.delete("app||key")
    store.delete("app||key")
    assert store.get("app||key") is None


def test_bulk_reads_answer_in_order(store: Store) -> None:
    """Each key has its answer in its place: missing ones None, one asked twice twice."""
    store.set_many(write("app||a", b"1"), write("app||b", b"2"))
    items = store.get_many("app||b", "app||none", "app||a", "app||b")
    assert [item and item.value for item in items] == [b"2", None, b"1", b"2"]
    assert store.get_many() == []


def test_bulk_writes_take_place_in_order(store: Store) -> None:
    """A key named twice in one bulk call ends with its last value."""
    assert store.set_many(write("app||a", b"1"), write("app||b", b"2"), write("app||a", b"3")) == [None] * 3
    assert store.value("app||a") == b"3"
    assert store.set_many() == []


def test_bulk_delete(store: Store) -> None:
    """Those named are gone, missing ones are no error, others stay."""
    store.set_many(write("app||a", b"1"), write("app||b", b"2"))
    assert store.delete_many(delete("app||a"), delete("app||none")) == [None, None]
    assert store.get("app||a") is None
    assert store.value("app||b") == b"2"


def test_owners_with_equal_keys_do_not_meet(store: Store) -> None:
    """Two apps using one key name each have their own item."""
    store.set("one||key", b"1")
    store.set("two||key", b"2")
    store.delete("one||key")
    assert store.get("one||key") is None
    assert store.value("two||key") == b"2"


def test_what_every_store_here_can(store: Store) -> None:
    """The suite's etag, transaction and ttl tests apply to every backend listed."""
    assert store.inner.capabilities >= {Capability.ETAG, Capability.TRANSACTIONAL, Capability.TTL}
