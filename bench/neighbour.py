"""What does a flooding neighbour cost? `python -m bench.neighbour [--check] [--json FILE] [--chart FILE]`.

One tenant floods on 64 connections; another asks one thing after the other: how long do its answers take, quiet and
beside the flood? Then two tenants flood alike: what does each get? The daemon has one core, everybody else the other.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median

from bench import neighbour_chart, servers
from bench.client import answers, request, wait_until
from bench.floors import NEIGHBOUR_P50, NEIGHBOUR_P99, SHARES_APART
from bench.neighbour_cases import QUESTIONS, Question
from bench.neighbour_records import Latency, Pair, Row
from bench.quiet import QUIET_SHARE, undisturbed
from bench.records import AppSockets
from bench.resources import MEMORY_STORE, SQLITE_STORE
from bench.state_http import ITEMS

_CHECKOUT = Path(__file__).resolve().parent.parent
_OUT = _CHECKOUT / "bench" / "out"
_FLOOD_LEAD_SECONDS = 0.7
"""The flood runs so long before the probe starts, and after it ends."""
_AHEAD = ("nice", "-n", "-15")
"""Whatever else runs on the machine then disturbs less; without the right to it, `nice` does nothing."""
_FLOODERS = ("default/flood", "default/rival")
_APPS = """\
apiVersion: noded.io/v1alpha1
kind: App
metadata: {{name: flood}}
---
apiVersion: noded.io/v1alpha1
kind: App
metadata: {{name: rival}}
---
apiVersion: noded.io/v1alpha1
kind: App
metadata: {{name: slow}}
spec:
  channel: {{protocol: http, address: "127.0.0.1:{port}"}}
"""


@dataclass(frozen=True, slots=True)
class Node:
    """The daemon under test."""

    pids: Sequence[int]
    """Its own, and those of the apps behind it."""
    admin: Path
    quiet: AppSockets
    flood: AppSockets
    rival: AppSockets
    directory: Path
    """For what the generators send."""
    seconds: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write. Exit code 1 with --check where a floor was missed; 2 where tools are absent."""
    options = _parser().parse_args(arguments)
    if lacking := servers.what_is_lacking():
        print(lacking, file=sys.stderr)
        return 2
    names = set(filter(None, options.only.split(",")))
    questions = [question for question in QUESTIONS if not names or question.name in names]
    rows, others_share = measure(questions, options)
    print(table(rows))
    if others_share > QUIET_SHARE:
        print(f"Others used up to {others_share:.0%} of the two cores: these figures are not to be trusted.")
    options.json.parent.mkdir(parents=True, exist_ok=True)
    document = {"others_share": others_share, "rows": [{**asdict(row), "passed": row.passed} for row in rows]}
    options.json.write_text(json.dumps(document, indent=2) + "\n")
    neighbour_chart.write(rows, options.chart)
    return 1 if options.check and not all(row.passed for row in rows) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.neighbour", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="pairs per question (3)")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of one measurement (3)")
    parser.add_argument("--patience", type=float, default=20.0, help="seconds to repeat what others disturbed (20)")
    names = ", ".join(question.name for question in QUESTIONS)
    parser.add_argument("--only", default="", help=f"comma-separated questions: {names}")
    parser.add_argument("--json", type=Path, default=_OUT / "neighbour.json")
    parser.add_argument("--chart", type=Path, default=_OUT / "neighbour.svg")
    parser.add_argument("--check", action="store_true", help="exit code 1 where a floor is missed")
    return parser


def measure(questions: Sequence[Question], options: argparse.Namespace) -> tuple[list[Row], float]:
    """Start the daemon, ask every question, stop it. Also: the largest share of the cores that others used."""
    with open_node(options.seconds) as node:
        asking = Asking(node, options.rounds, options.patience)
        rows = [asking.ask(question) for question in questions]
    return rows, asking.others_share


@contextmanager
def open_node(seconds: float) -> Iterator[Node]:
    """The daemon with its apps, each with an item; one measurement on it will take so long."""
    with tempfile.TemporaryDirectory(prefix="noded-bench-") as name, ExitStack() as stack:
        directory = Path(name)
        port, slow_pid = stack.enter_context(servers.app(directory, "bench.slow_app"))
        more = {"neighbours.yaml": _APPS.format(port=port)}
        subject = stack.enter_context(servers.noded(directory / "noded", (*_AHEAD, *servers.NODED), more))
        flood, rival = (servers.noded_sockets(directory / "noded" / "run", name) for name in ("flood", "rival"))
        node = Node(
            (*subject.pids, subject.app_pid, slow_pid),
            directory / "noded" / "run" / "admin.socket",
            subject.caller,
            flood,
            rival,
            directory,
            seconds,
        )
        for sockets in (node.quiet, node.flood, node.rival):
            _put_one(sockets)
        wait_until(lambda: answers(node.admin, "/v1/usage"), "noded's operator side")
        yield node


