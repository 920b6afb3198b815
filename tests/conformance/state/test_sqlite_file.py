"""state.sqlite and its file: shared with daprd, owned by one noded, refused clearly when it cannot be."""

import os
import sqlite3
import stat
from base64 import b64encode
from pathlib import Path

import pytest

from components.contract import ConfigError, StateStore, Unavailable
from tests.conformance.state.rig import START, Rig, Store, count, write

TYPE = "state.sqlite"

DAPRD_SCHEMA = """
CREATE TABLE metadata (key text NOT NULL PRIMARY KEY, value text NOT NULL);
CREATE TABLE state (
    key TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL,
    is_binary BOOLEAN NOT NULL,
    etag TEXT NOT NULL,
    expiration_time TIMESTAMP DEFAULT NULL,
    update_time TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP
);
REPLACE INTO metadata (key, value) VALUES ('migrations', '1');
"""
INSERT = (
    "INSERT INTO state (key, value, is_binary, etag, expiration_time) VALUES (?, ?, ?, ?, datetime(?, 'unixepoch'))"
)
ETAG = "9ae1fd34-5e12-4c87-9c1a-beba6efb6ccc"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "x.db"


def opened(rig: Rig, path: Path, **metadata: str) -> Store:
    return Store(rig, rig.open(TYPE, {"connectionString": str(path), **metadata}))


def closed(rig: Rig, store: StateStore) -> None:
    rig.run(store.aclose())


def rows(path: Path, query: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(path)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def modes(path: Path) -> dict[str, int]:
    """Of the file and what stands beside it."""
    return {each.name: stat.S_IMODE(each.stat().st_mode) for each in path.parent.glob(f"{path.name}*")}


def change(path: Path, statement: str, *parameters: object) -> None:
    connection = sqlite3.connect(path)
    try:
        with connection:
            connection.execute(statement, parameters)
    finally:
        connection.close()


def daprd_file(path: Path) -> None:
    connection = sqlite3.connect(path)
    try:
        connection.executescript(DAPRD_SCHEMA)
        with connection:
            connection.execute(INSERT, ("app||json", '{"a":1}', False, ETAG, None))
            connection.execute(INSERT, ("app||bytes", b64encode(b"\x00\xff1").decode(), True, ETAG, START + 10))
            connection.execute(INSERT, ("two||old", '"x"', False, ETAG, START - 1))
    finally:
        connection.close()


def test_a_file_of_daprd_opens_and_works(rig: Rig, path: Path) -> None:
    """Items saved by daprd over HTTP (text) and gRPC (base64) are read with etag and expiry, counted, rewritten."""
    daprd_file(path)
    store = opened(rig, path)
    assert rig.listing() == count({"app||json": b'{"a":1}', "app||bytes": b"\x00\xff1", "two||old": b'"x"'})
    assert store.value("app||json") == b'{"a":1}'
    item = store.get("app||bytes")
    assert item is not None
    assert (item.value, item.etag, item.expires_at) == (b"\x00\xff1", ETAG, START + 10)
    assert store.get("two||old") is None
    store.set("app||json", b"2", etag=ETAG)
    assert store.value("app||json") == b"2"


def test_daprd_finds_its_schema_in_our_file(rig: Rig, path: Path) -> None:
    """Columns, migration level and encodings are those daprd reads: text as it is, binary in base64 and marked."""
    store = opened(rig, path)
    store.set("app||text", b'{"a":"\xc3\xa9"}', ttl=60)
    store.set("app||bytes", b"\xff\x00")
    closed(rig, store.inner)
    assert rows(path, "SELECT value FROM metadata WHERE key = 'migrations'") == [("1",)]
    assert rows(path, "SELECT name, type, \"notnull\", pk FROM pragma_table_info('state')") == [
        ("key", "TEXT", 1, 1),
        ("value", "TEXT", 1, 0),
        ("is_binary", "BOOLEAN", 1, 0),
        ("etag", "TEXT", 1, 0),
        ("expiration_time", "TIMESTAMP", 0, 0),
        ("update_time", "TIMESTAMP", 1, 0),
    ]
    found = rows(path, "SELECT key, value, typeof(value), is_binary, expiration_time FROM state ORDER BY key")
    assert found == [
        ("app||bytes", b64encode(b"\xff\x00").decode(), "text", 1, None),
        ("app||text", '{"a":"\u00e9"}', "text", 0, "2023-11-14 22:14:20"),
    ]


def test_other_table_names(rig: Rig, path: Path) -> None:
    """Two components may keep two tables in files of one schema; names that are no identifiers are refused."""
    store = opened(rig, path, tableName="items", metadataTableName="meta")
    store.set("app||key", b"1")
    assert rows(path, "SELECT key FROM items") == [("app||key",)]
    with pytest.raises(ConfigError, match="tableName: found 'a b', allowed: letters, digits and _"):
        opened(rig, path.with_name("y.db"), tableName="a b")


def test_items_and_counts_are_there_after_a_restart(rig: Rig, path: Path) -> None:
    """What was saved is read by the next process, and its owner's counts are as they were."""
    store = opened(rig, path)
    store.set("app||key", b"1")
    etag = store.etag("app||key")
    before = rig.listing()
    closed(rig, store.inner)
    rig.forget_books()
    again = opened(rig, path)
    assert rig.listing() == before
    assert again.etag("app||key") == etag


def test_without_a_connection_string_the_file_is_named_after_the_component(rig: Rig) -> None:
    """The daemon's own store needs no metadata: its file stands in the state directory, which is made."""
    store = rig.open(TYPE, name="a/b")
    rig.run(store.aclose())
    assert (rig.state_dir / "a%2Fb.db").exists()


@pytest.mark.parametrize(
    "form", ["{}", "file:{}", "file://{}", "file:{}?mode=rwc&cache=private", "{}?_txlock=immediate"]
)
def test_forms_of_a_connection_string(rig: Rig, path: Path, form: str) -> None:
    """A path, a file: URI and options, as Dapr's documentation has them, lead to the same file."""
    rig.run(rig.open(TYPE, {"ConnectionString": form.format(path)}).aclose())
    assert path.exists()


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"timeout": "soon"}, "timeout: found 'soon', allowed: a duration"),
        ({"timeout": "500ms"}, "timeout: found '0.5s', allowed: 1s or more"),
        ({"busyTimeout": "1x"}, "busyTimeout: found '1x'"),
        ({"disableWAL": "maybe"}, "disableWAL: found 'maybe', allowed: true or false"),
        ({"cacheSize": "-1"}, "cacheSize: found '-1', allowed: a number of bytes"),
        ({"connectionString": "file:x?mode=ro"}, "connectionString: found 'file:x[?]mode=ro'"),
        ({"connectionString": "file:x?_pragma=busy_timeout(1)"}, "the field busyTimeout"),
        ({"connectionString": "file:x?_pragma=a;b"}, "_pragma=name[(]value[)]"),
    ],
)
def test_a_wrong_field_is_named(rig: Rig, metadata: dict[str, str], message: str) -> None:
    """A value that cannot be is refused with field, what was found and what is allowed."""
    with pytest.raises(ConfigError, match=message):
        rig.open(TYPE, metadata)


