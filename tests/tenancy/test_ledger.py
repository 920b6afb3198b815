"""The books of the local stores: exact, all or nothing, and of names rather than of attachments."""

import contextlib
import threading
import time
from types import FrameType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from components.contract import Account, Ledger
from tenancy.admission import LimitExceeded
from tenancy.ledger import Books, Totals
from tenancy.limits import Limits

OWNERS = ["a", "b", "ns.a", "ns.b", "Nobody's", ""]


def levels(books: Books, namespace: str, app_id: str) -> list[Totals]:
    """App, namespace and node totals of a tenant."""
    return [books.app(namespace, app_id), books.namespace(namespace), books.node]


def kept(totals: Totals) -> tuple[int, int]:
    """Keys and bytes."""
    return totals.keys, totals.size_bytes


def test_a_store_ledger_is_what_components_are_promised() -> None:
    """The ledger and its accounts fit the component contract; an owner has one account."""
    ledger: Ledger = Books().open_ledger()
    account: Account = ledger.account("a")

    assert account is ledger.account("a")


@pytest.mark.parametrize("level", [0, 1, 2])
@pytest.mark.parametrize(
    ("limits", "limit"), [(Limits(state_keys=3), "state_keys"), (Limits(state_bytes=30), "state_bytes")]
)
def test_exactly_the_ceiling_fits_and_one_more_is_refused(level: int, limits: Limits, limit: str) -> None:
    """App, namespace and node ceilings alike; the refusal names the limit, whose it is, and what is used."""
    books = Books()
    account = books.open_ledger().account("ns.a")
    levels(books, "ns", "a")[level].set_limits(limits)
    account.charge(3, 30)

    with pytest.raises(LimitExceeded) as caught:
        account.charge(1, 1)

    refusal = caught.value.refusal
    assert (limit, ["app", "namespace", "node"][level]) == (refusal.limit, refusal.scope)
    assert ["ns/a", "ns", "node"][level] == refusal.subject
    assert refusal.allowed == refusal.used == getattr(limits, limit)
    assert refusal.retry_after_seconds > 0
    assert [kept(each) for each in levels(books, "ns", "a")] == [(3, 30)] * 3


def test_overwriting_charges_the_difference() -> None:
    """A full app may rewrite a value that does not grow, and delete, and then write again."""
    books = Books()
    account = books.open_ledger().account("a")
    books.app("default", "a").set_limits(Limits(state_keys=1, state_bytes=10))
    account.charge(1, 10)

    account.charge(0, 0)
    account.charge(0, -4)
    account.charge(0, 4)
    with pytest.raises(LimitExceeded):
        account.charge(0, 1)
    account.charge(-1, -10)
    account.charge(1, 10)


def test_shrinking_is_never_refused() -> None:
    """Above a lowered ceiling everything that frees goes through, until growth fits again."""
    books = Books()
    account = books.open_ledger().account("a")
    account.charge(10, 100)
    books.app("default", "a").set_limits(Limits(state_keys=2, state_bytes=20))
    for _ in range(9):
        account.charge(-1, -10)

    account.charge(1, 10)
    with pytest.raises(LimitExceeded):
        account.charge(1, 10)


def test_all_stores_of_an_app_are_paid_from_one_purse() -> None:
    """A second store gives no second allowance."""
    books = Books()
    books.app("default", "a").set_limits(Limits(state_keys=1))
    books.open_ledger().account("a").charge(1, 1)

    with pytest.raises(LimitExceeded):
        books.open_ledger().account("a").charge(1, 1)


def test_neighbours_count_for_the_ceilings_they_share() -> None:
    """A namespace that is full is full for each of its apps, and for no other namespace (jetstream#410)."""
    books = Books()
    ledger = books.open_ledger()
    books.namespace("ns").set_limits(Limits(state_keys=2))
    ledger.account("ns.a").charge(2, 2)

    with pytest.raises(LimitExceeded):
        ledger.account("ns.b").charge(1, 1)
    ledger.account("b").charge(1, 1)


def test_what_nobody_attached_left_behind_still_counts() -> None:
    """Data of an app that is gone fills its namespace and the node until it is deleted, and then frees them."""
    books = Books()
    ledger = books.open_ledger()
    ledger.recount({"ns.gone": (2, 20)})
    books.namespace("ns").set_limits(Limits(state_keys=2))

    with pytest.raises(LimitExceeded):
        ledger.account("ns.a").charge(1, 1)
    ledger.account("ns.gone").charge(-2, -20)
    ledger.account("ns.a").charge(1, 1)


