"""Ceilings combine to the smallest that is set."""

from hypothesis import given
from hypothesis import strategies as st

from tenancy.limits import DEFAULTS, FIELDS, Limits, app_limits, smallest

amounts = st.none() | st.integers(0, 10)


@given(st.lists(amounts, min_size=1, max_size=4))
def test_the_smallest_ceiling_that_is_set_is_effective(found: list[int | None]) -> None:
    """App, namespace and node each may set a limit; None sets none, and 0 is a limit."""
    effective = smallest(*(Limits(streams=each) for each in found))

    assert min((each for each in found if each is not None), default=None) == effective.streams


def test_queues_have_a_ceiling_though_nobody_set_one() -> None:
    """Events wait in the daemon's memory, so an app whose resources say nothing still has a bounded queue."""
    effective = app_limits(Limits())

    assert effective.queued_messages is not None
    assert effective.queued_bytes is not None
    assert all(getattr(effective, name) is None for name in FIELDS if not name.startswith("queued"))


def test_a_default_yields_to_what_resources_say() -> None:
    """An app or a quota may set its queues higher or lower than the default."""
    assert DEFAULTS.queued_messages is not None
    more = DEFAULTS.queued_messages + 1

    assert more == app_limits(Limits(queued_messages=more)).queued_messages
    assert app_limits(Limits(), Limits(queued_messages=0)).queued_messages == 0


def test_an_apps_own_limit_and_every_per_app_quota_hold_together() -> None:
    """A default for each app does not vanish because the app sets other limits (nats jetstream#267)."""
    effective = app_limits(Limits(locks=3), Limits(streams=7, locks=5), Limits(streams=9, jobs=1))

    assert (effective.locks, effective.streams, effective.jobs) == (3, 7, 1)
