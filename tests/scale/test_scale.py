"""Many apps on one daemon: each idle one costs little, none slows another's coming, and nobody leaves anything behind.

Absolute times are for `python -m tests.scale`, by hand on a quiet machine.
"""

import statistics
from collections.abc import Iterator

import pytest

from tests.daemon_process import Daemon, running_daemon
from tests.scale.churn import BREATH_KB, churn
from tests.scale.node import app_id, detach, first_answer_seconds, footprint, many_apps, operator_of, usage_seconds

APPS = 1000
APP_KB = 50.0
"""The most a further idle app may cost."""
ATTACHED = 9
LIVES = 120
LIFE_KB = 20
"""Less than an attached app holds: were one kept, it would show."""
CHURN_SECONDS = 60


@pytest.fixture(scope="module")
def few() -> Iterator[Daemon]:
    with running_daemon(many_apps(1), {app_id(0): "default"}) as daemon:
        yield daemon


@pytest.fixture(scope="module")
def many() -> Iterator[Daemon]:
    with running_daemon(many_apps(APPS + 1), {app_id(APPS): "default"}) as daemon:
        yield daemon


@pytest.mark.slow
def test_a_further_idle_app_costs_at_most_fifty_kilobytes(few: Daemon, many: Daemon) -> None:
    """Sockets, tenant, limits, books and bindings of a thousand apps, shared out."""
    with operator_of(few) as of_few, operator_of(many) as of_many:
        grown_kb = (footprint(many, of_many).rss_kb - footprint(few, of_few).rss_kb) * 1.024
    assert grown_kb / APPS <= APP_KB


@pytest.mark.slow
def test_attaching_costs_as_much_beside_a_thousand_apps_as_beside_one(few: Daemon, many: Daemon) -> None:
    """Nothing on the way from attach to first answer grows with the number of apps (a scan would cost far more)."""
    beside = {}
    for name, daemon in (("few", few), ("many", many)):
        with operator_of(daemon) as operator:
            taken = [first_answer_seconds(daemon, operator, f"late-{number}") for number in range(ATTACHED)]
            for number in range(ATTACHED):
                detach(operator, f"late-{number}")
        beside[name] = statistics.median(taken)
    assert beside["many"] <= 4 * beside["few"]


@pytest.mark.slow
def test_usage_tells_of_all_of_a_thousand_apps(many: Daemon) -> None:
    """The operator's table is complete."""
    with operator_of(many) as operator:
        _, told = usage_seconds(operator)
    assert told >= APPS + 1


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_apps_that_come_and_go_leave_nothing() -> None:
    """A minute of lives, with a channel and without: after half of them no descriptor, thread or task stays.

    Nor memory: less than an app's a life, and in all no more than allocators breathe.
    """
    found = churn(rounds=2 * LIVES, seconds=CHURN_SECONDS)
    warm, last = found.warm, found.last
    assert found.lives >= LIVES
    assert last.descriptors <= warm.descriptors
    assert last.tasks <= warm.tasks
    assert last.threads <= warm.threads + 1
    assert last.rss_kb - warm.rss_kb <= min(LIFE_KB * found.lives, BREATH_KB)
