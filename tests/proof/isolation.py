"""Several tenants with names made to collide, doing anything at all: `python -m tests.proof.isolation --examples 500`.

Whatever a tenant is answered must be what a model of it alone says (`isolation_world.py`). Over every block, HTTP and
gRPC, one real daemon.
"""

import argparse
from typing import ClassVar

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from noded.version import RUNTIME_VERSION
from tests.proof.isolation_names import (
    KEYS,
    REFUSED_KEYS,
    STORES,
    TENANTS,
    TOPICS,
    Tenant,
    listens,
    may_use,
    topics_of,
)
from tests.proof.isolation_tenant import DONE, REFUSED, GrpcTenant, in_path
from tests.proof.isolation_world import PROTOCOLS, World, world

tenants = st.sampled_from(TENANTS)
stores = st.sampled_from(STORES)
protocols = st.sampled_from(PROTOCOLS)
keys = st.sampled_from((*KEYS, *KEYS, *REFUSED_KEYS, ""))
values = st.one_of(st.integers(0, 9), st.text(max_size=8), st.none(), st.lists(st.booleans(), max_size=3))
contents = st.one_of(st.integers(0, 9), st.text(max_size=8))


class Tenants(RuleBasedStateMachine):
    """Rules: what a tenant may do. After each example all is checked, and begins anew."""

    here: ClassVar[World]

    @rule(who=tenants, by=protocols, store=stores, items=st.dictionaries(keys, values, min_size=1, max_size=3))
    def save(self, who: Tenant, by: str, store: str, items: dict[str, object]) -> None:
        refused = not may_use(who, store) or any("||" in key or not key for key in items)
        assert self.here.client(who, by).save(store, items) == (REFUSED if refused else DONE)
        if not refused:
            self.here.alone[who].stores[store].update(items)

    @rule(pair=st.tuples(tenants, tenants), by=protocols, store=stores, key=st.sampled_from(KEYS), value=values)
    def save_by_etag(self, pair: tuple[Tenant, Tenant], by: str, store: str, key: str, value: object) -> None:
        """Only one's own version counts, also where another's item of that name has the one that is shown."""
        who, whose = pair
        if not may_use(who, store) or not may_use(whose, store):
            return
        _, etag = self.here.client(whose, "grpc").get(store, key)
        if etag:
            done = self.here.client(who, by).save(store, {key: value}, etag)
            assert done == (DONE if who == whose else REFUSED)
            self.here.alone[who].stores[store].update({key: value} if who == whose else {})

    @rule(pair=st.tuples(tenants, tenants), by=protocols, store=stores, key=st.sampled_from(KEYS))
    def delete_by_etag(self, pair: tuple[Tenant, Tenant], by: str, store: str, key: str) -> None:
        """Another's version of an item of that name takes nobody's item away; one's own takes one's own."""
        who, whose = pair
        if not may_use(who, store) or not may_use(whose, store) or (by == "http" and not in_path(key)):
            return
        _, etag = self.here.client(whose, "grpc").get(store, key)
        if etag:
            done = self.here.client(who, by).delete(store, key, etag)
            assert done == (DONE if who == whose else REFUSED)
            if who == whose:
                del self.here.alone[who].stores[store][key]

    @rule(who=tenants, by=protocols, store=stores, key=keys)
    def delete(self, who: Tenant, by: str, store: str, key: str) -> None:
        if by == "http" and not in_path(key):
            return
        refused = not may_use(who, store) or "||" in key
        assert self.here.client(who, by).delete(store, key) == (REFUSED if refused else DONE)
        if not refused:
            self.here.alone[who].stores[store].pop(key, None)

    @rule(who=tenants, store=stores, chosen=st.lists(keys, min_size=1, max_size=4))
    def delete_many(self, who: Tenant, store: str, chosen: list[str]) -> None:
        client = self.here.client(who, "grpc")
        assert isinstance(client, GrpcTenant)
        refused = not may_use(who, store) or any("||" in key for key in chosen)
        assert client.delete_many(store, chosen) == (REFUSED if refused else DONE)
        for key in () if refused else chosen:
            self.here.alone[who].stores[store].pop(key, None)

    @rule(who=tenants, by=protocols, store=stores, steps=st.lists(st.tuples(keys, contents | st.none()), max_size=4))
    def transact(self, who: Tenant, by: str, store: str, steps: list[tuple[str, object]]) -> None:
        refused = not may_use(who, store) or any("||" in key for key, _ in steps)
        assert self.here.client(who, by).transact(store, steps) == (REFUSED if refused else DONE)
        for key, value in () if refused else steps:
            self.here.alone[who].stores[store].pop(key, None)
            self.here.alone[who].stores[store].update({} if value is None else {key: value})

    @rule(who=tenants, by=protocols, store=stores, key=keys)
    def get(self, who: Tenant, by: str, store: str, key: str) -> None:
        if by == "http" and not in_path(key):
            return
        refused = not may_use(who, store) or "||" in key
        expected = REFUSED if refused else self.here.alone[who].stores[store].get(key)
        assert self.here.client(who, by).get(store, key)[0] == expected

    @rule(who=tenants, by=protocols, store=stores, chosen=st.lists(keys, min_size=1, max_size=5, unique=True))
    def get_many(self, who: Tenant, by: str, store: str, chosen: list[str]) -> None:
        mine = self.here.alone[who].stores[store]
        refused = not may_use(who, store) or any("||" in key for key in chosen)
        expected = REFUSED if refused else {key: mine[key] for key in chosen if key in mine}
        assert self.here.client(who, by).get_many(store, chosen) == expected

    @rule(who=tenants, by=protocols, topic=st.sampled_from(TOPICS))
    def publish(self, who: Tenant, by: str, topic: str) -> None:
        number = next(self.here.numbers)
        for tenant in TENANTS:
            self.here.alone[tenant].events.update((route, number) for route in listens(tenant, who, topic))
        assert self.here.client(who, by).publish(topic, {"event": number}) == DONE

    @rule(who=tenants, by=protocols, topic=st.sampled_from(TOPICS), count=st.integers(1, 3))
    def publish_many(self, who: Tenant, by: str, topic: str, count: int) -> None:
        numbers = [next(self.here.numbers) for _ in range(count)]
        for tenant in TENANTS:
            routes = listens(tenant, who, topic)
            self.here.alone[tenant].events.update((route, number) for route in routes for number in numbers)
        assert self.here.client(who, by).publish_many(topic, [{"event": number} for number in numbers]) == DONE

    @rule(who=tenants, by=protocols, app_id=st.sampled_from(["a", "A", "team", "b", "a*", "%25"]))
    def invoke(self, who: Tenant, by: str, app_id: str) -> None:
        callee = (who[0], app_id)
        assert self.here.client(who, by).invoke(app_id) == ("/".join(callee) if callee in TENANTS else REFUSED)

    @rule(who=tenants, by=protocols, whom=tenants)
    def invoke_by_namespace(self, who: Tenant, by: str, whom: Tenant) -> None:
        """Dapr's `app.namespace` names one app, whoever asks."""
        assert self.here.client(who, by).invoke(f"{whom[1]}.{whom[0]}") == "/".join(whom)

    @rule(who=tenants, by=protocols, key=st.sampled_from(KEYS), value=st.text(max_size=5))
    def note(self, who: Tenant, by: str, key: str, value: str) -> None:
        if by == "http" and not in_path(key):
            return
        assert self.here.client(who, by).note(key, value) == DONE
        self.here.alone[who].notes[key] = value

    @rule(who=tenants, by=protocols)
    def metadata(self, who: Tenant, by: str) -> None:
        app_id, components, extended, topics = self.here.client(who, by).metadata()
        own = [f"own state.{'sqlite' if who[0] == 'team' else 'in-memory'}"] if may_use(who, "own") else []
        assert app_id == who[1]
        assert components == ["memory state.in-memory", *own, "pubsub pubsub.in-memory", "statestore state.sqlite"]
        assert topics == topics_of(who)
        fixed = {"daprRuntimeVersion": RUNTIME_VERSION, "nodedNamespace": who[0]}
        assert extended == {**fixed, **self.here.alone[who].notes}

    def teardown(self) -> None:
        try:
            for tenant in TENANTS:
                self.here.check_stored(tenant)
            self.here.check_heard()
        finally:
            self.here.forget()


def prove(examples: int, steps: int, *phases: Phase) -> None:
    """Drive one daemon so often; always the same examples."""
    drive = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        derandomize=True,
        phases=phases,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    with world() as here:
        Tenants.here = here
        run_state_machine_as_test(Tenants, settings=drive)
        here.check_heard()


def main() -> None:
    """Run by hand."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--examples", type=int, default=500)
    parser.add_argument("--steps", type=int, default=60)
    options = parser.parse_args()
    prove(options.examples, options.steps, Phase.generate, Phase.shrink)
    print(f"{options.examples} examples of up to {options.steps} steps: each tenant saw what is its own")  # noqa: T201


if __name__ == "__main__":
    main()
