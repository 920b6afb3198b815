"""What the demo stands on: real processes in a temporary directory, their output, and waiting that shows."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from noded.admin.client import OperatorClient
from noded.commands.failures import OperatorError

WAIT_SECONDS = 30.0
LOG_LINES = 15


class DemoError(RuntimeError):
    """A step did not show what it should."""


def progress(what: str, done: Callable[[], bool], seconds: float = WAIT_SECONDS) -> None:
    """Wait until something is so, with a dot for each second. Raises DemoError after `seconds`."""
    start = time.monotonic()
    dots = 0
    try:
        while not done():
            waited = time.monotonic() - start
            if waited > seconds:
                raise DemoError(f"{what}: not within {seconds:g} s")
            if waited > dots + 1:
                print("." if dots else f"   {what} ", end="", flush=True)
                dots += 1
            time.sleep(0.02)
    finally:
        if dots:
            print()


class Stage:
    """One daemon's directories and everything started over them."""

    def __init__(self) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="noded-")
        self.root = Path(self._directory.name)
        self.run_dir = self.root / "run"
        self.client = OperatorClient(self.run_dir)
        self._started: list[subprocess.Popen[str]] = []
        self._daemon: subprocess.Popen[str] | None = None

    def start_daemon(self) -> None:
        """Start `noded serve` and wait until apps can be attached."""
        command = ("serve", "--run-dir", str(self.run_dir), "--state-dir", str(self.root / "state"))
        self._daemon = self.start(command, "daemon.log")
        progress("waiting for the daemon", self._answers)

    def kill_daemon(self) -> None:
        """End it as a power failure would."""
        assert self._daemon is not None
        self._daemon.kill()
        self._daemon.wait()

    def stop_daemon(self) -> int:
        """End it as systemd would; gives its exit code."""
        assert self._daemon is not None
        return self.stop(self._daemon)

    def start(
        self, arguments: Sequence[str], log: str, extra: Mapping[str, str] | None = None
    ) -> subprocess.Popen[str]:
        """Start a noded command; its output goes to a file."""
        print(f"   $ {told(arguments)}")
        with (self.root / log).open("a") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "noded.cli", *arguments],
                stdin=subprocess.PIPE, stdout=output, stderr=output, text=True, env={**os.environ, **(extra or {})},
            )  # fmt: skip
        self._started.append(process)
        return process

    def output(self, arguments: Sequence[str]) -> str:
        """Run a noded command to its end and show what it printed. Raises DemoError where it failed."""
        print(f"   $ {told(arguments)}")
        done = subprocess.run(
            [sys.executable, "-m", "noded.cli", *arguments],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=WAIT_SECONDS, check=False,
        )  # fmt: skip
        show(done.stdout)
        if done.returncode:
            raise DemoError(f"exit code {done.returncode}: {done.stderr.strip()[-2000:]}")
        return done.stdout

    def await_line(self, log: str, text: str, process: subprocess.Popen[str]) -> str:
        """Wait for a line with `text` in a process's output. Raises DemoError where it ends before."""

        def found() -> bool:
            if self._line(log, text) is None and process.poll() is not None:
                raise DemoError(f"a process ended with {process.returncode}; {self.tail(log)}")
            return self._line(log, text) is not None

        progress(f"waiting for {text!r}", found)
        return self._line(log, text) or ""

    def stop(self, process: subprocess.Popen[str]) -> int:
        """Ask a process to end; gives its exit code. Raises DemoError where it does not."""
        process.send_signal(signal.SIGTERM)
        progress("waiting for the end", lambda: process.poll() is not None)
        return process.returncode

    def close(self) -> None:
        """End what still runs, and remove the directory."""
        for process in reversed(self._started):
            process.terminate()
            try:
                process.wait(5.0)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdin is not None:
                process.stdin.close()
        self._directory.cleanup()

    def app(self, app_id: str) -> Any:
        """What the daemon says of an app; None where it is not attached."""
        try:
            return next((each for each in self.client.get("/v1/apps") if each["appId"] == app_id), None)
        except OperatorError:
            return None

    def tail(self, log: str) -> str:
        """The end of an output."""
        path = self.root / log
        lines = path.read_text().splitlines()[-LOG_LINES:] if path.exists() else []
        return "\n".join([f"end of {log}:", *lines])

    def _line(self, log: str, text: str) -> str | None:
        return next((line for line in (self.root / log).read_text().splitlines() if text in line), None)

    def _answers(self) -> bool:
        if self._daemon is not None and self._daemon.poll() is not None:
            raise DemoError(f"the daemon ended with {self._daemon.returncode}; {self.tail('daemon.log')}")
        try:
            self.client.get("/v1/apps")
        except OperatorError:
            return False
        return True


def show(text: str) -> None:
    """Print a command's output below it."""
    for line in text.splitlines():
        print(f"   | {line}")


def told(arguments: Sequence[str]) -> str:
    """A command as one would type it."""
    return " ".join(["noded", *(Path(each).name if each.startswith(sys.prefix) else each for each in arguments)])


def free_port() -> int:
    """A port of 127.0.0.1 that nothing listens at."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
