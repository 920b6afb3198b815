"""One daemon with several tenants, and for each a model of what it would see alone.

State and notes belong to a tenant alone; events, and calls by app id, to its namespace.
"""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from itertools import count

from tests.daemon.server_clients import RecordingApp, app, eventually, recording_app, resources
from tests.daemon_process import Daemon, running_daemon
from tests.proof.isolation_names import (
    COMPONENTS,
    KEYS,
    STORES,
    STREAMED,
    SUBSCRIBED,
    TENANTS,
    Tenant,
    may_use,
    topics_of,
)
from tests.proof.isolation_stream import stream
from tests.proof.isolation_tenant import DONE, GrpcTenant, HttpTenant
from tests.proof.node import used_stored

PROTOCOLS = ("http", "grpc")
PLAIN_KEYS = ("", *KEYS)


@dataclass
class Alone:
    """What one tenant would see if it were alone."""

    stores: dict[str, dict[str, object]] = field(default_factory=lambda: {store: {} for store in STORES})
    notes: dict[str, str] = field(default_factory=dict)
    events: Counter[tuple[str, int]] = field(default_factory=Counter)
    """{(route, event): times it must arrive}."""


@dataclass
class World:
    """One daemon, every tenant's clients and apps, and what each must see."""

    daemon: Daemon
    apps: dict[Tenant, RecordingApp]
    clients: dict[tuple[Tenant, str], HttpTenant | GrpcTenant]
    streams: dict[Tenant, list[int]]
    """The numbers of the events that each one's stream was given."""
    alone: dict[Tenant, Alone] = field(default_factory=lambda: {tenant: Alone() for tenant in TENANTS})
    numbers: Iterator[int] = field(default_factory=count)

    def client(self, tenant: Tenant, protocol: str) -> HttpTenant | GrpcTenant:
        return self.clients[tenant, protocol]

    def heard(self, tenant: Tenant) -> Counter[tuple[str, int]]:
        """What a tenant's app was sent, by route and event."""
        received = tuple(self.apps[tenant].received)
        events = [(path, json.loads(body)["data"]) for method, path, _, body in received if method == "POST"]
        streamed = (("stream", number) for number in tuple(self.streams.get(tenant, ())))
        return Counter([*((path, data["event"]) for path, data in events), *streamed])

    def check_stored(self, tenant: Tenant) -> None:
        """Everything under any name, by both protocols, and what it is counted for."""
        mine = self.alone[tenant].stores
        for store in filter(lambda store: may_use(tenant, store), STORES):
            for protocol in PROTOCOLS:
                assert self.client(tenant, protocol).get_many(store, PLAIN_KEYS) == mine[store], (tenant, store)
        owners = {"statestore": _daprd_owner, "memory": _full_owner, "own": _full_owner}
        sizes = [
            len(f"{owners[store](tenant)}||{key}".encode()) + len(_stored(value))
            for store, items in mine.items()
            for key, value in items.items()
        ]
        assert used_stored(self.daemon, "/".join(tenant)) == (len(sizes), sum(sizes))

    def check_heard(self) -> None:
        """Every event arrived where it must, as often as it must, and nowhere else."""
        for tenant in TENANTS:
            expected = self.alone[tenant].events
            found = eventually(lambda tenant=tenant: self.heard(tenant), lambda heard, due=expected: not due - heard)  # type: ignore[misc]
            assert found == expected, tenant

    def forget(self) -> None:
        """Begin the next example with empty stores and no events, whatever this one left: it may have failed."""
        for tenant in TENANTS:
            for store in filter(lambda store: may_use(tenant, store), STORES):
                assert self.client(tenant, "grpc").transact(store, [(key, None) for key in PLAIN_KEYS]) == DONE
                self.alone[tenant].stores[store].clear()
            self.alone[tenant].events.clear()
            self.apps[tenant].received.clear()
            self.streams.get(tenant, []).clear()


def _daprd_owner(tenant: Tenant) -> str:
    return tenant[1] if tenant[0] == "default" else ".".join(tenant)


def _full_owner(tenant: Tenant) -> str:
    return ".".join(tenant)


def _stored(value: object) -> bytes:
    """Both clients send values as Python's json writes them, and both stores keep them so."""
    return json.dumps(value).encode()


@contextmanager
def world() -> Iterator[World]:
    """Start everything; ends when each app's subscriptions are open."""
    with ExitStack() as stack:
        apps = {
            tenant: stack.enter_context(
                recording_app(
                    "/".join(tenant),
                    [
                        {"pubsubname": "pubsub", "topic": topic, "route": f"/{number}"}
                        for number, topic in enumerate(topics)
                    ],
                )
            )
            for tenant, topics in SUBSCRIBED.items()
        }
        specs = [app(app_id, namespace, channel=apps[namespace, app_id].channel) for namespace, app_id in TENANTS]
        daemon = stack.enter_context(running_daemon(resources(*COMPONENTS, *specs)))
        made: dict[tuple[Tenant, str], HttpTenant | GrpcTenant] = {}
        for tenant in TENANTS:
            eventually(lambda tenant=tenant: daemon.grpc_socket(tenant[1], tenant[0]).exists())  # type: ignore[misc]
            made[tenant, "http"] = stack.enter_context(closing(HttpTenant(daemon, tenant)))
            made[tenant, "grpc"] = stack.enter_context(closing(GrpcTenant(daemon, tenant)))
        streams = {tenant: stack.enter_context(stream(daemon, tenant, topic)) for tenant, topic in STREAMED.items()}
        for tenant in TENANTS:
            wanted = topics_of(tenant)
            eventually(lambda tenant=tenant: made[tenant, "http"].metadata()[3], lambda told, due=wanted: told == due)  # type: ignore[misc]
        yield World(daemon, apps, made, streams)
