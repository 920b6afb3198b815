"""Load generators: h2load (HTTP/1.1 and h2c) and ghz (a grpc-go client). Closed loop, no pipelining."""

import os
import re
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from bench.records import CONNECTIONS, Sample, Subject
from bench.servers import LOAD_CORE, pinned

WARM_UP_SECONDS = 0.5
TAIL_SECONDS = 0.5
"""Of the run in which h2load writes every request's time down; it has a run of its own, for that slows it."""
_HUNDREDTH = 100
_UNIT_MS = {"us": 0.001, "ms": 1.0, "s": 1000.0}
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a generator said."""

    completed: int
    """Answers 2xx, or OK."""
    failed: int
    seconds: float
    latency_ms: float | None
    p99_ms: float | None = None
    """ghz only; of h2load see `tail_ms`."""
    body_bytes: int | None = None
    """Of all answers together; h2load only."""


@dataclass(frozen=True, slots=True)
class Target:
    """What h2load asks for, again and again."""

    socket: Path
    path: str
    body: Path | None = None
    """POSTed where given."""
    headers: tuple[str, ...] = ()
    http2: bool = False
    connections: int = CONNECTIONS


def h2load(target: Target, seconds: float, log: Path | None = None) -> Outcome:
    """Ask for one thing over some connections; each request's time goes to `log`.

    Raises:
        subprocess.SubprocessError: h2load failed or did not end.
    """
    command = ["h2load", "-c", str(target.connections), "-m", "1", "-B", f"unix:{target.socket}"]
    command += [] if log is None else ["--log-file", str(log)]
    command += ["-D", f"{round(seconds * 1000)}ms"]
    command += [] if target.http2 else ["--h1"]
    command += [] if target.body is None else ["-d", str(target.body)]
    command += [word for header in target.headers for word in ("-H", header)]
    return parse_h2load(_run([*command, f"http://localhost{target.path}"], seconds))


def tail_ms(target: Target) -> float | None:
    """What 99 of 100 requests take at most; None where too few were answered to say.

    Raises:
        subprocess.SubprocessError: h2load failed or did not end.
    """
    with tempfile.TemporaryDirectory() as directory:
        log = Path(directory) / "times"
        h2load(target, TAIL_SECONDS, log)
        return parse_times(log.read_text())


def parse_times(text: str) -> float | None:
    """Read the 99th percentile from h2load's log: start (us), status, duration (us), a line each."""
    times_us = sorted(int(fields[2]) for fields in map(str.split, text.splitlines()) if fields[1] in ("200", "204"))
    return times_us[-len(times_us) // _HUNDREDTH] / 1000 if len(times_us) >= _HUNDREDTH else None


def ghz(binary: str, socket: Path, arguments: list[str], in_flight: int, seconds: float) -> Outcome:
    """Call one gRPC method, so many at a time; `arguments` name it, its message and metadata.

    Raises:
        subprocess.SubprocessError: ghz failed or did not end.
    """
    command = [
        binary, "--insecure", "--cpus", "1", "-c", str(in_flight), "--connections", "1",
        "-z", f"{seconds:g}s", "--duration-stop", "wait", *arguments, f"unix://{socket}",
    ]  # fmt: skip
    return parse_ghz(_run(command, seconds))


def _run(command: list[str], seconds: float) -> str:
    done = subprocess.run(pinned(LOAD_CORE, command), capture_output=True, text=True, timeout=seconds + 30, check=False)
    if done.returncode:
        raise subprocess.SubprocessError(f"{command[0]} ended with {done.returncode}: {done.stderr or done.stdout}")
    return done.stdout


def parse_h2load(text: str) -> Outcome:
    """Read h2load's report.

    Raises:
        ValueError: it is not one.
    """
    finished = re.search(r"finished in ([\d.]+)(us|ms|s),", text)
    done = re.search(r"(\d+) done, \d+ succeeded, \d+ failed, (\d+) errored, (\d+) timeout", text)
    codes = re.search(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", text)
    mean = re.search(r"time for request:\s+\S+\s+\S+\s+([\d.]+)(us|ms|s)\b", text)
    body = re.search(r"\((\d+)\) data", text)
    if not (finished and done and codes and body):
        raise ValueError(f"not a report of h2load: {text!r}")
    refused = sum(int(codes[group]) for group in (2, 3, 4))
    return Outcome(
        completed=int(codes[1]),
        failed=refused + int(done[2]) + int(done[3]),
        seconds=float(finished[1]) * _UNIT_MS[finished[2]] / 1000,
        latency_ms=float(mean[1]) * _UNIT_MS[mean[2]] if mean else None,
        body_bytes=int(body[1]),
    )


def parse_ghz(text: str) -> Outcome:
    """Read ghz's summary.

    Raises:
        ValueError: it is not one.
    """
    total = re.search(r"Total:\s+([\d.]+) (ms|s|us)", text)
    mean = re.search(r"Average:\s+([\d.]+) (ms|s|us)", text)
    if not total:
        raise ValueError(f"not a summary of ghz: {text!r}")
    codes = {code: int(count) for code, count in re.findall(r"\[(\w+)\]\s+(\d+) responses", text)}
    completed = codes.pop("OK", 0)
    latency = float(mean[1]) * _UNIT_MS[mean[2]] if mean else None
    last = re.search(r"99 % in ([\d.]+) (ms|s|us)", text)
    p99 = float(last[1]) * _UNIT_MS[last[2]] if last else None
    return Outcome(completed, sum(codes.values()), float(total[1]) * _UNIT_MS[total[2]] / 1000, latency, p99)


def cpu_seconds(pids: tuple[int, ...]) -> float:
    """Processor time these processes have used so far, user and system."""
    return sum(_ticks(pid) for pid in pids) / _TICKS_PER_SECOND


def _ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])  # utime and stime, fields 14 and 15 of proc(5)


def sample_target(subject: Subject, seconds: float, target: Target) -> Sample:
    """As `sample`, of h2load asking for one thing."""
    return replace(sample(subject, seconds, partial(h2load, target)), p99_ms=tail_ms(target))


def sample(subject: Subject, seconds: float, generate: Callable[[float], Outcome]) -> Sample:
    """Warm up, then measure `generate(seconds)` and what it cost the servers."""
    generate(WARM_UP_SECONDS)
    before = cpu_seconds(subject.pids)
    outcome = generate(seconds)
    return Sample(
        rate=outcome.completed / outcome.seconds,
        completed=outcome.completed,
        failed=outcome.failed,
        seconds=outcome.seconds,
        cpu_seconds=cpu_seconds(subject.pids) - before,
        latency_ms=outcome.latency_ms,
        p99_ms=outcome.p99_ms,
    )
