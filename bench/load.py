"""Load generators: h2load (HTTP/1.1 and h2c) and ghz (a grpc-go client). Closed loop, no pipelining."""

import os
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.records import Sample, Subject
from bench.servers import LOAD_CORE, pinned

CONNECTIONS = 32
"""Of h2load, each with one request in flight."""
CALLS_IN_FLIGHT = 32
"""Of ghz, on one connection as an SDK's channel has it."""
WARM_UP_SECONDS = 0.5
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


def h2load(target: Target, seconds: float) -> Outcome:
    """Ask for one thing over CONNECTIONS connections.

    Raises:
        subprocess.SubprocessError: h2load failed or did not end.
    """
    command = ["h2load", "-c", str(CONNECTIONS), "-m", "1", "-B", f"unix:{target.socket}"]
    command += ["-D", f"{round(seconds * 1000)}ms"]
    command += [] if target.http2 else ["--h1"]
    command += [] if target.body is None else ["-d", str(target.body)]
    command += [word for header in target.headers for word in ("-H", header)]
    return parse_h2load(_run([*command, f"http://localhost{target.path}"], seconds))


def ghz(binary: str, socket: Path, arguments: list[str], seconds: float) -> Outcome:
    """Call one gRPC method, CALLS_IN_FLIGHT at a time; `arguments` name it, its message and metadata.

    Raises:
        subprocess.SubprocessError: ghz failed or did not end.
    """
    command = [
        binary, "--insecure", "--cpus", "1", "-c", str(CALLS_IN_FLIGHT), "--connections", "1",
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
    return Outcome(completed, sum(codes.values()), float(total[1]) * _UNIT_MS[total[2]] / 1000, latency)


def cpu_seconds(pids: tuple[int, ...]) -> float:
    """Processor time these processes have used so far, user and system."""
    return sum(_ticks(pid) for pid in pids) / _TICKS_PER_SECOND


def _ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])  # utime and stime, fields 14 and 15 of proc(5)


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
    )
