"""How many HTTP state operations a second does one core do? In memory, and on SQLite with every save synced."""

import tempfile
from functools import partial
from pathlib import Path

from bench.client import request
from bench.load import Target, sample_target
from bench.records import Case, Conditions, Sample, Subject
from bench.resources import MEMORY_STORE, SQLITE_STORE

KEY = "order-1"
VALUE = b'{"order":1,"quantity":3,"sku":"A-17"}'
ITEMS = b'[{"key":"order-1","value":%b}]' % VALUE


def put_one(subject: Subject, store: str) -> None:
    """Save the key the gets ask for, and read it back.

    Raises:
        AssertionError: the store did not give back what was saved.
    """
    status, body = request(subject.caller.http, "POST", f"/v1.0/state/{store}", ITEMS)
    assert status == 204, (subject.name, status, body)
    assert request(subject.caller.http, "GET", f"/v1.0/state/{store}/{KEY}") == (200, VALUE), subject.name


def get(store: str, subject: Subject, conditions: Conditions) -> Sample:
    """GET one key of `store`."""
    put_one(subject, store)
    target = Target(subject.caller.http, f"/v1.0/state/{store}/{KEY}", connections=conditions.connections)
    return sample_target(subject, conditions.seconds, target)


def save(store: str, subject: Subject, conditions: Conditions) -> Sample:
    """POST one item to `store`."""
    put_one(subject, store)
    with tempfile.TemporaryDirectory() as directory:
        body = Path(directory) / "items.json"
        body.write_bytes(ITEMS)
        path, headers = f"/v1.0/state/{store}", ("content-type: application/json",)
        target = Target(subject.caller.http, path, body, headers, connections=conditions.connections)
        return sample_target(subject, conditions.seconds, target)


CASES = (
    Case("http_get_memory", "HTTP state get, in-memory", partial(get, MEMORY_STORE)),
    Case("http_save_memory", "HTTP state save, in-memory", partial(save, MEMORY_STORE)),
    Case("http_get_sqlite", "HTTP state get, SQLite", partial(get, SQLITE_STORE)),
    Case("http_save_sqlite", "HTTP state save, SQLite synced", partial(save, SQLITE_STORE)),
)
