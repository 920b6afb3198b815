"""Findings: the first input of each kind, kept in a folder, told as they come."""

import hashlib
import traceback
from pathlib import Path

from tests.fuzz.target import Target, run_bounded


class Findings:
    """Runs inputs of one target and keeps those that fail; one per place it fails at."""

    def __init__(self, target: Target, folder: Path) -> None:
        self.runs = 0
        self._target = target
        self._folder = folder
        self._places: set[tuple[str, str, int]] = set()

    def run(self, data: bytes) -> None:
        """Run one input; what it raises is written down, and the next may come."""
        self.runs += 1
        try:
            run_bounded(self._target, data)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is a finding
            self._note(data, error)

    @property
    def count(self) -> int:
        """How many kinds there are."""
        return len(self._places)

    def _note(self, data: bytes, error: Exception) -> None:
        frames = traceback.extract_tb(error.__traceback__)
        place = (type(error).__name__, frames[-1].filename, frames[-1].lineno or 0)
        if place in self._places:
            return
        self._places.add(place)
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{self._target.name}-{hashlib.sha256(data).hexdigest()[:12]}"
        path.write_bytes(data)
        told = "".join(traceback.format_exception(error, limit=-6))
        print(f"FOUND {path}: {data[:200]!r}\n{told}", flush=True)  # noqa: T201 - a program's output
