"""Tenants and quotas together: what an operator changes while the node runs."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.contract import QueueBounds
from tenancy.admission import LimitExceeded, Refusal
from tenancy.limits import FIELDS, Limits
from tenancy.tenant import NO_QUOTA, Quota, Tenant, Tenants


def new_tenants() -> Tenants:
    """A node with nobody on it, at second 7."""
    return Tenants(clock=lambda: 7.0)


def refused(refusal: Refusal | None) -> Refusal:
    """The refusal that must be there."""
    assert refusal is not None
    return refusal


def test_two_namespaces_may_hold_equal_app_ids() -> None:
    """Each is a tenant of its own, with its own counts."""
    tenants = new_tenants()
    one, other = tenants.attach("default", "a"), tenants.attach("ns", "a")
    one.gate.admit(0.0, 0)

    assert (one.id, other.id) == ("default/a", "ns/a")
    assert (one.gate.app.in_flight, other.gate.app.in_flight) == (1, 0)
    assert other is tenants.get("ns", "a")
    assert [one, other] == list(tenants)


@pytest.mark.parametrize(("namespace", "app_id"), [("default", "a.b"), ("a.b", "a"), ("default", "")])
def test_a_malformed_name_cannot_attach(namespace: str, app_id: str) -> None:
    """Names decide what data an app reaches, so the registry itself refuses one that could be another's."""
    with pytest.raises(ValueError, match="must be 1 to 63"):
        new_tenants().attach(namespace, app_id)


def test_an_attached_name_cannot_attach_again() -> None:
    """Nobody takes over an app's identity by attaching over it; once detached, the name is free."""
    tenants = new_tenants()
    first = tenants.attach("default", "a")
    with pytest.raises(ValueError, match="app a of namespace default is attached already"):
        tenants.attach("default", "a")
    tenants.detach(first)

    assert tenants.get("default", "a") is None
    assert first is not tenants.attach("default", "a")


def test_detaching_twice_does_not_touch_a_successor() -> None:
    """A late clean-up of an old attachment leaves the new one alone."""
    tenants = new_tenants()
    first = tenants.attach("default", "a")
    tenants.detach(first)
    second = tenants.attach("default", "a")
    tenants.detach(first)

    assert second is tenants.get("default", "a")


def test_an_app_with_limits_of_its_own_keeps_its_quotas_defaults() -> None:
    """PerApp holds for apps that set other limits, and for apps attached before and after it (jetstream#267)."""
    tenants = new_tenants()
    early = tenants.attach("ns", "early", Limits(jobs=1))
    tenants.set_quota("ns", Quota(per_app=Limits(locks=2)), 0.0)
    tenants.set_quota(None, Quota(per_app=Limits(streams=3)), 0.0)
    late = tenants.attach("ns", "late")

    assert (early.limits.jobs, early.limits.locks, early.limits.streams) == (1, 2, 3)
    assert (late.limits.jobs, late.limits.locks, late.limits.streams) == (None, 2, 3)


def test_a_per_app_quota_is_for_each_and_a_total_for_all() -> None:
    """Two apps may have a lock each; a third lock passes the total."""
    tenants = new_tenants()
    tenants.set_quota("ns", Quota(per_app=Limits(locks=1), total=Limits(locks=2)), 0.0)
    a, b, c = (tenants.attach("ns", name) for name in "abc")

    assert [a.gate.acquire("locks"), b.gate.acquire("locks")] == [None, None]
    assert refused(a.gate.acquire("locks")).scope == "app"
    assert refused(c.gate.acquire("locks")).scope == "namespace"


@pytest.mark.parametrize("namespace", ["ns", None])
def test_a_quota_set_changed_and_removed_takes_effect_at_once(namespace: str | None) -> None:
    """Neither app nor daemon restarts (nats-server#2971); what is held counts under the new ceiling."""
    tenants = new_tenants()
    gate = tenants.attach("ns", "a").gate
    assert gate.acquire("locks", 2) is None
    granted = []
    for total in (Limits(locks=1), Limits(locks=3), Limits(locks=2), Limits()):
        tenants.set_quota(namespace, Quota(total=total), 1.0)
        granted.append(gate.acquire("locks") is None)
        if granted[-1]:
            gate.free("locks")

    assert granted == [False, True, False, True]


