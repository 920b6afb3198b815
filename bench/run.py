"""One run: both runtimes up, case by case, round by round, in pairs whose order alternates."""

import argparse
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from bench import chart, invoke, memory, pubsub, servers, state_grpc, state_http
from bench.quiet import Attempt, undisturbed
from bench.records import CONNECTIONS, Case, Conditions, Memory, Sample, Subject, SubjectName
from bench.report import Report, Row, summarise, table, write_json

CASES: tuple[Case, ...] = (*state_http.CASES, *state_grpc.CASES, *invoke.CASES, *pubsub.CASES)
_CHECKOUT = Path(__file__).resolve().parent.parent


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write. Exit code 1 with --check where a floor was missed; 2 where tools are absent."""
    options = _parser().parse_args(arguments)
    if lacking := servers.what_is_lacking():
        print(lacking, file=sys.stderr)
        return 2
    conditions = Conditions(options.seconds, options.ghz)
    report = measure(_chosen(options), conditions, options)
    print(table(report))
    write_json(report, options.json)
    if any(row.daprd for row in report.rows):
        chart.write(report.rows, options.chart)
        print(f"Written: {options.json}, {options.chart}")
    return 1 if options.check and not report.passed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--daprd", type=Path, help="daprd 1.18 binary to compare with; absent: noded alone")
    parser.add_argument("--ghz", default=shutil.which("ghz") or "", help="ghz binary; absent: its cases are left out")
    parser.add_argument("--rounds", type=int, default=3, help="pairs per case (3)")
    parser.add_argument("--seconds", type=float, default=4.0, help="length of one measurement (4)")
    parser.add_argument("--patience", type=float, default=10.0, help="seconds to repeat what others disturbed (10)")
    parser.add_argument("--only", default="", help="comma-separated cases: " + ", ".join(case.name for case in CASES))
    parser.add_argument(
        "--connections", type=_numbers, default=(CONNECTIONS,), help="comma-separated; floors are for 32 (32)"
    )
    parser.add_argument("--json", type=Path, default=_CHECKOUT / "bench" / "out" / "bench.json")
    parser.add_argument("--chart", type=Path, default=_CHECKOUT / "bench" / "out" / "bench.svg")
    parser.add_argument("--check", action="store_true", help="exit code 1 where a floor is missed")
    return parser


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(word) for word in text.split(","))


def _chosen(options: argparse.Namespace) -> list[Case]:
    names = set(filter(None, options.only.split(",")))
    unknown = names - {case.name for case in CASES}
    if unknown:
        raise SystemExit(f"no such case: {', '.join(sorted(unknown))}")
    cases = [case for case in CASES if not names or case.name in names]
    if not options.ghz and any(case.needs_ghz for case in cases):
        print("ghz not found: its cases are left out (go install github.com/bojand/ghz/cmd/ghz@latest)")
        cases = [case for case in cases if not case.needs_ghz]
    return cases


def measure(cases: Sequence[Case], conditions: Conditions, options: argparse.Namespace) -> Report:
    """Start what is to be measured, measure it, stop it."""
    if options.daprd is None:
        print("no --daprd: noded alone, no ratios")
    with tempfile.TemporaryDirectory(prefix="noded-bench-") as directory, ExitStack() as stack:
        subjects = stack.enter_context(_subjects(Path(directory), options.daprd))
        idle: Mapping[SubjectName, Memory] = {subject.name: memory.measure(subject) for subject in subjects}
        turns = Turns(subjects, conditions, options.rounds, options.patience)
        rows = tuple(turns.take(case, each) for case in cases for each in options.connections)
    return Report(rows, idle, options.rounds, conditions.seconds, turns.others_share)


@contextmanager
def _subjects(directory: Path, daprd: Path | None) -> Iterator[list[Subject]]:
    with ExitStack() as stack:
        subjects = [stack.enter_context(servers.noded(directory / "noded"))]
        if daprd is not None:
            subjects.append(stack.enter_context(servers.daprd(directory / "daprd", daprd)))
        yield subjects


@dataclass(slots=True)
class Turns:
    """Measures cases: noded and daprd in turn, the order changing every round."""

    subjects: Sequence[Subject]
    conditions: Conditions
    rounds: int
    patience_seconds: float
    others_share: float = 0.0
    """The worst seen so far."""

    def take(self, case: Case, connections: int) -> Row:
        """All rounds of one case, summed up."""
        conditions = replace(self.conditions, connections=connections)
        samples: dict[SubjectName, list[Sample]] = {subject.name: [] for subject in self.subjects}
        ours = [pid for subject in self.subjects for pid in (*subject.pids, subject.app_pid)]
        for turn in range(self.rounds):
            for subject in self.subjects if turn % 2 == 0 else reversed(self.subjects):
                attempt = undisturbed(partial(case.measure, subject, conditions), ours, self.patience_seconds)
                samples[subject.name].append(attempt.sample)
                self.others_share = max(self.others_share, attempt.others_share)
                of = f"{case.name} {connections} {turn + 1}/{self.rounds}"
                print(f"{of} {subject.name}: {_progress(attempt)}", file=sys.stderr)
        return summarise(case, samples, connections)


def _progress(attempt: Attempt[Sample]) -> str:
    return f"{attempt.sample.rate:,.0f}/s, others used {attempt.others_share:.0%} of the cores"
