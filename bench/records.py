"""What a benchmark run is made of. Frozen records; rates are per second of wall time."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

CONNECTIONS = 32
"""What floors are measured with."""

SubjectName = Literal["noded", "daprd"]


@dataclass(frozen=True, slots=True)
class AppSockets:
    """The two Unix sockets of one app."""

    http: Path
    grpc: Path


@dataclass(frozen=True, slots=True)
class Subject:
    """A runtime under test, started, with two apps: `caller` only calls, `target` answers and subscribes."""

    name: SubjectName
    pids: tuple[int, ...]
    """Every server process. noded: one; daprd: one per app."""
    caller: AppSockets
    target: AppSockets
    publisher: AppSockets
    """Who publishes. noded: the caller; daprd: the target, whose in-memory broker nobody else can reach."""
    app_port: int
    """Loopback port of the target app."""
    app_pid: int
    admin: Path | None = None
    """noded's operator socket."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement of one case against one subject."""

    rate: float
    """Operations per second that succeeded."""
    completed: int
    failed: int
    """Answers other than 2xx or OK, and events that were accepted but never came."""
    seconds: float
    cpu_seconds: float
    """Processor time the servers used meanwhile, user and system."""
    latency_ms: float | None = None
    """Mean time of one request, where the generator says it."""
    p99_ms: float | None = None
    """What 99 of 100 requests took at most, at the same load."""

    @property
    def busy(self) -> float:
        """Share of the servers' core in use, 0 to 1. Well below 1: something else was the limit."""
        return self.cpu_seconds / self.seconds

    @property
    def per_core(self) -> float:
        """Operations per second of processor time: what a saturated core would do."""
        return self.completed / max(self.cpu_seconds, 0.01)


@dataclass(frozen=True, slots=True)
class Conditions:
    """How a case is measured."""

    seconds: float
    """Length of one measurement, after the warm-up."""
    ghz: str = "ghz"
    """The grpc-go load generator's binary."""
    connections: int = CONNECTIONS
    """Of the load generator, one request in flight on each; of ghz the calls in flight on its one connection."""


@dataclass(frozen=True, slots=True)
class Case:
    """One question: a name for the command line, a title for people, and how to measure it."""

    name: str
    title: str
    measure: Callable[[Subject, Conditions], Sample]
    needs_ghz: bool = False


@dataclass(frozen=True, slots=True)
class Memory:
    """What the idle processes of one subject hold. MB of 10^6 bytes."""

    pss_mb: float
    """Proportional set size: shared pages divided among who maps them."""
    rss_mb: float
    processes: int
    operator_loaded: bool = True
    """False: noded's operator side did not answer in time, so the figure is too small to count."""