def test_the_quotas_in_force_are_known_by_namespace() -> None:
    """A reload can tell which quotas its resources no longer hold."""
    tenants = new_tenants()
    tenants.set_quota(None, Quota(total=Limits(locks=1)), 0.0)
    tenants.set_quota("ns", Quota(per_app=Limits(locks=1)), 0.0)
    tenants.set_quota("gone", Quota(per_app=Limits(locks=1)), 0.0)
    tenants.set_quota("gone", NO_QUOTA, 0.0)

    assert {None, "ns"} == tenants.quota_namespaces()


@pytest.mark.parametrize("namespace", ["ns", None])
def test_a_quota_of_stored_data_is_kept_by_the_books(namespace: str | None) -> None:
    """Set, changed and removed, it holds for all apps together, one that is not attached included."""
    tenants = new_tenants()
    tenants.attach("ns", "a")
    ledger = tenants.books.open_ledger()
    ledger.account("ns.gone").charge(1, 1)
    tenants.set_quota(namespace, Quota(total=Limits(state_keys=2)), 0.0)
    ledger.account("ns.a").charge(1, 1)
    with pytest.raises(LimitExceeded):
        ledger.account("ns.a").charge(1, 1)
    tenants.set_quota(namespace, NO_QUOTA, 0.0)

    ledger.account("ns.a").charge(1, 1)


def test_a_write_that_ends_after_its_app_left_still_meets_the_ceiling() -> None:
    """Detaching is no way around a limit."""
    tenants = new_tenants()
    tenant = tenants.attach("ns", "a", Limits(state_keys=1))
    account = tenants.books.open_ledger().account("ns.a")
    tenants.detach(tenant)
    account.charge(1, 1)

    with pytest.raises(LimitExceeded):
        account.charge(1, 1)


def test_an_apps_own_limits_change_while_it_runs() -> None:
    """Up and down, for counts and for what is stored."""
    tenants = new_tenants()
    tenant = tenants.attach("ns", "a", Limits(state_keys=1))
    account = tenants.books.open_ledger().account("ns.a")
    account.charge(1, 1)
    with pytest.raises(LimitExceeded):
        account.charge(1, 1)
    tenants.set_limits(tenant, Limits(state_keys=2), 0.0)
    account.charge(1, 1)
    tenants.set_limits(tenant, Limits(state_keys=1), 0.0)

    with pytest.raises(LimitExceeded):
        account.charge(1, 1)


def test_an_app_that_left_frees_what_it_held() -> None:
    """Its locks and requests count no longer for the quota (nats-server#3420: its reservation stayed)."""
    tenants = new_tenants()
    tenants.set_quota(None, Quota(total=Limits(locks=1, concurrent_requests=1)), 0.0)
    leaver, stayer = tenants.attach("ns", "a"), tenants.attach("ns", "b")
    assert leaver.gate.acquire("locks") is None
    assert leaver.gate.admit(0.0, 0) is None
    tenants.detach(leaver)

    assert stayer.gate.acquire("locks") is None
    assert stayer.gate.admit(0.0, 0) is None


def test_leaving_and_coming_back_gives_no_new_room_in_the_stores() -> None:
    """Stored data belongs to the name: counted while detached, and met by the ceiling at once on return."""
    tenants = new_tenants()
    limits = Limits(state_keys=1)
    first = tenants.attach("ns", "a", limits)
    account = tenants.books.open_ledger().account("ns.a")
    account.charge(1, 5)
    tenants.detach(first)
    assert (tenants.books.namespace("ns").keys, tenants.books.namespace("ns").size_bytes) == (1, 5)
    again = tenants.attach("ns", "a", limits)

    with pytest.raises(LimitExceeded):
        account.charge(1, 1)
    account.charge(-1, -5)
    account.charge(1, 1)
    assert again.stored.keys == 1


