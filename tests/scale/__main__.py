"""The figures of scale, by hand on a quiet machine: `python -m tests.scale [--churn-minutes M]`.

Exit status 1 where a goal is missed.
"""

import argparse
import statistics
import sys
import time

from tests.daemon.server_clients import HttpClient
from tests.daemon_process import Daemon, running_daemon
from tests.scale.churn import BREATH_KB, churn
from tests.scale.node import Footprint, app_id, first_answer_seconds, footprint, many_apps, operator_of, usage_seconds

APPS = 1000


def main() -> int:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser(prog="python -m tests.scale", description=__doc__)
    parser.add_argument("--churn-minutes", type=float, default=0.0, help="let apps come and go for so long (0: not)")
    options = parser.parse_args()
    rows = scale()
    if options.churn_minutes:
        rows += churning(options.churn_minutes * 60)
    for name, found, goal, unit in rows:
        print(f"{name:48} {found:10.1f} {unit:6} goal {goal:6.0f} {'ok' if found <= goal else 'MISSED'}")
    return 0 if all(found <= goal for _, found, goal, _ in rows) else 1


Rows = list[tuple[str, float, float, str]]


def scale() -> Rows:
    """Start with one app and with a thousand; compare."""
    with running_daemon(many_apps(1), {app_id(0): "default"}) as daemon, operator_of(daemon) as operator:
        base = footprint(daemon, operator)
        alone = median_first_answer(daemon, operator)
    began = time.perf_counter()
    with running_daemon(many_apps(APPS + 1), {app_id(APPS): "default"}) as daemon:
        start = time.perf_counter() - began
        with operator_of(daemon) as operator:
            full = footprint(daemon, operator)
            beside = median_first_answer(daemon, operator)
            usage, _ = usage_seconds(operator)
    return [
        ("a further idle app", (full.rss_kb - base.rss_kb) * 1.024 / APPS, 50, "kB"),
        ("start with a thousand App resources", start * 1000, 3000, "ms"),
        ("attach to first answer, alone", alone * 1000, 5, "ms"),
        ("attach to first answer, beside a thousand", beside * 1000, 5, "ms"),
        ("usage of a thousand apps", usage * 1000, 100, "ms"),
    ]


def median_first_answer(daemon: Daemon, operator: HttpClient) -> float:
    """Of twenty-one attachments."""
    return statistics.median(first_answer_seconds(daemon, operator, f"late-{number}") for number in range(21))


def churning(seconds: float) -> Rows:
    """Let apps come and go."""

    def told(done: int, now: Footprint) -> None:
        print(f"{done} lives: {now}", file=sys.stderr)

    found = churn(rounds=40, seconds=seconds, told=told)
    warm, last = found.warm, found.last
    return [
        ("memory grown in churn", last.rss_kb - warm.rss_kb, BREATH_KB, "kB"),
        ("descriptors left by churn", last.descriptors - warm.descriptors, 0, ""),
        ("tasks left by churn", last.tasks - warm.tasks, 0, ""),
    ]


if __name__ == "__main__":
    raise SystemExit(main())
