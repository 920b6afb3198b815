"""A real daemon for proofs: on directories that outlive it, with flags, an environment and a runner of its own."""

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.daemon.server_clients import used
from tests.daemon_process import Daemon, end, wait_for_socket, write_resources

REPOSITORY = Path(__file__).parents[2]


@dataclass
class Place:
    """Directories of a daemon, for several lives of it."""

    root: Path
    resources: Mapping[str, str]
    apps: Mapping[str, str]
    """{app id: namespace}."""
    flags: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    runner: Sequence[str] = ()
    """What starts the interpreter: `prlimit` or `faketime`, say."""

    def launch(self) -> Daemon:
        """Start the daemon; it may not be ready yet, or never be."""
        for name in ("run", "state", "resources"):
            (self.root / name).mkdir(exist_ok=True)
        write_resources(self.root, self.resources)
        command = [*self.runner, sys.executable, "-m", "noded.cli", "serve", *self.flags]
        for name in ("resources-path", "run-dir", "state-dir"):
            command += [f"--{name}", str(self.root / name.partition("-")[0])]
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), **self.environment}
        with (self.root / "log").open("ab") as log:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)
        return Daemon(process, self.root)

    def start(self) -> Daemon:
        """Start the daemon and wait until its apps' sockets answer."""
        daemon = self.launch()
        for app_id, namespace in self.apps.items():
            wait_for_socket(daemon.process, daemon.http_socket(app_id, namespace), daemon.log)
            wait_for_socket(daemon.process, daemon.grpc_socket(app_id, namespace), daemon.log)
        return daemon

    @contextmanager
    def running(self) -> Iterator[Daemon]:
        """One life."""
        daemon = self.start()
        try:
            yield daemon
        finally:
            end(daemon.process)


@contextmanager
def place(resources: Mapping[str, str], apps: Mapping[str, str], **more: object) -> Iterator[Place]:
    """Directories with short names, because a socket's path must fit in 107 bytes; removed at the end."""
    root = Path(tempfile.mkdtemp(prefix="noded-"))
    try:
        yield Place(root, resources, apps, **more)  # type: ignore[arg-type]
    finally:
        shutil.rmtree(root)


def counts_of_file(path: Path) -> dict[str, tuple[int, int]]:
    """{owner: (keys, bytes)} by a count of every row, made from outside while a daemon may have the file."""
    counts: dict[str, tuple[int, int]] = {}
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        for key, value, is_binary in connection.execute("SELECT key, CAST(value AS BLOB), is_binary FROM state"):
            owner = key.partition("||")[0] if "||" in key else ""
            size = len(value) // 4 * 3 - value.count(b"=", -2) if is_binary else len(value)
            keys, size_bytes = counts.get(owner, (0, 0))
            counts[owner] = (keys + 1, size_bytes + len(key.encode()) + size)
    return counts


def used_stored(daemon: Daemon, subject: str) -> tuple[int, int]:
    """(keys, bytes) as the operator's side tells them for an app, a namespace, or the node."""
    usage = used(daemon, subject)
    nothing = {"used": 0.0}
    return int(usage.get("stateKeys", nothing)["used"]), int(usage.get("stateBytes", nothing)["used"])