def test_leaving_and_coming_back_does_not_refill_the_namespaces_bucket() -> None:
    """A quota's rate is of the namespace, so re-attaching its only app is no way around it."""
    tenants = new_tenants()
    tenants.set_quota("ns", Quota(total=Limits(requests_per_second=1)), 0.0)
    first = tenants.attach("ns", "a")
    assert first.gate.admit(10.0, 0) is None
    tenants.detach(first)

    assert refused(tenants.attach("ns", "a").gate.admit(10.0, 0)).scope == "namespace"


@given(st.lists(st.sampled_from(["ns", "default", None]), max_size=8))
def test_churn_leaves_nothing_behind(steps: list[str | None]) -> None:
    """Namespaces whose apps and quotas are gone are forgotten: the node's books do not grow with names once used."""
    tenants = new_tenants()
    for turn, namespace in enumerate(steps):
        tenants.set_quota(namespace, Quota(total=Limits(locks=1)), 0.0)
        tenants.attach(namespace or "ns", f"app-{turn}")
    for tenant in tenants:
        tenants.detach(tenant)
    for namespace in set(steps):
        tenants.set_quota(namespace, NO_QUOTA, 0.0)

    assert [report.subject for report in tenants.reports(0.0)] == ["node"]
    assert len(tenants) == 0
    assert not tenants.node.gates


def refuse_and_tell(tenant: Tenant) -> None:
    """Meet a ceiling of each level once, as the one who answers does."""
    for limit in ("locks", "jobs", "streams"):
        tenant.refused(refused(tenant.gate.acquire(limit)))


def test_every_refusal_is_counted_and_in_the_event_log() -> None:
    """Counted for the app by limit, for the level whose ceiling it was, and noted with the time."""
    tenants = new_tenants()
    tenants.set_quota("ns", Quota(total=Limits(jobs=0)), 0.0)
    tenants.set_quota(None, Quota(total=Limits(streams=0)), 0.0)
    tenant = tenants.attach("ns", "a", Limits(locks=0))
    refuse_and_tell(tenant)

    assert tenant.usage.refusals == {"locks": 1, "jobs": 1, "streams": 1}
    refusals = {
        report.subject: {limit for limit, use in report.limits.items() if use.refused}
        for report in tenants.reports(0.0)
    }
    assert {"node": {"streams"}, "ns": {"jobs"}} == refusals
    assert [(event.tenant, event.limit, event.subject) for event in tenants.events.listing()] == [
        ("ns/a", "locks", "ns/a"),
        ("ns/a", "jobs", "ns"),
        ("ns/a", "streams", "node"),
    ]
    assert {7.0} == {event.last_at for event in tenants.events.listing()}


def test_a_report_tells_used_allowed_and_refused_of_every_limit() -> None:
    """What `noded usage` shows: the app's own use, under its effective ceiling."""
    tenants = new_tenants()
    tenants.set_quota("ns", Quota(total=Limits(locks=1)), 0.0)
    tenant = tenants.attach("ns", "a", Limits(locks=5, requests_per_second=4))
    tenants.books.open_ledger().account("ns.a").charge(2, 20)
    assert tenant.gate.admit(1.0, 0) is None
    assert tenant.gate.acquire("locks") is None
    tenant.refused(refused(tenant.gate.acquire("locks")))

    report = tenant.report(1.0)
    assert report.subject == "ns/a"
    assert set(FIELDS) == set(report.limits)
    expected = {
        "locks": (1, 1, 1),
        "requests_per_second": (1, 4, 0),
        "concurrent_requests": (1, None, 0),
        "state_keys": (2, None, 0),
        "state_bytes": (20, None, 0),
        "jobs": (0, None, 0),
    }
    assert expected == {
        limit: (use.used, use.allowed, use.refused) for limit, use in report.limits.items() if limit in expected
    }


