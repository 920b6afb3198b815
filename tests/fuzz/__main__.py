"""Fuzz by hand: `python -m tests.fuzz TARGET [--minutes M]`, or `python -m tests.fuzz --list`.

With `atheris` (libFuzzer: `pip install --group fuzz`) coverage guides it; without it inputs are mutated blindly.
Without --minutes it runs until it is interrupted. Inputs that reach new code gather in `.fuzz/TARGET/`, findings in
`.fuzz/findings/`; `--keep` copies a minimal set of the former into the repository's corpus.
"""

import argparse
import importlib.util
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.fuzz.target import Target

WORK = Path(".fuzz")
KEPT_FILES = 24
"""Of one target in the repository."""
KEPT_BYTES = 9_000
LOOKED_AT = 300
"""Inputs of those that gathered, the smallest."""
SECONDS_PER_LINE = 10.0
INPUT_SECONDS = 300
"""By the clock, for inputs that never end; long, as a stopped process counts too. `run_bounded` judges the rest."""


def main(arguments: Sequence[str]) -> int:
    """Run what was asked. 1: something was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("target", nargs="?")
    parser.add_argument("--minutes", type=float, default=0.0, help="then stop; 0: never")
    parser.add_argument("--list", action="store_true", help="name the targets")
    parser.add_argument("--blind", action="store_true", help="without atheris, though it is there")
    parser.add_argument("--keep", action="store_true", help="copy what reached new code into the repository's corpus")
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    guided = not asked.blind and importlib.util.find_spec("atheris") is not None
    if asked.inside:
        _fuzz_guided(asked.target, asked.inside.split(" "))
        return 0
    from tests.fuzz.targets import TARGETS

    if asked.list or asked.target not in TARGETS:
        print("\n".join(TARGETS))
        return 0 if asked.list else 2
    target = TARGETS[asked.target]
    if asked.keep:
        return _keep(target)
    before = set(_findings(target))
    if guided:
        _seed(target)
        _inside(target, f"-max_total_time={round(asked.minutes * 60)}", "-print_final_stats=1", str(WORK / target.name))
    else:
        _fuzz_blind(target, asked.minutes * 60 or float("inf"))
    found = [path for path in _findings(target) if path not in before]
    print(f"{target.name}: {len(found)} findings", *found)
    return 1 if found else 0


def _findings(target: "Target") -> list[Path]:
    return sorted((WORK / "findings").glob(f"{target.name}-*"))


def _fuzz_blind(target: "Target", seconds: float) -> None:
    from tests.fuzz.findings import Findings
    from tests.fuzz.mutator import Mutator
    from tests.fuzz.targets import corpus

    findings = Findings(target, WORK / "findings")
    inputs = Mutator(target, corpus(target), seed=time.time_ns())
    started = told = time.monotonic()
    while time.monotonic() - started < seconds:
        findings.run(inputs.next())
        if time.monotonic() - told > SECONDS_PER_LINE:
            told = time.monotonic()
            rate = findings.runs / (told - started)
            print(f"{target.name}: {findings.runs} inputs, {rate:.0f}/s, {findings.count} findings", flush=True)


def _inside(target: "Target", *options: str) -> int:
    """Run libFuzzer in a process of its own: it never returns."""
    limits = (
        f"-max_len={target.max_bytes}",
        "-len_control=0",
        f"-timeout={INPUT_SECONDS}",
        f"-report_slow_units={INPUT_SECONDS}",
        f"-artifact_prefix={WORK}/findings/{target.name}-",
    )
    (WORK / "findings").mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", suffix=".dict") as words:
        words.writelines(f'"{"".join(f"{chr(92)}x{byte:02x}" for byte in word)}"\n' for word in target.words if word)
        words.flush()
        dictionary = (f"-dict={words.name}",) if target.words else ()
        inside = " ".join((*limits, *dictionary, *options))
        return subprocess.run(
            [sys.executable, "-m", "tests.fuzz", target.name, "--inside", inside], check=False
        ).returncode


def _fuzz_guided(name: str, options: list[str]) -> None:
    import atheris

    with atheris.instrument_imports(include=["noded", "components", "tenancy"]):
        from tests.fuzz.targets import TARGETS
    from tests.fuzz.findings import Findings

    findings = Findings(TARGETS[name], WORK / "findings")
    atheris.Setup(["tests.fuzz", *options], findings.run)
    atheris.Fuzz()


def _seed(target: "Target") -> None:
    """Put the corpus where libFuzzer adds to it."""
    from tests.fuzz.targets import corpus

    for data in corpus(target):
        _write(WORK / target.name, data)


def _write(folder: Path, data: bytes) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / sha256(data).hexdigest()[:16]).write_bytes(data)


def _keep(target: "Target") -> int:
    """Keep the smallest inputs that together reach every line that any of the smaller ones does."""
    from tests.fuzz.targets import CORPUS, corpus

    reached: set[tuple[str, int]] = set()
    for data in corpus(target):
        reached |= _lines(target, data)
    if not (WORK / target.name).is_dir():
        print(f"nothing has gathered in {WORK / target.name}: run python -m tests.fuzz {target.name} --minutes 1 first")
        return 2
    found = sorted((path.read_bytes() for path in (WORK / target.name).iterdir()), key=len)[:LOOKED_AT]
    kept = size = 0
    for data in found:
        new = _lines(target, data) - reached
        if new and kept < KEPT_FILES and size + len(data) <= KEPT_BYTES:
            reached |= new
            kept, size = kept + 1, size + len(data)
            _write(CORPUS / target.name, data)
    print(f"{target.name}: {kept} of {len(found)} inputs kept")
    return 0


def _lines(target: "Target", data: bytes) -> set[tuple[str, int]]:
    """The lines of the code under attack that an input runs; one that fails adds none."""
    lines: set[tuple[str, int]] = set()

    def trace(frame: FrameType, event: str, _: object) -> Any:
        if "noded/" not in frame.f_code.co_filename and "tenancy/" not in frame.f_code.co_filename:
            return None
        if event == "line":
            lines.add((frame.f_code.co_filename, frame.f_lineno))
        return trace

    sys.settrace(trace)
    try:
        target.run(data)
    except Exception:  # noqa: BLE001 - a finding, told by other means
        return set()
    finally:
        sys.settrace(None)
    return lines


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
