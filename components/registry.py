"""Every backend there is: component type -> where its class stands. The one place to add one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Generic, Protocol, TypeVar

from components.contract import Capability, ConfigError, PubSub, StateStore, Surroundings
from components.fields import Field

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Factory(Protocol[T_co]):
    """The class of a backend."""

    type: str
    capabilities: frozenset[Capability]
    fields: Sequence[Field]

    def open(self, name: str, metadata: Mapping[str, str], surroundings: Surroundings) -> T_co:
        """Open it: component name, metadata, surroundings. Raises ConfigError, Unavailable."""


@dataclass(frozen=True, slots=True)
class Backend(Generic[T]):
    """One component type. Its module is imported for who configured it: a daemon starts without all others."""

    module: str
    name: str
    """Of the class in it."""

    @property
    def factory(self) -> Factory[T]:
        """What opens it."""
        factory: Factory[T] = getattr(import_module(self.module), self.name)
        return factory

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What it can do."""
        return self.factory.capabilities

    @property
    def fields(self) -> Sequence[Field]:
        """What it takes."""
        return self.factory.fields


STATE_STORES: dict[str, Backend[StateStore]] = {
    "state.in-memory": Backend("components.state.in_memory", "InMemoryStateStore"),
    "state.sqlite": Backend("components.state.sqlite.store", "SqliteStateStore"),
}

PUBSUBS: dict[str, Backend[PubSub]] = {
    "pubsub.in-memory": Backend("components.pubsub.in_memory", "InMemoryPubSub"),
}

VERSIONS = frozenset({"v1", "v0", ""})
"""Of every type there is, in any case; "": not said.

Source: daprd 1.18 pkg/components/versioning.go, IsInitialVersion.
"""


def open_state(component_type: str, name: str, metadata: Mapping[str, str], surroundings: Surroundings) -> StateStore:
    """Open a state store; any thread may. Raises ConfigError (type or field), Unavailable (file or server)."""
    return _find(STATE_STORES, component_type, name).factory.open(name, metadata, surroundings)


def open_pubsub(component_type: str, name: str, metadata: Mapping[str, str], surroundings: Surroundings) -> PubSub:
    """Open a broker. Raises ConfigError (type or field), Unavailable (server)."""
    return _find(PUBSUBS, component_type, name).factory.open(name, metadata, surroundings)


def _find(backends: Mapping[str, Backend[T]], component_type: str, name: str) -> Backend[T]:
    backend = backends.get(component_type)
    if backend is None:
        allowed = ", ".join(sorted(backends))
        raise ConfigError(f"component {name}: spec.type: found {component_type!r}, allowed: {allowed}")
    return backend