@pytest.mark.parametrize("limits", [Limits(queued_messages=1), Limits(queued_bytes=10)])
def test_a_full_queue_takes_nothing_and_counts_what_it_drops(limits: Limits) -> None:
    """Messages and bytes are reserved together or not at all; a dropped message is counted and in the event log."""
    tenants = new_tenants()
    tenant = tenants.attach("ns", "a", limits)
    queue: QueueBounds = tenant.queue
    assert queue.take(1, 10)
    assert not queue.take(1, 10)
    queue.dropped(1)

    held = tenant.gate.app.used
    assert (held["queued_messages"], held["queued_bytes"]) == (1, 10)
    assert tenant.usage.dropped_events == 1
    assert [event.what for event in tenants.events.listing()] == ["dropped"]
    assert queue.take(-1, -10)
    assert queue.take(1, 10)


def test_a_queue_is_bounded_though_nobody_limits_it() -> None:
    """A slow subscriber cannot fill the node's memory on default settings."""
    tenant = new_tenants().attach("ns", "a")
    taken = 0
    while tenant.queue.take(1, 1 << 20):
        taken += 1
        assert taken < 1_000_000

    assert taken > 0


changes = st.tuples(
    st.sampled_from(["attach", "detach", "limit", "quota", "total", "acquire", "free"]),
    st.sampled_from(["ns", "default"]),
    st.sampled_from(["a", "b"]),
    st.integers(0, 3),
)


@given(st.lists(changes, max_size=40))
def test_counts_stay_exact_through_any_changes(steps: list[tuple[str, str, str, int]]) -> None:
    """The node holds the sum of its attached apps, whatever is attached, limited and held in any order.

    Something is granted exactly when app, namespace and node have room.
    """
    tenants, quotas = new_tenants(), {"ns": NO_QUOTA, "default": NO_QUOTA}
    for what, namespace, app_id, n in steps:
        tenant = tenants.get(namespace, app_id)
        if what == "quota":
            quotas[namespace] = replace_quota(quotas[namespace], per_app=n)
            tenants.set_quota(namespace, quotas[namespace], 0.0)
        elif what == "total":
            quotas[namespace] = replace_quota(quotas[namespace], total=n)
            tenants.set_quota(namespace, quotas[namespace], 0.0)
        elif tenant is None:
            tenants.attach(namespace, app_id, Limits(locks=n or None))
        else:
            change(tenants, tenant, what, n)
        check_sums(tenants, quotas)


def replace_quota(quota: Quota, *, per_app: int | None = None, total: int | None = None) -> Quota:
    """The quota with another number of locks; 0 takes the ceiling away."""
    if total is not None:
        return Quota(quota.per_app, replace(quota.total, locks=total or None))
    return Quota(replace(quota.per_app, locks=per_app or None), quota.total)


def change(tenants: Tenants, tenant: Tenant, what: str, n: int) -> None:
    """One step of an attached tenant."""
    held = tenant.gate.app.held("locks")
    if what == "detach":
        tenants.detach(tenant)
    elif what == "limit":
        tenants.set_limits(tenant, Limits(locks=n or None), 0.0)
    elif what == "free":
        tenant.gate.free("locks", min(n, held))
    elif what == "acquire":
        room = all(
            level.limits.locks is None or level.held("locks") + n <= level.limits.locks for level in tenant.gate.levels
        )
        assert room == (tenant.gate.acquire("locks", n) is None)


def check_sums(tenants: Tenants, quotas: dict[str, Quota]) -> None:
    """Each level's count is its apps' sum, and each app's ceiling the smaller of its own and its quota's."""
    held = {tenant.id: tenant.gate.app.held("locks") for tenant in tenants}
    assert sum(held.values()) == tenants.node.held("locks")
    for tenant in tenants:
        neighbours = [n for name, n in held.items() if name.startswith(f"{tenant.namespace}/")]
        assert sum(neighbours) == tenant.gate.namespace.held("locks")
        ceilings = {tenant.own_limits.locks, quotas[tenant.namespace].per_app.locks} - {None}
        assert min(ceilings, default=None) == tenant.gate.app.limits.locks  # type: ignore[type-var]
        assert quotas[tenant.namespace].total.locks == tenant.gate.namespace.limits.locks
