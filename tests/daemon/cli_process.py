"""The `noded` command as users run it: a process of its own; and plain HTTP over the sockets it speaks of."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, NamedTuple

from tests.daemon_process import Daemon

SECONDS = 20.0
APP = """
apiVersion: noded.io/v1alpha1
kind: App
metadata: {name: %s}
spec: {limits: {stateKeys: %d}}
"""


def noded(
    *arguments: str | Path, environ: Mapping[str, str] | None = None, seconds: float = SECONDS
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        command(*arguments), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds, check=False,
        env={**os.environ, **(environ or {})},
    )  # fmt: skip


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "noded.cli", *map(str, arguments)]


def asked(daemon: Daemon, page: str) -> Any:
    """What `noded <page> --json` says."""
    done = noded(page, "--json", "--run-dir", daemon.run_dir)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@contextmanager
def started(*arguments: str | Path, environ: Mapping[str, str] | None = None) -> Iterator[subprocess.Popen[str]]:
    """A command that runs until the block ends."""
    with subprocess.Popen(
        command(*arguments), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, **(environ or {})},
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.kill()


def until(what: Callable[[], Any]) -> Any:
    """Wait until it is true, and give it. Fails after SECONDS."""
    deadline = time.monotonic() + SECONDS
    while not (found := what()):
        assert time.monotonic() < deadline, what
        time.sleep(0.02)
    return found


class Reply(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


class UnixHttp(HTTPConnection):
    """HTTP/1.1 over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(SECONDS)
        self.sock.connect(str(self._path))


def http(path: Path, method: str, url: str, body: object = None) -> Reply:
    """One request over an app's socket, JSON in."""
    connection = UnixHttp(path)
    try:
        connection.request(method, url, None if body is None else json.dumps(body))
        response = connection.getresponse()
        return Reply(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
    finally:
        connection.close()


def save(path: Path, key: str, value: object = 1) -> Reply:
    return http(path, "POST", "/v1.0/state/statestore", [{"key": key, "value": value}])
