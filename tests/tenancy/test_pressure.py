"""Near the memory it may take the daemon refuses, in two stages, and takes both back."""

import pytest

from tenancy.admission import Gate, Level, LimitExceeded, Refusal
from tenancy.ledger import Books
from tenancy.limits import Limits
from tenancy.pressure import Pressure, Stage, stage_of

CEILING = 1000


def tenant(node: Level) -> Gate:
    return Gate(Level("app", "default/a", Limits()), Level("namespace", "default", Limits()), node)


@pytest.mark.parametrize(
    ("before", "share", "after"),
    [
        (Stage.NOTHING, 0.899, Stage.NOTHING),
        (Stage.NOTHING, 0.90, Stage.GROWTH),
        (Stage.NOTHING, 0.95, Stage.ALL),
        (Stage.GROWTH, 0.871, Stage.GROWTH),
        (Stage.GROWTH, 0.869, Stage.NOTHING),
        (Stage.GROWTH, 0.949, Stage.GROWTH),
        (Stage.ALL, 0.921, Stage.ALL),
        (Stage.ALL, 0.919, Stage.GROWTH),
        (Stage.ALL, 0.871, Stage.GROWTH),
        (Stage.ALL, 0.5, Stage.NOTHING),
        (Stage.NOTHING, 7.0, Stage.ALL),
    ],
)
def test_a_stage_begins_at_its_share_and_ends_somewhat_below(before: Stage, share: float, after: Stage) -> None:
    """Use that hovers around a share does not open and close the gate with every look."""
    assert stage_of(share, before) is after


def test_growth_is_refused_first_and_what_frees_is_let_in() -> None:
    """At 90 % no store grows, whoever pays; deletes, equal overwrites and requests go on."""
    node, books = Level("node", "node", Limits()), Books()
    gate, pressure = tenant(node), Pressure(node, books)
    account = books.open_ledger().account("a")
    account.charge(2, 20)
    pressure.update(900, CEILING)
    with pytest.raises(LimitExceeded) as caught:
        account.charge(1, 5)
    assert caught.value.refusal == Refusal("memory", "node", "node", CEILING, 900, 1.0)
    with pytest.raises(LimitExceeded):
        account.charge(0, 1)
    account.charge(0, 0)
    account.charge(-1, -10)
    assert (account.keys, account.size_bytes) == (1, 10), "a refusal charged nothing"
    assert gate.admit(0.0, 10) is None
    assert gate.acquire("streams") is None


def test_then_every_request_and_stream_is_refused() -> None:
    """At 95 %, also of an app attached since; nothing that is held is taken away."""
    node, books = Level("node", "node", Limits()), Books()
    gate, pressure = tenant(node), Pressure(node, books)
    assert gate.admit(0.0, 10) is None
    assert gate.acquire("streams") is None
    pressure.update(950, CEILING)
    told = Refusal("memory", "node", "node", CEILING, 950, 1.0)
    for each in (gate, tenant(node)):
        assert each.admit(0.0, 10) == told
        assert each.acquire("streams") == told
        assert each.acquire("deliveries_in_flight") is None, "what is queued may leave"
    gate.release(0.0, 10)
    gate.free("streams")
    assert gate.app.in_flight == 0
    assert gate.app.used["streams"] == 0


def test_the_refusal_tells_the_latest_figure() -> None:
    """While a stage lasts, each look updates what is told."""
    node, books = Level("node", "node", Limits()), Books()
    gate, pressure = tenant(node), Pressure(node, books)
    pressure.update(950, CEILING)
    pressure.update(990, CEILING)
    refusal = gate.admit(0.0, 0)
    assert refusal is not None
    assert refusal.used == 990
    assert str(refusal) == "memory of node exhausted: 990 of 1000 used, retry in 1 s"


def test_all_is_as_before_once_memory_is_free() -> None:
    """Ceilings that were set, or changed meanwhile, hold again; a rate was not spent by what was refused."""
    node, books = Level("node", "node", Limits(requests_per_second=1, streams=1)), Books()
    gate, pressure = tenant(node), Pressure(node, books)
    account = books.open_ledger().account("a")
    books.node.set_limits(Limits(state_keys=1))
    pressure.update(999, CEILING)
    assert gate.admit(0.0, 0) is not None
    books.node.set_limits(Limits(state_keys=2))
    with pytest.raises(LimitExceeded):
        account.charge(1, 1)
    pressure.update(100, CEILING)
    account.charge(2, 2)
    with pytest.raises(LimitExceeded) as caught:
        account.charge(1, 1)
    assert caught.value.refusal.limit == "state_keys"
    assert gate.admit(0.0, 0) is None
    refusal = gate.admit(0.0, 0)
    assert refusal is not None
    assert refusal.limit == "requests_per_second"
    assert gate.acquire("streams") is None
    assert gate.acquire("streams") is not None