@pytest.mark.parametrize(
    ("owner", "shared", "component_namespace", "payers"),
    [
        ("a", False, None, ["default/a", "default", "node"]),
        ("default.a", False, None, ["default/a", "default", "node"]),
        ("ns.a", False, None, ["ns/a", "ns", "node"]),
        ("ns.a", False, "ns", ["ns/a", "ns", "node"]),
        ("a", False, "ns", ["ns", "node"]),
        ("a", True, None, ["node"]),
        ("ns.a", True, "ns", ["ns", "node"]),
        ("", False, None, ["node"]),
        ("x.y.z", False, None, ["node"]),
    ],
)
def test_who_pays(owner: str, shared: bool, component_namespace: str | None, payers: list[str]) -> None:  # noqa: FBT001
    """An app pays for its own names.

    Names shared by keyPrefix, or nobody's, are paid by the component's namespace, if it has one, and by the node.
    """
    books = Books()

    found = books.levels_of(owner, shared=shared, namespace=component_namespace)

    assert payers == [totals.subject for totals in found]


def test_a_recount_replaces_what_was_counted() -> None:
    """What the store finds when it is opened is the truth, also above a ceiling and for owners it does not find."""
    books = Books()
    ledger, other = books.open_ledger(), books.open_ledger()
    other.account("a").charge(1, 1)
    ledger.account("a").charge(5, 50)
    ledger.account("b").charge(5, 50)
    books.app("default", "a").set_limits(Limits(state_keys=2))
    ledger.recount({"a": (7, 70)})

    assert [kept(each) for each in levels(books, "default", "a")] == [(8, 71), (8, 71), (8, 71)]
    assert kept(books.app("default", "b")) == (0, 0)
    assert ledger.listing() == {"a": (7, 70)}


def test_a_closed_store_counts_nowhere() -> None:
    """A component that was removed frees what it counted, and its late charges touch nothing."""
    books = Books()
    ledger = books.open_ledger()
    account = ledger.account("a")
    account.charge(3, 30)
    ledger.close()
    account.charge(1, 1)
    ledger.account("b").charge(1, 1)

    assert kept(books.node) == (0, 0)


def switch_at_every_line(_frame: FrameType, _event: str, _argument: Any) -> Any:
    """Let the other threads run before each line: a trace function."""
    time.sleep(0)
    return switch_at_every_line


def test_charges_from_many_threads_add_up_and_never_pass_the_ceiling() -> None:
    """Stores charge from writer threads: at the ceiling, in whatever order, counts stay exact and it holds."""
    books, ceiling = Books(), 2
    books.node.set_limits(Limits(state_keys=ceiling))
    ledger = books.open_ledger()
    seen: set[int] = set()
    charged = [0] * 4

    def work(place: int) -> None:
        account = ledger.account(OWNERS[place])
        for _ in range(40):
            with contextlib.suppress(LimitExceeded):
                account.charge(1, 7)
                charged[place] += 1
                seen.add(books.node.keys)
                account.charge(-1, -6)

    threads = [threading.Thread(target=work, args=(place,)) for place in range(4)]
    tracing = threading.gettrace()
    threading.settrace(switch_at_every_line)
    try:
        for thread in threads:
            thread.start()
    finally:
        threading.settrace(tracing)
    for thread in threads:
        thread.join(30)

    assert max(seen) <= ceiling
    assert kept(books.node) == (0, sum(charged))
    assert {OWNERS[place]: (0, n) for place, n in enumerate(charged) if n} == ledger.listing()


@given(st.text(max_size=6))
def test_any_owner_has_an_account(owner: str) -> None:
    """A shared file may hold names of any text: each is counted for the node at least."""
    books = Books()
    books.open_ledger().account(owner).charge(1, 1)

    assert kept(books.node) == (1, 1)


amounts = st.integers(-4, 4)
ceilings = st.builds(Limits, state_keys=st.none() | st.integers(0, 8), state_bytes=st.none() | st.integers(0, 8))


