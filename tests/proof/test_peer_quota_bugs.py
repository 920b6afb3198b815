"""Quota bugs that runtimes like this one had: each a test of the rule that was broken there."""

from dataclasses import replace
from pathlib import Path

import pytest

from tenancy.admission import COUNTED, LimitExceeded
from tenancy.limits import DEFAULTS, FIELDS, Limits
from tenancy.tenant import NO_QUOTA, Quota, Tenants
from tests.conformance.state.rig import Rig, Store, delete, write


def new_tenants() -> Tenants:
    return Tenants(clock=lambda: 0.0)


HELD = pytest.mark.parametrize("limit", COUNTED)


@HELD
def test_a_removed_account_keeps_no_reservation(limit: str) -> None:
    """An account was deleted and what it had reserved stayed taken: nobody else could have it."""
    tenants = new_tenants()
    tenants.set_quota(None, Quota(total=replace(Limits(), **{limit: 2})), 0.0)
    gone = tenants.attach("team", "gone")
    assert gone.gate.acquire(limit, 2) is None
    stays = tenants.attach("team", "stays")
    assert stays.gate.acquire(limit) is not None
    tenants.detach(gone)
    assert stays.gate.acquire(limit, 2) is None
    assert tenants.node.held(limit) == 2


@HELD
def test_a_ceiling_of_all_counts_what_others_hold(limit: str) -> None:
    """Resources were refused, or granted, by what one account used alone, while others shared the same store."""
    tenants = new_tenants()
    tenants.set_quota("team", Quota(total=replace(Limits(), **{limit: 3})), 0.0)
    one, two = tenants.attach("team", "one"), tenants.attach("team", "two")
    assert one.gate.acquire(limit, 2) is None
    refusal = two.gate.acquire(limit, 2)
    assert refusal is not None
    assert (refusal.scope, refusal.subject, refusal.used, refusal.allowed) == ("namespace", "team", 2, 3)
    assert two.gate.acquire(limit) is None
    assert tenants.attach("other", "one").gate.acquire(limit, 100) is None, "who is not of the namespace is not asked"


@pytest.mark.parametrize("said", [Limits(requests_per_second=5), Limits(state_keys=1), Limits(queued_messages=10)])
def test_defaults_hold_once_somebody_is_configured(said: Limits) -> None:
    """With the first account configured, the defaults of all that were not mentioned were lost."""
    tenants = new_tenants()
    tenants.set_quota("team", Quota(per_app=said), 0.0)
    for tenant in (tenants.attach("team", "a"), tenants.attach("team", "b", said), tenants.attach("other", "a")):
        for name in FIELDS:
            if getattr(said, name) is None and (default := getattr(DEFAULTS, name)) is not None:
                assert getattr(tenant.limits, name) == default
    tenants.set_quota("team", NO_QUOTA, 1.0)
    left = tenants.get("team", "a")
    assert left is not None
    assert left.limits == DEFAULTS


@pytest.mark.parametrize("level", ["app", "per_app", "namespace", "node"])
def test_a_changed_limit_needs_no_restart(level: str) -> None:
    """A limit was read at start only: a change took effect when the server was restarted."""
    tenants = new_tenants()
    tenant = tenants.attach("team", "a")
    assert tenant.gate.acquire("streams", 5) is None

    def change(limits: Limits) -> None:
        if level == "app":
            tenants.set_limits(tenant, limits, 1.0)
        elif level == "per_app":
            tenants.set_quota("team", Quota(per_app=limits), 1.0)
        else:
            tenants.set_quota("team" if level == "namespace" else None, Quota(total=limits), 1.0)

    change(Limits(streams=5, requests_per_second=1, state_keys=1))
    assert tenant.gate.acquire("streams") is not None
    assert tenant.gate.admit(1.0, 0) is None
    assert tenant.gate.admit(1.0, 0) is not None
    account = tenants.books.open_ledger().account("team.a")
    account.charge(1, 1)
    with pytest.raises(LimitExceeded):
        account.charge(1, 1)
    change(Limits(streams=6))
    assert tenant.gate.acquire("streams") is None
    assert tenant.gate.admit(1.0, 0) is None
    account.charge(1, 1)


