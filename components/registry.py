"""Every backend there is: component type -> how to open it and what it takes. The one place to add one."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from components.contract import Capability, ConfigError, PubSub, StateStore, Surroundings
from components.fields import Field
from components.pubsub.in_memory import InMemoryPubSub
from components.state.in_memory import InMemoryStateStore
from components.state.sqlite.store import SqliteStateStore

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Backend(Generic[T]):
    """One component type."""

    open: Callable[[str, Mapping[str, str], Surroundings], T]
    """Open it: component name, metadata, surroundings. Raises ConfigError, Unavailable."""
    capabilities: frozenset[Capability]
    fields: Sequence[Field]


STATE_STORES: dict[str, Backend[StateStore]] = {
    InMemoryStateStore.type: Backend(
        InMemoryStateStore.open, InMemoryStateStore.capabilities, InMemoryStateStore.fields
    ),
    SqliteStateStore.type: Backend(SqliteStateStore.open, SqliteStateStore.capabilities, SqliteStateStore.fields),
}

PUBSUBS: dict[str, Backend[PubSub]] = {
    InMemoryPubSub.type: Backend(InMemoryPubSub.open, InMemoryPubSub.capabilities, InMemoryPubSub.fields),
}


def open_state(component_type: str, name: str, metadata: Mapping[str, str], surroundings: Surroundings) -> StateStore:
    """Open a state store; any thread may. Raises ConfigError (type or field), Unavailable (file or server)."""
    return _find(STATE_STORES, component_type, name).open(name, metadata, surroundings)


def open_pubsub(component_type: str, name: str, metadata: Mapping[str, str], surroundings: Surroundings) -> PubSub:
    """Open a broker. Raises ConfigError (type or field), Unavailable (server)."""
    return _find(PUBSUBS, component_type, name).open(name, metadata, surroundings)


def _find(backends: Mapping[str, Backend[T]], component_type: str, name: str) -> Backend[T]:
    backend = backends.get(component_type)
    if backend is None:
        allowed = ", ".join(sorted(backends))
        raise ConfigError(f"component {name}: spec.type: found {component_type!r}, allowed: {allowed}")
    return backend