def _put_one(sockets: AppSockets) -> None:
    for store in (MEMORY_STORE, SQLITE_STORE):
        status, body = request(sockets.http, "POST", f"/v1.0/state/{store}", ITEMS)
        assert status == 204, (status, body)


@dataclass(slots=True)
class Asking:
    """Asks questions, each for some rounds."""

    node: Node
    rounds: int
    patience_seconds: float
    others_share: float = 0.0
    """The worst seen so far."""

    def ask(self, question: Question) -> Row:
        """All rounds of one question, summed up."""
        pairs, aparts = [], []
        for turn in range(self.rounds):
            attempt = undisturbed(partial(pair, self.node, question), self.node.pids, self.patience_seconds)
            pairs.append(attempt.sample)
            self.others_share = max(self.others_share, attempt.others_share)
            print(f"{question.name} {turn + 1}/{self.rounds}: {_progress(attempt.sample)}", file=sys.stderr)
            if question.shares:
                aparts.append(
                    undisturbed(partial(apart, self.node, question), self.node.pids, self.patience_seconds).sample
                )
                print(f"{question.name} {turn + 1}/{self.rounds}: shares {aparts[-1]:.1%} apart", file=sys.stderr)
        return Row(
            question.name,
            question.title,
            tuple(pairs),
            median(each.p50_ratio for each in pairs),
            median(each.p99_ratio for each in pairs),
            median(aparts) if aparts else None,
        )


def pair(node: Node, question: Question) -> Pair:
    """The quiet tenant alone, then beside the flood."""
    probe = pinned(question.probe.command(node.quiet, node.directory, node.seconds))
    quiet = _finish(_start(probe))
    command = question.flood.command(node.flood, node.directory, node.seconds + 2 * _FLOOD_LEAD_SECONDS)
    flood = _start(pinned(command))
    time.sleep(_FLOOD_LEAD_SECONDS)
    flooded = _finish(_start(probe))
    outcome = question.flood.outcome(_finish(flood))
    return Pair(_latency(quiet), _latency(flooded), outcome.completed / outcome.seconds, outcome.failed)


def apart(node: Node, question: Question) -> float:
    """Two tenants flood alike: the difference of what they got while both did, as a share of the mean."""
    seconds = node.seconds + 2 * _FLOOD_LEAD_SECONDS
    commands = [question.flood.command(each, node.directory, seconds) for each in (node.flood, node.rival)]
    floods = [_start(pinned(command)) for command in commands]
    time.sleep(_FLOOD_LEAD_SECONDS)
    before = _requests(node)
    time.sleep(node.seconds)
    after = _requests(node)
    for flood in floods:
        _finish(flood)
    first, second = (after[name] - before[name] for name in _FLOODERS)
    return abs(first - second) / max((first + second) / 2, 1)


def _requests(node: Node) -> dict[str, int]:
    """How many each flooding tenant was answered so far, by the daemon's own count."""
    subjects = json.loads(request(node.admin, "GET", "/v1/usage")[1])
    return {each["subject"]: each["requests"] for each in subjects if each["subject"] in _FLOODERS}


def pinned(command: Sequence[str]) -> list[str]:
    """On the generators' core, ahead of other work."""
    return servers.pinned(servers.LOAD_CORE, [*_AHEAD, *command])


def _start(command: Sequence[str]) -> "subprocess.Popen[str]":
    return subprocess.Popen(command, cwd=_CHECKOUT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _finish(process: "subprocess.Popen[str]") -> str:
    out, err = process.communicate(timeout=120)
    if process.returncode:
        raise subprocess.SubprocessError(f"{process.args!r} ended with {process.returncode}: {err or out}")
    return out


def _latency(text: str) -> Latency:
    return Latency(**json.loads(text))


def _progress(pair: Pair) -> str:
    return (
        f"p50 {pair.quiet.p50_us:,.0f} -> {pair.flooded.p50_us:,.0f} us ({pair.p50_ratio:.1f}x), "
        f"p99 {pair.quiet.p99_us:,.0f} -> {pair.flooded.p99_us:,.0f} us ({pair.p99_ratio:.1f}x), "
        f"flood {pair.flood_per_second:,.0f}/s, {pair.flood_failed} refused"
    )


def table(rows: Sequence[Row]) -> str:
    """For people: medians over the rounds."""
    goals = f"at most {NEIGHBOUR_P50:g}x, {NEIGHBOUR_P99:g}x, {SHARES_APART:.0%} apart"
    lines = [f"{'':38}{'p50':>8}{'p99':>8}{'shares':>9}   ({goals})"]
    for row in rows:
        shares = "-" if row.apart is None else f"{row.apart:.1%}"
        verdict = "ok" if row.passed else "MISSED"
        lines.append(f"{row.title:38}{row.p50_ratio:7.1f}x{row.p99_ratio:7.1f}x{shares:>9}   {verdict}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