@pytest.mark.parametrize("backend", ["state.in-memory", "state.sqlite"])
def test_a_limit_on_bytes_holds_for_what_is_in_files_too(backend: str, tmp_path: Path) -> None:
    """A ceiling held for memory and was ignored for files."""
    rig = Rig(tmp_path)
    try:
        store = Store(rig, rig.open(backend, {"connectionString": str(tmp_path / "x.db")} if "sql" in backend else {}))
        rig.books.app("default", "app").set_limits(Limits(state_bytes=100))
        store.set("app||k", b"x" * 94)
        with pytest.raises(LimitExceeded):
            store.set("app||k", b"x" * 95)
        with pytest.raises(LimitExceeded):
            store.set("app||l", b"")
        assert rig.listing() == {"app": (1, 100)}
    finally:
        rig.close()


def test_what_was_drained_is_room_again(tmp_path: Path) -> None:
    """A queue was emptied and the disk stayed full: what is deleted is used again before the file grows."""
    rig = Rig(tmp_path)
    try:
        path = tmp_path / "x.db"
        store = Store(rig, rig.open("state.sqlite", {"connectionString": str(path)}))
        sizes = []
        for _ in range(6):
            keys = [f"app||{number}" for number in range(300)]
            store.transact(*(write(key, b"x" * 2000) for key in keys))
            store.transact(*(delete(key) for key in keys))
            assert rig.listing() == {}
            rig.run(store.inner.aclose())
            sizes.append(path.stat().st_size)
            store = Store(rig, rig.open("state.sqlite", {"connectionString": str(path)}))
        assert sizes[-1] <= sizes[0] * 1.1
    finally:
        rig.close()


def test_leaving_and_coming_back_counts_nothing_twice() -> None:
    """An account that was updated, or came back under its name, was counted again on top of itself."""
    tenants = new_tenants()
    tenants.set_quota(None, Quota(total=Limits(state_keys=3, connections=2)), 0.0)
    ledger = tenants.books.open_ledger()
    ledger.account("a").charge(2, 20)
    for _ in range(10):
        tenant = tenants.attach("default", "a")
        assert tenant.gate.acquire("connections", 2) is None
        tenants.detach(tenant)
        ledger.recount({"a": (2, 20)})
    assert (tenants.books.node.keys, tenants.books.node.size_bytes) == (2, 20)
    assert tenants.node.held("connections") == 0
    ledger.account("a").charge(1, 1)
    with pytest.raises(LimitExceeded):
        ledger.account("a").charge(1, 1)


def test_what_is_dropped_is_told() -> None:
    """A full queue dropped requests and nobody could see whose, why, or how many."""
    tenants = new_tenants()
    tenant = tenants.attach("default", "a", Limits(queued_messages=1))
    assert tenant.queue.take(1, 10)
    for _ in range(3):
        assert not tenant.queue.take(1, 10)
        tenant.queue.dropped(1)
    assert tenant.usage.dropped_events == 3
    (event,) = tenants.events.listing("default/a")
    assert (event.what, event.limit, event.count, event.allowed) == ("dropped", "queued_messages", 3, 1)
    assert tenant.gate.app.used["queued_bytes"] == 10, "what found no room takes none"


def test_one_apps_deliveries_leave_anothers_alone() -> None:
    """A limit on concurrency was one for all consumers of a broker: a slow one held up the others."""
    tenants = new_tenants()
    slow = tenants.attach("default", "slow", Limits(deliveries_in_flight=2))
    quick = tenants.attach("default", "quick", Limits(deliveries_in_flight=2))
    assert slow.gate.acquire("deliveries_in_flight", 2) is None
    assert slow.gate.acquire("deliveries_in_flight") is not None
    assert quick.gate.acquire("deliveries_in_flight", 2) is None


def test_an_overwrite_is_charged_its_difference(tmp_path: Path) -> None:
    """Every write was charged in full, so that who rewrote one item ran out of room; or a shrink gave none back."""
    rig = Rig(tmp_path)
    try:
        store = Store(rig, rig.open("state.in-memory"))
        rig.books.app("default", "app").set_limits(Limits(state_keys=1, state_bytes=106))
        for size in (100, 1, 100, 50, 0, 100):
            store.set("app||k", b"x" * size)
            assert rig.listing() == {"app": (1, 6 + size)}
    finally:
        rig.close()
