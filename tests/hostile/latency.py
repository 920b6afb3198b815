"""What an attack does to another tenant's answers, and to the daemon's memory: a quiet and an attacked time in turn."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from tests.daemon.server_clients import MEMORY, PUBSUB, app, http, operator, resources
from tests.daemon_process import Daemon
from tests.hostile.attacks import ATTACKS, bad_app_id
from tests.hostile.bad_app import GRPC, HTTP1, HTTP2, SILENT, bad_app
from tests.hostile.scene import ATTACKER, LARGE_VALUE_BYTES, NEIGHBOUR, forget_peak, memory_bytes
from tests.proof.node import place

_CHECKOUT = Path(__file__).parents[2]
_GET = b"GET /v1.0/state/memory/k HTTP/1.1\r\nhost: localhost\r\n\r\n"
_VALUE = "what the neighbour saved"
_SILENT_APP = "silent"
_AHEAD = ("sh", "-c", 'echo -20 2>/dev/null >/proc/self/autogroup; exec "$@"', "sh")
"""Ahead of other work on the machine: by nice, other sessions are not left behind (sched(7), autogroup)."""
_DAEMON_CORE, _PEERS_CORE = "0", "1"


def what_is_lacking() -> str:
    """Say what this machine lacks for it, or "" where it lacks nothing."""
    return "" if {0, 1} <= os.sched_getaffinity(0) else "needs two cores, and both"


@dataclass(frozen=True)
class Answers:
    """How long the neighbour's answers took, in microseconds."""

    p50_us: float
    p99_us: float


@dataclass(frozen=True)
class Pair:
    """Quiet, then under attack."""

    quiet: Answers
    attacked: Answers

    @property
    def p50_ratio(self) -> float:
        """How many times the quiet median."""
        return self.attacked.p50_us / self.quiet.p50_us

    @property
    def p99_ratio(self) -> float:
        """How many times the quiet 99th percentile."""
        return self.attacked.p99_us / self.quiet.p99_us


@dataclass(frozen=True)
class Row:
    """One attack, summed up."""

    title: str
    pairs: Sequence[Pair]
    grown_bytes: int
    """The peak under attack, less what was resident before."""
    keeps_bytes: int
    """What it may grow by."""
    in_one_go: bool
    """Whether the attack is something that nothing cuts."""

    @property
    def p50_ratio(self) -> float:
        """The median over the pairs."""
        return median(pair.p50_ratio for pair in self.pairs)

    @property
    def p99_ratio(self) -> float:
        """The median over the pairs."""
        return median(pair.p99_ratio for pair in self.pairs)


@dataclass(frozen=True)
class Arena:
    """A daemon to attack, on a core of its own: where the scheduler may choose, an answer takes 15 us or 75."""

    daemon: Daemon

    def row(self, name: str, pairs: int, seconds: float) -> Row:
        """Measure one attack."""
        attack = ATTACKS[name]
        before = self.settled()
        found = [self.pair(name, seconds) for _ in range(pairs)]
        grown = memory_bytes(self.daemon, "VmHWM") - before
        return Row(attack.title, found, grown, attack.keeps_bytes, attack.in_one_go)

    def settled(self) -> int:
        """Wait for the end of what an attack before this one left to be done; what is resident then, in bytes.

        An app's requests are begun in their order, so one that is answered shows that nothing was left.
        """
        with http(self.daemon, ATTACKER) as client:
            assert client("GET", "/v1.0/healthz").status == 204
        return forget_peak(self.daemon)

    def pair(self, name: str, seconds: float) -> Pair:
        """Ask quietly, then under attack."""
        quiet = self._ask(seconds)
        with self._attacked(name):
            return Pair(quiet, self._ask(seconds))

    def _ask(self, seconds: float) -> Answers:
        with tempfile.NamedTemporaryFile() as request:
            request.write(_GET)
            request.flush()
            words = ("http1", self.daemon.http_socket(NEIGHBOUR), request.name, _VALUE, f"{seconds:g}")
            probe = _beside_the_daemon((), "bench.probe", *map(str, words))
            said = subprocess.run(probe, cwd=_CHECKOUT, check=True, capture_output=True, timeout=60, text=True).stdout
        found = json.loads(said)
        assert not found["failed"], "the neighbour was answered wrongly"
        return Answers(found["p50_us"], found["p99_us"])

    @contextmanager
    def _attacked(self, name: str) -> Iterator[None]:
        sockets = (str(self.daemon.http_socket(ATTACKER)), str(self.daemon.grpc_socket(ATTACKER)))
        command = _beside_the_daemon((), "tests.hostile.attackers", name, *sockets)
        attackers = subprocess.Popen(command, cwd=_CHECKOUT, stdout=subprocess.PIPE)
        assert attackers.stdout is not None
        with attackers.stdout as said:
            try:
                assert said.readline() == b"ready\n", "the attackers ended"
                yield
                assert attackers.poll() is None, "the attackers ended"
            finally:
                attackers.kill()
                attackers.wait()


def _beside_the_daemon(ahead: Sequence[str], module: str, *words: str) -> list[str]:
    """A command on the other core, in a session of its own."""
    return ["setsid", "taskset", "-c", _PEERS_CORE, *ahead, sys.executable, "-m", module, *words]


@contextmanager
def arena() -> Iterator[Arena]:
    """A daemon with an attacker, a neighbour, and apps that answer garbage or nothing."""
    with ExitStack() as stack:
        documents: list[Mapping[str, object]] = [MEMORY, PUBSUB, app(ATTACKER), app(NEIGHBOUR)]
        says = {_SILENT_APP: SILENT}
        protocols = {_SILENT_APP: "http"}
        for protocol, kinds in (("http", HTTP1), ("h2c", HTTP2), ("grpc", GRPC)):
            for number, garbage in enumerate(kinds.values()):
                says[bad_app_id(protocol, number)] = garbage
                protocols[bad_app_id(protocol, number)] = protocol
        for name, garbage in says.items():
            port = stack.enter_context(bad_app(garbage)).port
            documents.append(app(name, channel={"protocol": protocols[name], "address": f"127.0.0.1:{port}"}))
        apps = dict.fromkeys((ATTACKER, NEIGHBOUR), "default")
        here = stack.enter_context(place(resources(*documents), apps))
        here.runner = ("setsid", "taskset", "-c", _DAEMON_CORE, *_AHEAD)
        daemon = stack.enter_context(here.running())
        operator(daemon, "/v1/usage")  # its side opens late, and takes memory and descriptors
        for app_id, item in ((ATTACKER, ("large", "x" * LARGE_VALUE_BYTES)), (NEIGHBOUR, ("k", _VALUE))):
            with http(daemon, app_id) as client:
                assert (
                    client("POST", "/v1.0/state/memory", [dict(zip(("key", "value"), item, strict=True))]).status == 204
                )
        yield Arena(daemon)
