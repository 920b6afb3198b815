"""What an app keeps is counted to the key and the byte, whatever happens: a life of one daemon, and its next ones."""

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from random import Random

import pytest

from tests.daemon.server_clients import (
    MEMORY,
    HttpClient,
    app,
    eventually,
    operator,
    quota,
    resources,
    sqlite,
)
from tests.daemon_process import Daemon, write_resources
from tests.proof.isolation_names import Tenant
from tests.proof.isolation_tenant import DONE, REFUSED, GrpcTenant, HttpTenant
from tests.proof.node import Place, counts_of_file, place, used_stored

TENANTS: tuple[Tenant, ...] = (("default", "a"), ("default", "b"), ("team", "a"))
STORES = ("statestore", "memory")
KEYS = [f"k{number}" for number in range(12)] + ["é", "日本", "a/b", "x" * 200]
LENGTHS = (0, 1, 10, 300, 5000)
TTL_SECONDS = 1
Kept = dict[str, object]


def described(
    limits: dict[str, object] | None = None, tenants: tuple[Tenant, ...] = TENANTS, journal: str = "busy"
) -> dict[str, str]:
    """The resources; `limits` are those of default/a."""
    apps = [
        app(app_id, namespace, limits=(limits or {}) if (namespace, app_id) == TENANTS[0] else {})
        for namespace, app_id in tenants
    ]
    return resources(sqlite(journal=journal), MEMORY, quota("team", "team", total={"stateKeys": 10_000}), *apps)


@dataclass
class Life:
    """A running daemon, and what was told to be kept."""

    daemon: Daemon
    journal: str
    kept: dict[tuple[Tenant, str], Kept] = field(
        default_factory=lambda: {(tenant, store): {} for tenant in TENANTS for store in STORES}
    )

    def cost(self, tenant: Tenant, stores: tuple[str, ...] = STORES) -> tuple[int, int]:
        """(keys, bytes) that a tenant's items come to."""
        owner = ".".join(tenant)
        sizes = [
            len(f"{owner}||{key}".encode()) + len(value)
            for store in stores
            for key, value in self.kept[tenant, store].items()
            if isinstance(value, bytes)
        ]
        return len(sizes), sum(sizes)

    def check(self, tenants: tuple[Tenant, ...] = TENANTS) -> None:
        """What the operator is told, and the file itself, against what was told to be kept."""
        costs = {tenant: self.cost(tenant) for tenant in TENANTS}
        for tenant in tenants:
            assert used_stored(self.daemon, "/".join(tenant)) == costs[tenant], tenant
        assert used_stored(self.daemon, "team") == costs["team", "a"]
        assert used_stored(self.daemon, "node") == tuple(map(sum, zip(*costs.values(), strict=True)))
        in_file = {".".join(tenant): cost for tenant in TENANTS if (cost := self.cost(tenant, ("statestore",)))[0]}
        path = self.daemon.state_dir / "state.db"
        eventually(lambda: counts_of_file(path), lambda found: found == in_file)  # the journal may be ahead of it

    def work(self, random: Random, steps: int) -> None:
        """Anything, by anyone: overwrite, delete, bulk, transaction, refused ones among them."""
        with self.clients() as clients:
            for _ in range(steps):
                tenant, store = random.choice(TENANTS), random.choice(STORES)
                self._step(random, clients[tenant, random.random() < 0.5], self.kept[tenant, store], store)

    def save_exactly(self, tenant: Tenant, store: str, key: str, size: int) -> int:
        """Save a value of so many bytes; the status."""
        value = b'"' + b"v" * (size - 2) + b'"'
        with closing(HttpClient(self.daemon.http_socket(tenant[1], tenant[0]))) as client:
            body = b'[{"key":"%b","value":%b}]' % (key.encode(), value)
            status = client("POST", f"/v1.0/state/{store}", body).status
        if status == 204:
            self.kept[tenant, store][key] = value
        return status

    def change(self, **limits: object) -> None:
        """Give default/a other limits while it works."""
        write_resources(self.daemon.root, described(limits, journal=self.journal))
        operator(self.daemon, "/v1/reload", "POST")

    @contextmanager
    def clients(self) -> Iterator[dict[tuple[Tenant, bool], HttpTenant | GrpcTenant]]:
        with ExitStack() as stack:
            yield {
                (tenant, grpc): stack.enter_context(closing((GrpcTenant if grpc else HttpTenant)(self.daemon, tenant)))
                for tenant in TENANTS
                for grpc in (False, True)
            }

    def _step(self, random: Random, client: HttpTenant | GrpcTenant, kept: Kept, store: str) -> None:
        chosen = random.sample(KEYS, random.choice((1, 1, 2, 5)))
        values: dict[str, object] = {key: "v" * random.choice(LENGTHS) for key in chosen}
        match random.randrange(6):
            case 0:
                assert client.delete(store, chosen[0]) == DONE
                kept.pop(chosen[0], None)
            case 1:
                steps = [(key, None if random.random() < 0.4 else value) for key, value in values.items()]
                assert client.transact(store, [*steps, ("again", 1), ("again", None)]) == DONE
                _take(kept, dict(steps))
            case 2:
                assert client.transact(store, [*values.items(), ("a||b", 1)]) == REFUSED
            case 3:
                assert client.save(store, values, "5f0c0f4e-0000-4000-8000-000000000000") == REFUSED
            case 4 if isinstance(client, GrpcTenant):
                assert client.delete_many(store, chosen) == DONE
                _take(kept, dict.fromkeys(chosen))
            case _:
                assert client.save(store, values) == DONE
                _take(kept, values)


