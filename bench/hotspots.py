"""Where does noded's time go? `python -m bench.hotspots CASE [--how sample|calls]`: one case under load, profiled.

`sample` looks at the stack of the main thread with every tick of the process's processor time (1 to 4 ms). It is
nearly free, so the shares are true. C code counts for the Python line that called it, a read by the loop for the
first line of data_received, and another thread's work for whatever the main thread was at. `calls` is cProfile:
exact counts, but it makes small functions look dearer than they are.
"""

import argparse
import collections
import cProfile
import os
import pstats
import runpy
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import CodeType, FrameType

from bench import servers
from bench.records import Case, Conditions
from bench.run import CASES

_INTERVAL_SECONDS = 0.001
_START = signal.SIGUSR2
"""Tells the profiled daemon to forget what it did so far: its start is no part of the case."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Start noded under the profiler, load it with one case, print what the daemon wrote when it ended."""
    parser = argparse.ArgumentParser(prog="python -m bench.hotspots", description=__doc__)
    parser.add_argument("case", choices=[case.name for case in CASES])
    parser.add_argument("--how", choices=sorted(_PROFILERS), default="sample")
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--top", type=int, default=25, help="rows per table (25)")
    parser.add_argument("--ghz", default="ghz")
    options = parser.parse_args(arguments)
    case = next(case for case in CASES if case.name == options.case)
    print(_profile(case, options))
    return 0


def _profile(case: Case, options: argparse.Namespace) -> str:
    with tempfile.TemporaryDirectory(prefix="noded-hot-") as directory:
        output = Path(directory) / "profile.txt"
        wrapper = [sys.executable, "-m", "bench.hotspots", "--inside", options.how, str(options.top), str(output)]
        with servers.noded(Path(directory) / "noded", wrapper) as subject:
            os.kill(subject.pids[0], _START)
            sample = case.measure(subject, Conditions(options.seconds, options.ghz))
        microseconds = 1e6 / max(sample.per_core, 1)
        summary = f"{case.title}: {sample.rate:,.0f}/s while profiled, {microseconds:.1f} us of processor time each\n"
        return summary + output.read_text()


def inside(how: str, top: int, output: Path) -> None:
    """Run noded's command line in this process under a profiler; write tables to `output` when it ends."""
    with _PROFILERS[how](top, output):
        runpy.run_module("noded.cli", run_name="__main__")


@contextmanager
def _calls(top: int, output: Path) -> Iterator[None]:
    profile = cProfile.Profile()
    signal.signal(_START, lambda _signal, _frame: profile.clear())
    profile.enable()
    try:
        yield
    finally:
        profile.disable()
        with output.open("w") as file:
            pstats.Stats(profile, stream=file).sort_stats("tottime").print_stats(top)


@contextmanager
def _sampling(top: int, output: Path) -> Iterator[None]:
    stacks = Stacks()
    signal.signal(_START, stacks.clear)
    signal.signal(signal.SIGPROF, stacks.look)
    signal.setitimer(signal.ITIMER_PROF, _INTERVAL_SECONDS, _INTERVAL_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        output.write_text(stacks.tables(top))


_PROFILERS: dict[str, Callable[[int, Path], AbstractContextManager[None]]] = {"calls": _calls, "sample": _sampling}


class Stacks:
    """Counts of what the main thread was doing: by line, by function, by function with all it called."""

    def __init__(self) -> None:
        self._lines: collections.Counter[tuple[CodeType, int]] = collections.Counter()
        self._cumulative: collections.Counter[CodeType] = collections.Counter()
        self._looks = 0

    def look(self, _signal: int, frame: FrameType | None) -> None:
        """Count one stack (a signal handler)."""
        if frame is None:
            return
        self._looks += 1
        self._lines[frame.f_code, frame.f_lineno] += 1
        seen = set()
        while frame is not None:
            seen.add(frame.f_code)
            frame = frame.f_back
        self._cumulative.update(seen)

    def clear(self, _signal: int, _frame: FrameType | None) -> None:
        """Start again (a signal handler)."""
        self._lines.clear()
        self._cumulative.clear()
        self._looks = 0

    def tables(self, top: int) -> str:
        """Own time by function and by line, and time with callees; dearest first, as shares of all looks."""
        own: collections.Counter[str] = collections.Counter()
        for (code, _), count in self._lines.items():
            own[_place(code)] += count
        lines = collections.Counter({f"{_place(code)}:{line}": count for (code, line), count in self._lines.items()})
        callees = collections.Counter({_place(code): count for code, count in self._cumulative.items()})
        counted = {"own time by function": own, "own time by line": lines, "with callees": callees}
        return f"{self._looks} looks" + "\n".join(
            f"\n{title}\n{self._shares(counts, top)}" for title, counts in counted.items()
        )

    def _shares(self, counts: collections.Counter[str], top: int) -> str:
        return "\n".join(f"{100 * count / self._looks:6.1f}%  {place}" for place, count in counts.most_common(top))


def _place(code: CodeType) -> str:
    return f"{'/'.join(Path(code.co_filename).parts[-3:])} {code.co_qualname}"


if __name__ == "__main__":
    if sys.argv[1:2] == ["--inside"]:
        how, top, output, *rest = sys.argv[2:]
        sys.argv = ["noded", *rest]
        inside(how, int(top), Path(output))
    else:
        sys.exit(main())