class LedgerMachine(RuleBasedStateMachine):
    """Two tenant stores and a shared one, charged in any order beside changes of every ceiling, against a plain sum."""

    def __init__(self) -> None:
        super().__init__()
        self.books = Books()
        self.stores = [self.books.open_ledger(), self.books.open_ledger(), self.books.open_ledger(shared=True)]
        self.model: dict[tuple[int, str], tuple[int, int]] = {}
        self.limits: dict[str, Limits] = {}

    def payers(self, store: int, owner: str) -> list[str]:
        """Independent of the code: the subjects an owner of a store is counted for."""
        tenants = {"a": ("default/a", "default"), "b": ("default/b", "default")}
        tenants |= {"ns.a": ("ns/a", "ns"), "ns.b": ("ns/b", "ns")}
        return ["node"] if store == 2 else [*tenants.get(owner, ()), "node"]

    def total(self, subject: str) -> tuple[int, int]:
        """Independent of the code: what a subject's charges add up to."""
        found = [count for (store, owner), count in self.model.items() if subject in self.payers(store, owner)]
        return sum(keys for keys, _ in found), sum(size for _, size in found)

    def fits(self, store: int, owner: str, keys: int, size: int) -> bool:
        """Independent of the code: whether no ceiling stands against growing by so much."""
        for subject in self.payers(store, owner):
            limits = self.limits.get(subject, Limits())
            has_keys, has_bytes = self.total(subject)
            if keys > 0 and limits.state_keys is not None and has_keys + keys > limits.state_keys:
                return False
            if size > 0 and limits.state_bytes is not None and has_bytes + size > limits.state_bytes:
                return False
        return True

    @rule(store=st.integers(0, 2), owner=st.sampled_from(OWNERS), keys=amounts, size=amounts)
    def charge(self, store: int, owner: str, keys: int, size: int) -> None:
        """A charge is made whole where it fits, and not at all where it does not."""
        had = self.model.get((store, owner), (0, 0))
        keys, size = max(keys, -had[0]), max(size, -had[1])
        if self.fits(store, owner, keys, size):
            self.stores[store].account(owner).charge(keys, size)
            self.model[store, owner] = (had[0] + keys, had[1] + size)
        else:
            with pytest.raises(LimitExceeded):
                self.stores[store].account(owner).charge(keys, size)

    @rule(app=st.sampled_from([("default", "a"), ("default", "b"), ("ns", "a"), ("ns", "b")]), limits=ceilings)
    def limit_app(self, app: tuple[str, str], limits: Limits) -> None:
        """An app's ceilings change, or it is detached and attached with others."""
        self.books.app(*app).set_limits(limits)
        self.limits["/".join(app)] = limits

    @rule(namespace=st.sampled_from(["default", "ns"]), limits=ceilings)
    def limit_namespace(self, namespace: str, limits: Limits) -> None:
        """A namespace's quota changes."""
        self.books.namespace(namespace).set_limits(limits)
        self.limits[namespace] = limits

    @rule(limits=ceilings)
    def limit_node(self, limits: Limits) -> None:
        """The node's quota changes."""
        self.books.node.set_limits(limits)
        self.limits["node"] = limits

    @rule(store=st.integers(0, 2), found=st.dictionaries(st.sampled_from(OWNERS), st.tuples(amounts, amounts)))
    def recount(self, store: int, found: dict[str, tuple[int, int]]) -> None:
        """A store is opened again and tells what it holds."""
        found = {owner: (abs(keys), abs(size)) for owner, (keys, size) in found.items()}
        self.stores[store].recount(found)
        self.model = {key: count for key, count in self.model.items() if key[0] != store}
        self.model |= {(store, owner): count for owner, count in found.items()}

    @precondition(lambda self: self.model)
    @rule(store=st.integers(0, 2))
    def reopen(self, store: int) -> None:
        """A component is removed and configured again, empty."""
        self.stores[store].close()
        self.stores[store] = self.books.open_ledger(shared=store == 2)
        self.model = {key: count for key, count in self.model.items() if key[0] != store}

    @invariant()
    def sums_equal_counts(self) -> None:
        """At every level the count is the sum of what its owners were charged."""
        for namespace in ("default", "ns"):
            assert self.total(namespace) == kept(self.books.namespace(namespace))
            for app_id in ("a", "b"):
                assert self.total(f"{namespace}/{app_id}") == kept(self.books.app(namespace, app_id))
        assert self.total("node") == kept(self.books.node)


TestLedgerMachine = LedgerMachine.TestCase