def _take(kept: Kept, changes: dict[str, object]) -> None:
    for key, value in changes.items():
        kept.pop(key, None)
        if value is not None:
            kept[key] = b'"%b"' % str(value).encode()


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("journal", ["busy", "always"])
def test_counts_are_exact_through_a_daemons_whole_life(journal: str) -> None:
    """Work, expiry, live change down and up, removal of a tenant and its return, kill -9, restart: never one off."""
    random = Random(5)
    with place(described(journal=journal), {app_id: namespace for namespace, app_id in TENANTS}) as here:
        life = Life(here.start(), journal)
        life.work(random, 150)
        life.check()
        _expire(life)
        life = _expire_while_down(here, life)
        _lower_and_raise(life)
        life = _after(here, life, signal.SIGKILL)
        life.work(random, 80)
        life.check()
        _remove_and_return(life)
        life = _after(here, life, signal.SIGTERM)
        life.work(random, 40)
        life.check()
        life.daemon.stop()


def _expire(life: Life) -> None:
    """Items with a time to live count while they are there, and no longer."""
    tenant = TENANTS[0]
    before = life.cost(tenant)
    with closing(HttpClient(life.daemon.http_socket("a"))) as client:
        items = [{"key": f"ttl{number}", "value": "v", "metadata": {"ttlInSeconds": "2"}} for number in range(5)]
        for store in STORES:
            assert client("POST", f"/v1.0/state/{store}", items).status == 204
    with_them = before[0] + 10, before[1] + 2 * sum(len(f"default.a||ttl{number}") + 3 for number in range(5))
    assert used_stored(life.daemon, "default/a") in {with_them, before}, "before only where two seconds went by"
    eventually(lambda: used_stored(life.daemon, "default/a"), lambda told: told == before)
    life.check()


def _expire_while_down(here: Place, life: Life) -> Life:
    """What expires while there is no daemon, after kill -9, is not counted by the next; what has longer is."""
    tenant = TENANTS[2]
    kept = life.kept[tenant, "statestore"]
    with closing(HttpClient(life.daemon.http_socket("a", "team"))) as client:
        assert client("POST", "/v1.0/state/statestore/transaction", {"operations": _short_lives(kept)}).status == 204
    saved = time.monotonic()
    life.daemon.process.kill()
    life.daemon.process.wait(15)
    time.sleep(max(0.0, saved + TTL_SECONDS + 0.1 - time.monotonic()))  # nobody is there to be asked
    again = _next(here, life)
    cost = again.cost(tenant)
    eventually(lambda: used_stored(again.daemon, "team/a"), lambda told: told == cost)
    again.check()
    return again


