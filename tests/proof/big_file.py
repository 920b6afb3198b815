"""How soon a daemon answers on a large file that it was killed on: `python -m tests.proof.big_file --mebibytes 1024`.

The file is filled from outside, in the tables as the daemon made them; then a daemon writes to it and is killed, so
that the next one must take over an open log and cannot trust that nobody wrote since.
"""

import argparse
import json
import sqlite3
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

from tests.daemon.server_clients import SQLITE, app, http, resources
from tests.proof.node import Place, counts_of_file, used_stored

VALUE_BYTES = 4000
APP = {"a": "default"}


def fill(path: Path, size_bytes: int) -> int:
    """Add items until the file has that size; returns how many. Totals are kept right, as a daemon keeps them."""
    value = json.dumps("x" * (VALUE_BYTES - 2))
    items = size_bytes // 4096
    with closing(sqlite3.connect(path)) as connection, connection:
        rows = ((f"default.a||{number:09d}", value) for number in range(items))
        connection.executemany("INSERT INTO state (key, value, is_binary, etag) VALUES (?, ?, 0, 'e')", rows)
        counted = (items, items * (VALUE_BYTES + len("default.a||") + 9))
        connection.execute("INSERT INTO state_totals (owner, keys, bytes) VALUES ('default.a', ?, ?)", counted)
    return items


def killed_on(root: Path, size_bytes: int) -> tuple[Place, int]:
    """A place whose daemon was killed on a file of that size; and the items in it."""
    here = Place(root, resources(SQLITE, app("a")), APP)
    here.start().stop()
    items = fill(root / "state" / "state.db", size_bytes)
    daemon = here.start()
    with http(daemon, "a") as client:
        assert client("POST", "/v1.0/state/statestore", [{"key": "k", "value": "v"}]).status == 204
    daemon.process.kill()
    daemon.process.wait()
    return here, items + 1


def main() -> int:
    """Run by hand."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mebibytes", type=int, default=1024)
    parser.add_argument("--starts", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="noded-") as root:
        here, items = killed_on(Path(root), options.mebibytes << 20)
        path = here.root / "state" / "state.db"
        for _ in range(options.starts):
            began = time.monotonic()
            daemon = here.start()
            with http(daemon, "a") as client:
                found = client("GET", "/v1.0/state/statestore/000000007").status
            ready = time.monotonic() - began
            told = used_stored(daemon, "default/a")
            daemon.process.kill()
            daemon.process.wait()
            size = path.stat().st_size >> 20
            print(f"{size} MiB, {items} items, killed before: first answer ({found}) after {ready:.2f} s, told {told}")  # noqa: T201
        counted = counts_of_file(path)["default.a"]
        print(f"a count of the file: {counted}")  # noqa: T201
    return 0 if counted == told else 1


if __name__ == "__main__":
    sys.exit(main())
