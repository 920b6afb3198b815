"""The event log: bounded, and a flood is one entry."""

from hypothesis import given
from hypothesis import strategies as st

from tenancy.admission import Refusal
from tenancy.events import QUIET_SECONDS, EventLog


def refusal(limit: str = "locks", used: float = 1) -> Refusal:
    """A refusal by a namespace's ceiling."""
    return Refusal(limit, "namespace", "ns", 2, used, 1.0)


def test_an_event_tells_who_what_when_and_how_much() -> None:
    """Time, tenant, limit, whose ceiling, used and allowed."""
    log = EventLog()
    log.record(5.0, "ns/a", "refused", refusal())

    (event,) = log.listing()
    assert (event.tenant, event.what, event.limit, event.subject) == ("ns/a", "refused", "locks", "ns")
    assert (event.first_at, event.last_at, event.count, event.used, event.allowed) == (5.0, 5.0, 1, 1, 2)


def test_a_flood_of_one_refusal_is_one_entry_with_a_count() -> None:
    """Ten thousand refusals say when they began, when the last was, how many, and the last use."""
    log = EventLog()
    for turn in range(10_000):
        log.record(turn / 1000, "ns/a", "refused", refusal(used=turn))

    (event,) = log.listing()
    assert (event.first_at, event.last_at, event.count, event.used) == (0.0, 9.999, 10_000, 9999)


def test_a_flood_does_not_push_out_what_happened_to_others() -> None:
    """Two tenants flooding in turn take two places, and an older event of a third stays."""
    log = EventLog(size=3)
    log.record(0.0, "ns/quiet", "refused", refusal())
    for turn in range(1000):
        log.record(turn / 1000, f"ns/{turn % 2}", "refused", refusal())

    assert [event.tenant for event in log.listing()] == ["ns/quiet", "ns/0", "ns/1"]


def test_what_happens_again_after_a_quiet_time_is_a_new_event() -> None:
    """This morning's flood and tonight's are two."""
    log = EventLog()
    for at in (0.0, QUIET_SECONDS - 1, 2 * QUIET_SECONDS):
        log.record(at, "ns/a", "refused", refusal())

    assert [(event.first_at, event.count) for event in log.listing()] == [(0.0, 2), (2 * QUIET_SECONDS, 1)]


def test_events_of_one_tenant_can_be_asked_for() -> None:
    """An app is shown its own."""
    log = EventLog()
    for tenant in ("ns/a", "ns/b", "ns/a"):
        log.record(0.0, tenant, "refused", refusal("locks" if len(log) < 2 else "jobs"))

    assert [event.limit for event in log.listing("ns/a")] == ["locks", "jobs"]


@given(st.integers(1, 5), st.lists(st.tuples(st.sampled_from("abcdefg"), st.floats(0, 100)), max_size=40))
def test_the_log_never_outgrows_its_size_and_keeps_the_newest(size: int, happened: list[tuple[str, float]]) -> None:
    """Whatever happens, the oldest fall out and what happened last is in."""
    log, now = EventLog(size), 0.0
    for tenant, pause in happened:
        now += pause
        log.record(now, tenant, "refused", refusal())

        assert len(log) <= size
        assert any((event.tenant, event.last_at) == (tenant, now) for event in log.listing())
        assert len({(event.tenant, event.first_at) for event in log.listing()}) <= size