def _short_lives(kept: Kept) -> list[dict[str, object]]:
    """Operations: new items that expire soon, an old one that now does, one that no longer does, one that has long."""
    soon = {"ttlInSeconds": str(TTL_SECONDS)}
    given: list[tuple[str, object, dict[str, str]]] = [
        *((f"ttl{number}", "v" * number, soon) for number in range(5)),
        ("stays", "v", soon),
        ("stays", "vv", {"ttlInSeconds": "-1"}),
        ("long", "v", {"ttlInSeconds": "3600"}),
        *((key, "now with an end", soon) for key in list(kept)[:1]),
    ]
    for key in list(kept)[:1]:
        del kept[key]
    kept.update({"stays": b'"vv"', "long": b'"v"'})
    return [
        {"operation": "upsert", "request": {"key": key, "value": value, "metadata": metadata}}
        for key, value, metadata in given
    ]


def _lower_and_raise(life: Life) -> None:
    """A ceiling below what is kept takes nothing and refuses growth; at it the last byte fits, one more not."""
    tenant = TENANTS[0]
    keys, size_bytes = life.cost(tenant)
    life.change(stateKeys=keys - 2, stateBytes="1Gi")
    assert life.save_exactly(tenant, "memory", "new", 10) == 429
    assert used_stored(life.daemon, "default/a") == (keys, size_bytes), "nothing was evicted"
    for store in STORES:
        room = len("default.a||edge") + 100
        life.change(stateKeys="1M", stateBytes=size_bytes + room)
        assert life.save_exactly(tenant, store, "edge", 101) == 429
        assert life.save_exactly(tenant, store, "edge", 100) == 204
        assert life.save_exactly(tenant, store, "edge", 101) == 429
        assert life.save_exactly(tenant, store, "edge", 99) == 204
        life.check()
        keys, size_bytes = life.cost(tenant)
    life.change(stateKeys=keys)
    assert life.save_exactly(tenant, "memory", "one-more", 10) == 429
    assert life.save_exactly(tenant, "memory", "edge", 5000) == 204, "an overwrite takes no key"
    life.change()
    assert life.save_exactly(tenant, "memory", "one-more", 10) == 204
    life.check()


def _remove_and_return(life: Life) -> None:
    """What a removed tenant left counts for its namespace and the node, and for the tenant when it returns.

    What of it expires meanwhile is given back.
    """
    with closing(HttpClient(life.daemon.http_socket("a", "team"))) as client:
        item = {"key": "ttl", "value": "v", "metadata": {"ttlInSeconds": str(TTL_SECONDS)}}
        for store in STORES:
            assert client("POST", f"/v1.0/state/{store}", [item]).status == 204
    write_resources(life.daemon.root, described(tenants=TENANTS[:2], journal=life.journal))
    operator(life.daemon, "/v1/reload", "POST")
    listing = operator(life.daemon, "/v1/usage")
    assert isinstance(listing, list)
    assert "team/a" not in {each["subject"] for each in listing}
    eventually(lambda: used_stored(life.daemon, "team"), lambda told: told == life.cost(TENANTS[2]))
    life.check(TENANTS[:2])
    write_resources(life.daemon.root, described(journal=life.journal))
    operator(life.daemon, "/v1/reload", "POST")
    life.check()


def _after(here: Place, life: Life, ending: signal.Signals) -> Life:
    """The next daemon on the same files, which counts right from the start."""
    life.daemon.process.send_signal(ending)
    life.daemon.process.wait(15)
    again = _next(here, life)
    again.check()
    return again


def _next(here: Place, life: Life) -> Life:
    """What was in memory is gone, and no longer counted."""
    again = Life(here.start(), life.journal, life.kept)
    for tenant in TENANTS:
        again.kept[tenant, "memory"].clear()
    return again
