"""The SQL of state.sqlite.

    state            key TEXT PK, value TEXT, is_binary, etag, expiration_time, update_time      daprd's, as it makes it
    metadata         key, value: 'migrations' = '1'                                              daprd's
    state_totals     owner PK, keys, bytes: what each owner's items come to                      noded's own
    state_expiration partial index on expiration_time                                            noded's own
    metadata         'noded-epoch' = the last epoch of the journal that is in the file           noded's own row

daprd takes no notice of what is noded's own. Values that are UTF-8 without NUL stand as text, others in base64 with
is_binary, which reads back alike in both.
Source of the schema: components-contrib state/sqlite/sqlite_migrations.go.
"""

# ruff: noqa: S608 - the only names put in are table names, which settings.py limits to letters, digits and _

from collections.abc import Sequence
from dataclasses import dataclass

_OVERWRITE_TEXTS = 2
CHANGED = "noded: another process changed the item"

_VALUE_BYTES = """CASE WHEN s.is_binary
    THEN length(s.value) / 4 * 3 - (length(s.value) - length(rtrim(s.value, '=')))
    ELSE length(CAST(s.value AS BLOB)) END"""
_EXPIRES = "CAST(strftime('%s', s.expiration_time) AS INTEGER)"


@dataclass(frozen=True, slots=True)
class Statements:
    """Each statement, for one pair of table names. Names are identifiers: settings.py saw to that."""

    table: str
    metadata_table: str

    @property
    def schema(self) -> tuple[str, ...]:
        """Make what is not there yet, inside one transaction."""
        return (
            f"CREATE TABLE IF NOT EXISTS {self.metadata_table} (key text NOT NULL PRIMARY KEY, value text NOT NULL)",
            f"""CREATE TABLE IF NOT EXISTS {self.table} (
                key TEXT NOT NULL PRIMARY KEY,
                value TEXT NOT NULL,
                is_binary BOOLEAN NOT NULL,
                etag TEXT NOT NULL,
                expiration_time TIMESTAMP DEFAULT NULL,
                update_time TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP
            )""",
            f"INSERT OR IGNORE INTO {self.metadata_table} (key, value) VALUES ('migrations', '1')",
            f"""CREATE INDEX IF NOT EXISTS {self.table}_expiration ON {self.table} (expiration_time)
                WHERE expiration_time IS NOT NULL""",
        )

    @property
    def migration_level(self) -> str:
        """Daprd's schema version; no row in a file that has none."""
        return f"SELECT value FROM {self.metadata_table} WHERE key = 'migrations'"

    @property
    def epoch(self) -> str:
        """The last epoch of the journal that is in the file; no row before the first."""
        return f"SELECT CAST(value AS INTEGER) FROM {self.metadata_table} WHERE key = 'noded-epoch'"

    def changing(self, texts: Sequence[str]) -> str:
        """What does a group of these texts."""
        return self.overwrite if len(texts) == _OVERWRITE_TEXTS else self.apply

    @property
    def write_epoch(self) -> str:
        """Say that this epoch is in the file now."""
        return f"""INSERT INTO {self.metadata_table} (key, value) VALUES ('noded-epoch', ?)
            ON CONFLICT (key) DO UPDATE SET value = excluded.value"""

    @property
    def make_totals(self) -> str:
        """The table of totals."""
        return f"""CREATE TABLE {self.table}_totals (
            owner TEXT NOT NULL PRIMARY KEY, keys INTEGER NOT NULL, bytes INTEGER NOT NULL) WITHOUT ROWID"""

    @property
    def totals(self) -> str:
        """Every owner's totals."""
        return f"SELECT owner, keys, bytes FROM {self.table}_totals WHERE keys <> 0 OR bytes <> 0"

    @property
    def clear_totals(self) -> str:
        """Forget all totals, before they are written anew."""
        return f"DELETE FROM {self.table}_totals"

    @property
    def write_totals(self) -> str:
        """Write totals: (owner, keys, bytes)."""
        return f"INSERT INTO {self.table}_totals (owner, keys, bytes) VALUES (?, ?, ?)"

    @property
    def count(self) -> str:
        """Count a slice of the items after a key: (last key, [[owner, keys, bytes], ...]) for at most so many rows."""
        return f"""SELECT max(last), json_group_array(json_array(owner, keys, bytes)) FROM (
            SELECT max(key) AS last, owner, count(*) AS keys, sum(bytes) AS bytes FROM (
                SELECT s.key AS key, CASE instr(s.key, '||') WHEN 0 THEN ''
                    ELSE substr(s.key, 1, instr(s.key, '||') - 1) END AS owner,
                    length(CAST(s.key AS BLOB)) + {_VALUE_BYTES} AS bytes
                FROM {self.table} s WHERE s.key > ? ORDER BY s.key LIMIT ?
            ) GROUP BY owner
        )"""

    @property
    def versions(self) -> str:
        """What a JSON array of keys holds: one row, [[key, etag, expires_at, value_bytes], ...]."""
        return f"""SELECT json_group_array(json_array(s.key, s.etag, {_EXPIRES}, {_VALUE_BYTES}))
            FROM json_each(?) AS asked CROSS JOIN {self.table} s ON s.key = asked.value"""

    @property
    def expired(self) -> str:
        """The same for items expired at a Unix time, at most so many."""
        return f"""SELECT json_group_array(json_array(s.key, s.etag, {_EXPIRES}, {_VALUE_BYTES})) FROM (
            SELECT * FROM {self.table} WHERE expiration_time <= datetime(?, 'unixepoch') LIMIT ?) AS s"""

    @property
    def items(self) -> str:
        """The items of a JSON array of keys: one row, [[key, value, is_binary, etag, expires_at], ...].

        A value longer than the first parameter is null.
        """
        return f"""SELECT json_group_array(json_array(s.key,
                CASE WHEN length(s.value) <= ? THEN CAST(s.value AS TEXT) END, s.is_binary <> 0, s.etag, {_EXPIRES}))
            FROM json_each(?) AS asked CROSS JOIN {self.table} s ON s.key = asked.value"""

    @property
    def item(self) -> str:
        """One item: value as bytes, is_binary, etag, expires_at."""
        return f"""SELECT CAST(s.value AS BLOB), s.is_binary <> 0, s.etag, {_EXPIRES}
            FROM {self.table} s WHERE s.key = ?"""

    @property
    def prepare(self) -> tuple[str, ...]:
        """Make `apply` possible on a connection.

        Temporary views whose triggers do everything: so a whole group is one statement, its own transaction, and the
        writer gives the GIL away once for it. Raises CHANGED when an item is not what the writer took it for.
        A new version is one string (see `group.encode`): its cut is cheaper than json_extract. An overwrite keeps its
        row, so the index of the keys stays as it is: one page to log and sync.
        """
        check = f"""SELECT RAISE(ABORT, '{CHANGED}') WHERE EXISTS (
                    SELECT 1 FROM json_each(NEW.expected) AS e LEFT JOIN {self.table} s ON s.key = e.key
                    WHERE s.etag IS NOT e.value);"""
        write = f"""INSERT INTO {self.table} (key, etag, is_binary, expiration_time, value)
                    SELECT key, substr(value, 1, 36), substr(value, 37, 1) = '1',
                        datetime(nullif(CAST(substr(value, 38, 12) AS INTEGER), 0), 'unixepoch'), substr(value, 50)
                    FROM json_each(NEW.written) WHERE true
                    ON CONFLICT (key) DO UPDATE SET etag = excluded.etag, is_binary = excluded.is_binary,
                        expiration_time = excluded.expiration_time, value = excluded.value,
                        update_time = CURRENT_TIMESTAMP;"""
        return (
            "CREATE TEMP VIEW noded_overwrites (expected, written) AS SELECT '', ''",
            f"""CREATE TEMP TRIGGER noded_overwrite INSTEAD OF INSERT ON noded_overwrites BEGIN
                {check}
                {write}
            END""",
            "CREATE TEMP VIEW noded_group (expected, written, deleted, totals) AS SELECT '', '', '', ''",
            f"""CREATE TEMP TRIGGER noded_apply INSTEAD OF INSERT ON noded_group BEGIN
                {check}
                DELETE FROM {self.table} WHERE key IN (SELECT value FROM json_each(NEW.deleted));
                {write}
                INSERT INTO {self.table}_totals (owner, keys, bytes)
                    SELECT key, json_extract(value, '$[0]'), json_extract(value, '$[1]')
                    FROM json_each(NEW.totals) WHERE true
                    ON CONFLICT (owner) DO UPDATE SET keys = keys + excluded.keys, bytes = bytes + excluded.bytes;
            END""",
        )

    @property
    def overwrite(self) -> str:
        """Do a group that changes no totals: {key: expected etag}, {key: version}."""
        return "INSERT INTO noded_overwrites VALUES (?, ?)"

    @property
    def apply(self) -> str:
        """Do a whole group: {key: expected etag}, {key: version}, [deleted keys], {owner: [keys, bytes]}."""
        return "INSERT INTO noded_group VALUES (?, ?, ?, ?)"
