"""Gates: what a tenant passes is asked of app, namespace and node, and taken at all of them or at none."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenancy.admission import COUNTED, Gate, Level, LimitExceeded, Refusal, Scope
from tenancy.limits import FIELDS, Limits

SCOPES: tuple[Scope, ...] = ("app", "namespace", "node")

ceilings = st.builds(
    Limits,
    requests_per_second=st.none() | st.sampled_from([0.5, 1.0, 3.0]),
    bytes_per_second=st.none() | st.sampled_from([10.0, 100.0]),
    concurrent_requests=st.none() | st.integers(0, 3),
    locks=st.none() | st.integers(0, 3),
)


class Node:
    """Two namespaces; two apps in the first, one in the second."""

    def __init__(self, app: Limits = Limits(), namespace: Limits = Limits(), node: Limits = Limits()) -> None:  # noqa: B008
        self.node = Level("node", "node", node)
        self.first = Level("namespace", "ns", namespace)
        self.second = Level("namespace", "other", Limits())
        self.gates = [
            Gate(Level("app", "ns/a", app), self.first, self.node),
            Gate(Level("app", "ns/b", Limits()), self.first, self.node),
            Gate(Level("app", "other/a", Limits()), self.second, self.node),
        ]
        self.levels = [self.node, self.first, self.second, *(gate.app for gate in self.gates)]

    def counts(self, now: float) -> list[object]:
        """Everything that a request could have taken, at every level."""
        return [
            (
                level.in_flight,
                dict(level.used),
                level.requests and pytest.approx(level.requests.used(now)),
                level.bytes and pytest.approx(level.bytes.used(now)),
            )
            for level in self.levels
        ]


def node_with(limits: Limits, scope: Scope) -> Node:
    """A node whose first app, first namespace, or whole has these ceilings."""
    return Node(**{scope: limits})


def refused(refusal: Refusal | None) -> Refusal:
    """The refusal that must be there."""
    assert refusal is not None
    return refusal


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize(
    ("limits", "limit"),
    [
        (Limits(requests_per_second=2), "requests_per_second"),
        (Limits(concurrent_requests=2), "concurrent_requests"),
        (Limits(bytes_per_second=20), "bytes_per_second"),
    ],
)
def test_exactly_what_is_allowed_is_admitted(scope: Scope, limits: Limits, limit: str) -> None:
    """Two of two are admitted, the third is refused, naming the limit, whose it is, what is used and when to retry."""
    gate = node_with(limits, scope).gates[0]

    assert gate.admit(10.0, 10) is None
    assert gate.admit(10.0, 10) is None
    refusal = refused(gate.admit(10.0, 10))

    assert (limit, scope) == (refusal.limit, refusal.scope)
    assert {"app": "ns/a", "namespace": "ns", "node": "node"}[scope] == refusal.subject
    assert getattr(limits, limit) == refusal.allowed
    assert refusal.used == pytest.approx(refusal.allowed)
    assert refusal.retry_after_seconds > 0


@pytest.mark.parametrize(("scope", "sharers"), [("app", [0]), ("namespace", [0, 1]), ("node", [0, 1, 2])])
def test_a_ceiling_counts_the_use_of_all_who_share_it(scope: Scope, sharers: list[int]) -> None:
    """One app's requests leave less for the others of its namespace or node, and for nobody else (jetstream#410)."""
    node = node_with(Limits(concurrent_requests=1, locks=1), scope)
    assert node.gates[0].admit(0.0, 0) is None
    assert node.gates[0].acquire("locks") is None

    assert sharers == [place for place, gate in enumerate(node.gates) if gate.admit(0.0, 0) is not None]
    assert sharers == [place for place, gate in enumerate(node.gates) if gate.acquire("locks") is not None]


def test_release_makes_room() -> None:
    """A request that ended no longer counts."""
    gate = Node(Limits(concurrent_requests=1)).gates[0]
    assert gate.admit(0.0, 0) is None
    gate.release(0.0, 0)

    assert gate.admit(0.0, 0) is None


def test_a_replys_bytes_are_charged_to_the_next_request() -> None:
    """Reply sizes are known only afterwards: they leave a debt that the next request waits for."""
    gate = Node(Limits(bytes_per_second=100)).gates[0]
    assert gate.admit(0.0, 0) is None
    gate.release(0.0, 300)

    assert refused(gate.admit(0.0, 0)).retry_after_seconds == pytest.approx(2.0)
    assert gate.admit(2.0, 0) is None


