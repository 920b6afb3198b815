"""Rounds of kill -9 under mixed load: `python -m tests.proof.crash_rounds --rounds 200`.

One round: start on what the last one left; check it; write from several apps over HTTP and gRPC (saves, bulk saves,
deletes, transactions, values that grow and shrink); kill at a moment drawn from the seed. Checked: nothing
acknowledged is lost, no transaction is torn, and the counts the operator is told equal a count of the file.
"""

import argparse
import signal
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tests.daemon.server_clients import app, resources, sqlite
from tests.daemon_process import Daemon
from tests.proof.crash_load import Writer, load, read_back, writers
from tests.proof.node import Place, counts_of_file, used_stored

APPS = {"orders": "default", "mailer": "team"}
LOAD_SECONDS = (0.02, 0.5)
"""From the first write to the kill: at least and at most."""


@dataclass
class Outcome:
    """What the rounds showed."""

    wrong: list[str] = field(default_factory=list)
    acknowledged: int = 0
    ready_seconds: list[float] = field(default_factory=list)
    recovered: int = 0
    """Starts that found groups of writes in the journal only."""


def crash(place: Place, rounds: int, seed: int, writers_each: int = 3) -> Outcome:
    """Kill a daemon so many times, and look what it left after each."""
    random = Random(seed)
    clients = writers(APPS, writers_each)
    outcome = Outcome()
    for number in range(rounds):
        daemon = _start(place, outcome)
        _check(daemon, clients, outcome)
        threads = load(daemon, clients, f"{seed} {number}")
        time.sleep(random.uniform(*LOAD_SECONDS))
        daemon.process.send_signal(signal.SIGKILL)
        daemon.process.wait()
        for thread in threads:
            thread.join()
        if outcome.wrong:
            break
    daemon = _start(place, outcome)
    _check(daemon, clients, outcome)
    daemon.stop()
    outcome.acknowledged = sum(client.acknowledged for client in clients)
    outcome.recovered = daemon.log().count("groups of writes brought in from")
    return outcome


def the_place(root: Path, journal: str = "busy") -> Place:
    apps = (app(app_id, namespace) for app_id, namespace in APPS.items())
    return Place(root, resources(sqlite(journal=journal), *apps), APPS)


def _start(place: Place, outcome: Outcome) -> Daemon:
    began = time.monotonic()
    daemon = place.start()
    outcome.ready_seconds.append(time.monotonic() - began)
    return daemon


def _check(daemon: Daemon, clients: list[Writer], outcome: Outcome) -> None:
    for client in clients:
        outcome.wrong += client.settle(read_back(daemon, client))
    counted = counts_of_file(daemon.state_dir / "state.db")
    for app_id, namespace in APPS.items():
        told = used_stored(daemon, f"{namespace}/{app_id}")
        if told != counted.get(f"{namespace}.{app_id}", (0, 0)):
            outcome.wrong.append(f"{namespace}/{app_id} is told to keep {told}, the file has {counted}")
    total = tuple(map(sum, zip(*counted.values(), strict=True))) if counted else (0, 0)
    if used_stored(daemon, "node") != total:
        outcome.wrong.append(f"the node is told to keep {used_stored(daemon, 'node')}, the file has {total}")


def main() -> int:
    """Run by hand."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--journal", choices=("busy", "always", "never"), default="busy")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="noded-") as root:
        outcome = crash(the_place(Path(root), options.journal), options.rounds, options.seed)
    ready = sorted(outcome.ready_seconds)
    print(  # noqa: T201 - the result
        f"{len(ready) - 1} kills, {outcome.acknowledged} acknowledged writes, ready after"
        f" {statistics.median(ready):.2f} s (median), {ready[-1]:.2f} s (longest), {outcome.recovered} times from the"
        f" journal; wrong: {len(outcome.wrong)}"
    )
    for wrong in outcome.wrong:
        print(wrong)  # noqa: T201
    return 1 if outcome.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