@pytest.mark.parametrize("disable_wal", ["false", "true"])
def test_what_is_made_only_its_owner_may_read(rig: Rig, path: Path, disable_wal: str) -> None:
    """Whatever the umask: the file and all that SQLite and the journal put beside it."""
    umask = os.umask(0)
    try:
        store = opened(rig, path, disableWAL=disable_wal, journal="always")
        store.set("app||key", b"1")
        beside = modes(path)
    finally:
        os.umask(umask)
    wal = {"x.db-wal", "x.db-shm", "x.db.noded-journal"}
    assert set(beside) == {"x.db", "x.db.noded-lock"} | (wal if disable_wal == "false" else set())
    assert set(beside.values()) == {0o600}


def test_a_file_that_was_there_keeps_its_mode(rig: Rig, path: Path) -> None:
    """Who opened it to a group, for a backup's sake say, meant it; what SQLite puts beside it is open to them, too."""
    path.touch()
    path.chmod(0o640)
    store = opened(rig, path)
    store.set("app||key", b"1")
    assert {name: modes(path)[name] for name in ("x.db", "x.db-wal", "x.db-shm")} == dict.fromkeys(
        ("x.db", "x.db-wal", "x.db-shm"), 0o640
    )


def test_unknown_fields_are_ignored_and_durations_may_be_seconds(rig: Rig, path: Path) -> None:
    """As in Dapr: a field nobody knows is no error, and names are matched without case."""
    store = opened(rig, path, TIMEOUTinSeconds="5", keyPrefix="name", actorStateStore="true")
    store.set("app||key", b"1")


@pytest.mark.parametrize("damage", [b"this is no database at all" * 100, b"SQLite format 3\x00" + b"\xff" * 5000])
def test_a_damaged_file_is_named(rig: Rig, path: Path, damage: bytes) -> None:
    """A file that is no database is refused with its name and a remedy, is left as it is, and is not kept locked."""
    path.write_bytes(damage)
    for _ in range(2):
        with pytest.raises(Unavailable, match=f"cannot open {path}.*restore it from a backup"):
            opened(rig, path)
    assert path.read_bytes() == damage


def test_a_schema_of_the_future_is_refused(rig: Rig, path: Path) -> None:
    """A migration level we do not know is not written to."""
    daprd_file(path)
    change(path, "UPDATE metadata SET value = '2' WHERE key = 'migrations'")
    with pytest.raises(ConfigError, match="schema version '2'"):
        opened(rig, path)


def test_a_directory_that_cannot_be_written_is_named(rig: Rig, path: Path) -> None:
    """Where no file can be made the directory is named, with what to do."""
    path.write_bytes(b"")
    with pytest.raises(Unavailable, match=f"cannot write in {path} .*connectionString"):
        opened(rig, path / "x.db")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_directory_is_named(rig: Rig, tmp_path: Path) -> None:
    """The same for one without permission."""
    directory = tmp_path / "locked"
    directory.mkdir(mode=0o500)
    with pytest.raises(Unavailable, match=f"cannot write in {directory}"):
        opened(rig, directory / "x.db")


