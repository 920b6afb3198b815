"""Start a real daemon for a test: `noded serve` as a process of its own, on directories of its own, and its end."""

import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

START_SECONDS = 20.0
STOP_SECONDS = 15.0


@dataclass(frozen=True)
class Daemon:
    """A daemon that runs."""

    process: subprocess.Popen[bytes]
    root: Path
    """Its own: `run`, `state`, `resources` and the file `log` stand in it."""

    @property
    def run_dir(self) -> Path:
        return self.root / "run"

    @property
    def state_dir(self) -> Path:
        return self.root / "state"

    @property
    def admin_socket(self) -> Path:
        return self.run_dir / "admin.socket"

    def app_dir(self, app_id: str, namespace: str = "default") -> Path:
        return self.run_dir / "apps" / namespace / app_id

    def http_socket(self, app_id: str, namespace: str = "default") -> Path:
        return self.app_dir(app_id, namespace) / f"dapr-{app_id}-http.socket"

    def grpc_socket(self, app_id: str, namespace: str = "default") -> Path:
        return self.app_dir(app_id, namespace) / f"dapr-{app_id}-grpc.socket"

    def log(self) -> str:
        return (self.root / "log").read_text(errors="replace")

    def stop(self) -> int:
        """Drain and end it as systemd would; its exit status."""
        self.process.terminate()
        return self.process.wait(STOP_SECONDS)


@contextmanager
def running_daemon(resources: Mapping[str, str], apps: Mapping[str, str] | None = None) -> Iterator[Daemon]:
    """Run the daemon over `resources` ({file name: YAML}) until the block ends.

    apps: {app id: namespace} whose sockets are waited for. "@STATE_DIR@" in a resource becomes the state directory.
    The directories are short-named, because a socket's path must fit in 107 bytes.
    """
    root = Path(tempfile.mkdtemp(prefix="noded-"))
    daemon = Daemon(start(root, resources), root)
    try:
        for app_id, namespace in (apps or {}).items():
            wait_for_socket(daemon.process, daemon.http_socket(app_id, namespace), daemon.log)
            wait_for_socket(daemon.process, daemon.grpc_socket(app_id, namespace), daemon.log)
        yield daemon
    finally:
        end(daemon.process)
        shutil.rmtree(root)


def start(root: Path, resources: Mapping[str, str], *flags: str | Path) -> subprocess.Popen[bytes]:
    """Start `noded serve` on the directories of `root`, which may be those of a daemon that ended."""
    for name in ("run", "state", "resources"):
        (root / name).mkdir(exist_ok=True)
    write_resources(root, resources)
    command = [sys.executable, "-m", "noded.cli", "serve", "--resources-path", str(root / "resources")]
    command += ["--run-dir", str(root / "run"), "--state-dir", str(root / "state"), *map(str, flags)]
    with (root / "log").open("ab") as log:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def write_resources(root: Path, resources: Mapping[str, str]) -> None:
    for name, text in resources.items():
        (root / "resources" / name).write_text(text.replace("@STATE_DIR@", str(root / "state")))


def wait_for_socket(process: subprocess.Popen[bytes], path: Path, log: Callable[[], str]) -> None:
    """Return once something accepts at `path`. Raises RuntimeError with the log if the process ends or time does."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        if accepts(path):
            return
        time.sleep(0.02)
    raise RuntimeError(f"nobody listens at {path}; exit status {process.poll()}; log:\n{log()}")


def accepts(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client, suppress(FileNotFoundError, ConnectionRefusedError):
        client.connect(str(path))
        return True
    return False


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process, politely and then not."""
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
