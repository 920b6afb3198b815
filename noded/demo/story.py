"""The demo's steps. Each runs commands one could type, and fails where they do not show what it says."""

import importlib.util
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from noded.demo.node_app import APPS, javascript_app
from noded.demo.stage import DemoError, Stage, free_port, progress, show

ORDER = '{"item": "tea", "amount": 2}'
LIMIT = "requestsPerSecond=20"


def tell(*, python_only: bool) -> int:
    """Run the demo; gives the exit code."""
    if importlib.util.find_spec("dapr") is None:
        print("noded demo: its apps use the official Python SDK: pip install dapr", file=sys.stderr)
        return 1
    start = time.monotonic()
    mailer, extra = _mailer(python_only=python_only)
    stage = Stage()
    demo = Demo(stage, mailer, extra)
    try:
        for number, (title, step) in enumerate(demo.steps(), 1):
            print(f"\n{number}. {title}", flush=True)
            step()
    except (DemoError, subprocess.TimeoutExpired) as error:
        print(f"\nnoded demo: FAILED: {error}\n{stage.tail('daemon.log')}\n{stage.tail('mailer.log')}", file=sys.stderr)
        return 1
    finally:
        stage.close()
    print(f"\nEvery step held; {time.monotonic() - start:.0f} s.")
    return 0


def _mailer(*, python_only: bool) -> tuple[list[str], Mapping[str, str]]:
    """The second app's command: in JavaScript where it can be, else in Python again, and says so."""
    if not python_only:
        try:
            command, extra = javascript_app()
        except DemoError as error:
            print(f"{error}: the second app is in Python too")
        else:
            print("Two apps on one daemon: orders in Python, mailer in JavaScript, each by its official Dapr SDK.")
            return command, extra
    print("Two apps on one daemon: orders in Python by the official Dapr SDK, mailer in plain Python.")
    return [sys.executable, str(APPS / "mailer.py")], {"PYTHONUNBUFFERED": "1"}


@dataclass
class Demo:
    """The steps, in order, over one stage."""

    stage: Stage
    mailer_command: list[str]
    mailer_environment: Mapping[str, str]
    _running: list[subprocess.Popen[str]] = field(default_factory=list)

    def steps(self) -> list[tuple[str, Callable[[], None]]]:
        """Titles and what to do."""
        return [
            ("One daemon, no configuration: a SQLite state store and a broker are there", self.start),
            ("State is durable: saved, the daemon killed with -9 and started again, read back", self.state),
            ("An event: published by orders, handled by mailer", self.event),
            ("A call: orders calls mailer by its app id", self.invocation),
            (f"A quota: orders may do {LIMIT.replace('=', ' ')}", self.refusal),
            ("A clean end", self.end),
        ]

    def start(self) -> None:
        """Start the daemon, and an app that stays."""
        self.stage.start_daemon()
        port = free_port()
        arguments = ["run", "--run-dir", str(self.stage.run_dir), "--app-id", "mailer", "--app-port", str(port), "--"]
        mailer = self.stage.start([*arguments, *self.mailer_command], "mailer.log", self.mailer_environment)
        self._running.append(mailer)
        self.stage.await_line("mailer.log", "mailer: listens", mailer)
        self._await_mailer()
        self.stage.output(["apps", "--run-dir", str(self.stage.run_dir)])

    def state(self) -> None:
        """Save, kill, start, read."""
        self._orders("save", ORDER)
        print("   (kill -9 of the daemon)")
        self.stage.kill_daemon()
        self.stage.start_daemon()
        self._orders("read", ORDER)

    def event(self) -> None:
        """Publish; the mailer, attached again by itself, handles it."""
        self._await_mailer()
        self._orders("publish", "published")
        show(self.stage.await_line("mailer.log", "handled the event", self._running[0]))

    def invocation(self) -> None:
        """Call."""
        self._orders("call", "hello orders")

    def refusal(self) -> None:
        """Ask for more than the limit, and look at the usage while the app is still attached."""
        hurry = self.stage.start(self._run_orders("hurry", "--limit", LIMIT), "orders.log")
        show(self.stage.await_line("orders.log", "429, Retry-After: ", hurry))
        show(self.stage.await_line("orders.log", "ERR_QUOTA_EXCEEDED", hurry))
        self.stage.output(["usage", "--run-dir", str(self.stage.run_dir)])
        hurry.communicate("\n", timeout=10.0)
        if hurry.returncode:
            raise DemoError(f"orders ended with {hurry.returncode}; {self.stage.tail('orders.log')}")

    def end(self) -> None:
        """Stop the mailer, then the daemon."""
        code = self.stage.stop(self._running[0])
        progress("waiting for the mailer to be detached", lambda: self.stage.app("mailer") is None)
        print(f"   mailer ended with {code} and is detached")
        code = self.stage.stop_daemon()
        print(f"   the daemon ended with {code}")
        left = sorted(str(path) for path in self.stage.run_dir.rglob("*.socket"))
        if code or left:
            raise DemoError(f"exit code {code}, left behind: {left}")

    def _orders(self, act: str, expected: str) -> None:
        if expected not in self.stage.output(self._run_orders(act)):
            raise DemoError(f"orders {act} did not show {expected!r}")

    def _run_orders(self, act: str, *flags: str) -> list[str]:
        script = str(Path(APPS, "orders.py"))
        return ["run", "--run-dir", str(self.stage.run_dir), "--app-id", "orders", *flags, "--",
                sys.executable, script, act]  # fmt: skip

    def _await_mailer(self) -> None:
        def subscribed() -> bool:
            mailer = self.stage.app("mailer")
            return bool(mailer and mailer["ready"] and mailer["subscriptions"])

        progress("waiting for the mailer's subscription", subscribed)