def test_bytes_of_a_stream_are_charged_while_it_runs() -> None:
    """A stream cannot move bytes around the limit."""
    gate = Node(Limits(bytes_per_second=100)).gates[0]
    gate.charge_bytes(0.0, 150)

    assert refused(gate.admit(0.0, 0)).limit == "bytes_per_second"


@given(ceilings, ceilings, ceilings, st.lists(st.tuples(st.floats(0, 1), st.integers(0, 200)), max_size=12))
def test_a_refused_request_takes_nothing_anywhere(
    app: Limits, namespace: Limits, node: Limits, asked: list[tuple[float, int]]
) -> None:
    """Whichever level refuses, no count and no bucket of any level has moved; an admitted one counts at all three."""
    world = Node(app, namespace, node)
    gate, now = world.gates[0], 100.0
    for pause, size in asked:
        now += pause
        before, in_flight = world.counts(now), gate.app.in_flight
        if gate.admit(now, size) is not None or gate.acquire("workflows") is not None:
            assert before == world.counts(now)
        else:
            assert [in_flight + 1] * 3 == [level.in_flight for level in gate.levels]
            gate.free("workflows")


@given(ceilings, ceilings, ceilings, st.lists(st.tuples(st.integers(0, 2), st.integers(-2, 3)), max_size=30))
def test_what_is_held_never_passes_a_ceiling_and_always_adds_up(
    app: Limits, namespace: Limits, node: Limits, moves: list[tuple[int, int]]
) -> None:
    """Held by a namespace or the node is the sum of what its apps hold, whatever was refused in between."""
    world = Node(app, namespace, node)
    for place, n in moves:
        gate = world.gates[place]
        held = gate.app.held("locks")
        if n < 0:
            gate.free("locks", min(-n, held))
        elif gate.acquire("locks", n) is not None:
            assert held == gate.app.held("locks")

        a, b, c = (each.app.held("locks") for each in world.gates)
        assert (a + b, c, a + b + c) == tuple(level.held("locks") for level in (world.first, world.second, world.node))
        for level in world.levels:
            assert level.limits.locks is None or level.held("locks") <= level.limits.locks


@pytest.mark.parametrize("limit", COUNTED)
@pytest.mark.parametrize("scope", SCOPES)
def test_every_counted_limit_is_kept_at_every_level(limit: str, scope: Scope) -> None:
    """No limit is forgotten (nats-server#5770): exactly at is granted, one over is refused, a freed one is granted."""
    gate = node_with(Limits(**{limit: 2}), scope).gates[0]

    assert gate.acquire(limit, 2) is None
    assert (limit, scope) == (refused(gate.acquire(limit)).limit, refused(gate.acquire(limit)).scope)
    gate.free(limit)
    assert gate.acquire(limit) is None


def test_every_limit_has_one_place_that_keeps_it() -> None:
    """A field of Limits is a rate, a count of the gate, a count of the ledger, or the size of one request."""
    rates = {"requests_per_second", "bytes_per_second", "concurrent_requests"}

    assert {*rates, *COUNTED, "state_keys", "state_bytes", "request_bytes"} == set(FIELDS)


@pytest.mark.parametrize("scope", SCOPES)
def test_a_ceiling_set_while_running_counts_what_is_already_held(scope: Scope) -> None:
    """A first limit takes effect at once, also on requests and locks from before it (nats-server#2971)."""
    node = Node()
    gate = node.gates[0]
    assert gate.admit(0.0, 0) is None
    assert gate.acquire("locks") is None
    {"app": gate.app, "namespace": node.first, "node": node.node}[scope].set_limits(
        Limits(concurrent_requests=1, locks=1), 1.0
    )

    assert refused(gate.admit(1.0, 0)).used == 1
    assert refused(gate.acquire("locks")).used == 1
    gate.release(1.0, 0)
    gate.free("locks")
    assert gate.admit(1.0, 0) is None
    assert gate.acquire("locks") is None


def test_a_lowered_ceiling_refuses_until_enough_was_freed() -> None:
    """Lowering takes nothing away: it refuses more, until use is below the new ceiling."""
    gate = Node(Limits(locks=3)).gates[0]
    assert gate.acquire("locks", 3) is None
    gate.app.set_limits(Limits(locks=1), 0.0)

    granted = []
    for _ in range(3):
        gate.free("locks")
        granted.append(gate.acquire("locks") is None)
        if granted[-1]:
            gate.free("locks")
    assert granted == [False, False, True]