def test_what_another_process_writes_is_seen(rig: Rig, path: Path) -> None:
    """A change by a daprd on the same file is read within a second or two, and the counts are put right."""
    store = opened(rig, path)
    store.set("app||key", b"1")
    assert store.value("app||key") == b"1"
    change(path, "UPDATE state SET value = '\"changed\"', etag = ? WHERE key = 'app||key'", ETAG)
    change(path, INSERT, "two||new", "12", False, ETAG, None)
    rig.advance(1)
    rig.until(lambda: store.value("app||key") == b'"changed"')
    rig.until(lambda: rig.listing() == count({"app||key": b'"changed"', "two||new": b"12"}))
    closed(rig, store.inner)
    assert sorted(rows(path, "SELECT owner, keys FROM state_totals")) == [("app", 1), ("two", 1)]


def test_a_write_never_undoes_another_process_s(rig: Rig, path: Path) -> None:
    """An etag is compared with the file, not with what was cached of it: a stale one is refused at once."""
    store = opened(rig, path)
    store.set("app||key", b"1")
    etag = store.etag("app||key")
    change(path, "UPDATE state SET value = '2', etag = ? WHERE key = 'app||key'", ETAG)
    outcomes = rig.outcomes([store.inner.transact([write("app||key", b"3", etag=etag)])])
    assert type(outcomes[0]).__name__ == "EtagMismatch"
    assert rows(path, "SELECT value FROM state") == [("2",)]
    rig.until(lambda: store.value("app||key") == b"2")


def test_changes_while_nobody_ran_are_counted(rig: Rig, path: Path) -> None:
    """If another process wrote between two runs the stored totals are corrected after the start."""
    closed(rig, opened(rig, path).inner)
    change(path, INSERT, "two||new", "12", False, ETAG, None)
    rig.forget_books()
    opened(rig, path)
    rig.until(lambda: rig.listing() == count({"two||new": b"12"}))


def test_a_recount_is_exact_under_writes(rig: Rig, path: Path) -> None:
    """Totals that are wrong in the file are put right while items come and go."""
    store = opened(rig, path)
    items = {f"app||{number:04}": b"1" for number in range(3000)}
    store.set_many(*(write(key, value) for key, value in items.items()))
    closed(rig, store.inner)
    change(path, "UPDATE state_totals SET keys = 7, bytes = 7")
    rig.forget_books()
    store = opened(rig, path)
    for number in range(0, 3000, 100):
        store.set(f"app||{number:04}", b"longer")
        store.delete(f"app||{number + 1:04}")
        items[f"app||{number:04}"] = b"longer"
        del items[f"app||{number + 1:04}"]
    rig.until(lambda: rig.listing() == count(items))


def test_a_close_before_the_recount_ended_is_not_trusted(rig: Rig, path: Path) -> None:
    """Totals that nobody could check yet are checked by the next run."""
    closed(rig, opened(rig, path).inner)
    connection = sqlite3.connect(path)
    with connection:
        rows_to_count = [(f"app||{number:05}", "1", False, ETAG, None) for number in range(20_000)]
        connection.executemany(INSERT, rows_to_count)
    connection.close()
    closed(rig, opened(rig, path).inner)
    rig.forget_books()
    opened(rig, path)
    rig.until(lambda: rig.listing() == {"app": (20_000, 20_000 * len("app||00000" + "1"))})


def test_a_copy_of_a_file_whose_log_is_still_empty_opens(rig: Rig, path: Path, tmp_path: Path) -> None:
    """The log has its full size from the start; what no commit has filled is nothing to SQLite."""
    closed(rig, opened(rig, path).inner)
    copy = tmp_path / "copy.db"
    copy.write_bytes(path.read_bytes())
    store = opened(rig, path)
    log = Path(f"{path}-wal").read_bytes()
    Path(f"{copy}-wal").write_bytes(log)
    full = len(log)
    store.set("a||k", b"1")

    assert not any(log)
    assert full >= 1000 * 4096
    assert Path(f"{path}-wal").stat().st_size == full
    assert rows(copy, "SELECT count(*) FROM state") == [(0,)]
    assert rows(path, "SELECT value FROM state") == [("1",)]


def test_an_overwrite_keeps_its_row(rig: Rig, path: Path) -> None:
    """Then the index of the keys need not be written: only the time, the etag and the value change."""
    store = opened(rig, path)
    store.set("a||k", b"1")
    store.set("a||other", b"1")
    before = rows(path, "SELECT rowid, etag FROM state WHERE key = 'a||k'")
    store.set("a||k", b"22")
    store.set("a||k", b"33")
    after = rows(path, "SELECT rowid, etag FROM state WHERE key = 'a||k'")

    assert [row for row, _ in before] == [row for row, _ in after]
    assert before != after
    assert rows(path, "SELECT value FROM state WHERE key = 'a||k'") == [("33",)]