def test_a_raised_or_removed_ceiling_admits_at_once() -> None:
    """No restart, and no waiting for what was refused."""
    gate = Node(Limits(locks=1, requests_per_second=1)).gates[0]
    assert gate.acquire("locks") is None
    assert gate.admit(0.0, 0) is None
    gate.app.set_limits(Limits(locks=2), 0.0)

    assert gate.acquire("locks") is None
    assert gate.admit(0.0, 0) is None


@pytest.mark.parametrize("limits", [Limits(requests_per_second=5), Limits(bytes_per_second=5)])
def test_changing_another_limit_does_not_refill_a_bucket(limits: Limits) -> None:
    """A reload does not hand out a new burst."""
    gate = Node(limits).gates[0]
    for _ in range(5):
        assert gate.admit(0.0, 1) is None
    gate.app.set_limits(replace(limits, locks=1), 0.0)

    assert gate.admit(0.0, 1) is not None


def test_a_closed_gate_leaves_nothing_behind() -> None:
    """An app that goes while it holds something no longer counts for those who stay.

    nats-server#3420: a deleted account kept its reservation.
    """
    node = Node(node=Limits(locks=2, concurrent_requests=2))
    leaver, stayer = node.gates[0], node.gates[1]
    assert leaver.acquire("locks", 2) is None
    assert stayer.admit(0.0, 0) is None
    assert leaver.admit(0.0, 0) is None
    leaver.close()

    assert (node.node.held("locks"), node.first.held("locks")) == (0, 0)
    assert stayer.acquire("locks", 2) is None
    assert stayer.admit(0.0, 0) is None


def test_what_ends_after_its_gate_closed_is_not_counted_twice() -> None:
    """A request that outlives its app's detachment ends without taking from the others' counts."""
    node = Node()
    leaver, stayer = node.gates[0], node.gates[1]
    for gate in (leaver, stayer):
        assert gate.admit(0.0, 0) is None
        assert gate.acquire("streams") is None
    leaver.close()
    leaver.release(1.0, 10)
    leaver.free("streams")

    assert [level.in_flight for level in (node.first, node.node)] == [1, 1]
    assert [level.held("streams") for level in (node.first, node.node)] == [1, 1]
    assert (leaver.app.in_flight, leaver.app.held("streams")) == (0, 0)


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize(
    ("limits", "met"), [(Limits(queued_messages=2), "queued_messages"), (Limits(queued_bytes=20), "queued_bytes")]
)
def test_a_queue_s_messages_and_bytes_are_taken_together_at_every_level(limits: Limits, met: str, scope: Scope) -> None:
    """As `acquire` of each would: the same refusal, nothing kept of it, and what is freed may be had again."""
    node = node_with(limits, scope)
    gate = node.gates[0]
    for _ in range(2):
        assert gate.acquire_queued(1, 10) is None
    before = node.counts(0.0)

    refusal = refused(gate.acquire_queued(1, 10))
    assert (refusal.limit, refusal.scope) == (met, scope)
    assert refusal == gate.acquire(met, {"queued_messages": 1, "queued_bytes": 10}[met])
    assert node.counts(0.0) == before
    gate.free_queued(2, 20)
    assert [level.held(name) for level in node.levels for name in ("queued_messages", "queued_bytes")] == [0] * 12
    assert gate.acquire_queued(1, 10) is None
    with pytest.raises(AssertionError, match="ns/a frees more"):
        gate.free_queued(1, 11)


def test_freeing_what_is_not_held_is_a_fault_of_the_caller() -> None:
    """A count that goes below zero would hide a leak elsewhere."""
    gate = Node().gates[0]

    with pytest.raises(AssertionError, match="ns/a frees more locks than it holds"):
        gate.free("locks")


@pytest.mark.parametrize(
    ("refusal", "text"),
    [
        (
            Refusal("state_keys", "app", "ns/a", 10, 10, 60.0),
            "stateKeys of app ns/a exhausted: 10 of 10 used, retry in 60 s",
        ),
        (
            Refusal("requests_per_second", "node", "node", 2.5, 2.25, 0.012345),
            "requestsPerSecond of node exhausted: 2.5 of 2.5 used, retry in 0.0123 s",
        ),
        (
            Refusal("state_bytes", "namespace", "ns", 1 << 40, 3, 60.0),
            "stateBytes of namespace ns exhausted: 3 of 1099511627776 used, retry in 60 s",
        ),
    ],
)
def test_a_refusal_says_which_limit_how_much_and_when_to_retry(refusal: Refusal, text: str) -> None:
    """The text an app or an operator reads."""
    assert text == str(LimitExceeded(refusal))
