"""The configured components while they live: opened once, shared by the apps that may use them, closed last.

A component whose metadata names its user ({appID}, {namespace}) has an instance per app. One that cannot be opened is
tried again for as long as it is configured, and never keeps another, or the daemon, from serving.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import trio

from components.contract import ComponentError, PubSub, StateStore, Surroundings
from components.registry import PUBSUBS, STATE_STORES, VERSIONS, open_pubsub, open_state
from noded.api.topic_scopes import topic_scopes
from noded.app import App, PubSubBinding, StateBinding
from noded.config.instantiate import is_per_app, resolve_metadata
from noded.config.records import ComponentSpec
from noded.lanes import in_trio
from noded.trio_lane import on_trio
from tenancy.ledger import Books, StoreLedger
from tenancy.namespacing import is_shared, state_names, topic_names

log = logging.getLogger("noded.components")

RETRY_SECONDS = (1.0, 60.0)
"""Between two tries to open a component: first, doubled each time, and longest."""
CLOSE_SECONDS = 10.0
"""For a component to finish what it accepted."""
DOES_NOT_OPEN = "component %s (%s) does not open: %s"

Key = tuple[str | None, str, str, str, tuple[tuple[str, str], ...]]
"""Namespace, name, type, version, metadata: what an instance is one of."""


@dataclass(slots=True)
class Backend:
    """One opened component, or one that is yet to open."""

    spec: ComponentSpec
    metadata: Mapping[str, str]
    instance: StateStore | PubSub | None = None
    problem: str = ""
    """Why it is not open."""
    ledger: StoreLedger | None = None
    tried: trio.Event = field(default_factory=trio.Event)
    """Set once the first try to open it ended."""

    @property
    def status(self) -> str:
        """`ready`, or `failed: why`."""
        return "ready" if self.instance is not None else f"failed: {self.problem}"


class Backends:
    """All components of the daemon."""

    def __init__(self, nursery: trio.Nursery, books: Books, surroundings: Callable[..., Surroundings]) -> None:
        self._nursery = nursery
        self._books = books
        self._surroundings = surroundings
        self._open: dict[Key, Backend] = {}
        self._unserved: dict[tuple[object, ...], Backend] = {}  # of types and versions that noded lacks
        self.on_ready: Callable[[], None] = _nothing
        """Called when a component that had failed is open: apps bind anew."""

    def listing(self) -> list[Backend]:
        """Every component, open or not, those of types and versions that noded lacks among them."""
        return [*self._open.values(), *self._unserved.values()]

    async def configure(self, specs: tuple[ComponentSpec, ...]) -> None:
        """Close what is no longer configured, open what is new. What did not change is not touched."""
        kept = {_identity(spec) for spec in specs}
        for key in [key for key, backend in self._open.items() if _identity(backend.spec) not in kept]:
            await self._close(self._open.pop(key))
        self._note_unserved(specs)
        for spec in specs:
            if not is_per_app(spec) and _is_served(spec):
                await self._ensure(spec, None)

    async def bind(self, app: App, specs: tuple[ComponentSpec, ...]) -> None:
        """Give an app its tables: the components whose namespace and scopes name it."""
        state: dict[str, StateBinding] = {}
        pubsub: dict[str, PubSubBinding] = {}
        usage = app.tenant.usage
        for spec in specs:
            if not _is_served(spec) or not _may_use(spec, app):
                continue
            metadata = resolve_metadata(spec, app.namespace, app.app_id)
            backend = await self._ensure(spec, metadata)
            folded = {name.lower(): value for name, value in metadata.items()}
            if backend.instance is None:
                continue
            if spec.type in STATE_STORES:
                names = state_names(folded.get("keyprefix"), app.namespace, app.app_id, spec.name)
                state[spec.name] = StateBinding(spec.name, backend.instance, names, spec.version, usage)  # type: ignore[arg-type]
            else:
                topics = topic_names(app.namespace, app.app_id, folded.get("consumerid"))
                scopes = topic_scopes(metadata, app.app_id)
                pubsub[spec.name] = PubSubBinding(spec.name, backend.instance, topics, scopes, spec.version, usage)  # type: ignore[arg-type]
        app.state, app.pubsub = state, pubsub

    async def release(self, app: App) -> None:
        """An app is gone: close the instances that were its own."""
        held = [*(each.store for each in app.state.values()), *(each.broker for each in app.pubsub.values())]
        app.state, app.pubsub = {}, {}
        for key, backend in list(self._open.items()):
            if backend.instance in held and is_per_app(backend.spec):
                await self._close(self._open.pop(key))

    async def aclose(self) -> None:
        """Close every component: what was accepted is finished first."""
        for key in list(self._open):
            await self._close(self._open.pop(key))

    def _note_unserved(self, specs: tuple[ComponentSpec, ...]) -> None:
        known, self._unserved = self._unserved, {}
        for spec in specs:
            if _is_served(spec):
                continue
            key = _identity(spec)
            problem = _unserved(spec)
            self._unserved[key] = Backend(spec, {}, problem=problem)
            if key not in known:
                log.error(DOES_NOT_OPEN, spec.name, spec.type, problem)

    async def _ensure(self, spec: ComponentSpec, metadata: Mapping[str, str] | None) -> Backend:
        """The instance for this metadata; waits for its first try to open, for the spec's initTimeout at most."""
        metadata = resolve_metadata(spec, "", "") if metadata is None else metadata
        key = (spec.namespace, spec.name, spec.type, spec.version, tuple(sorted(metadata.items())))
        backend = self._open.get(key)
        if backend is None:
            backend = self._open[key] = Backend(spec, metadata, problem="is still opening")
            self._nursery.start_soon(self._keep_opening, key, backend)
        backend.spec = spec
        with trio.move_on_after(spec.init_timeout_seconds):
            await backend.tried.wait()
        return backend

    async def _keep_opening(self, key: Key, backend: Backend) -> None:
        wait, longest = RETRY_SECONDS
        while self._open.get(key) is backend:
            opened = await self._try(backend)
            late = backend.tried.is_set()
            backend.tried.set()
            if opened and late:
                log.info("component %s opened", backend.spec.name)
                self.on_ready()
            if opened:
                return
            await trio.sleep(wait)
            wait = min(wait * 2, longest)

    async def _try(self, backend: Backend) -> bool:
        """Open it off the loop's thread: a store may read its file for a while."""
        spec = backend.spec
        ledger = self._books.open_ledger(shared=is_shared(_key_prefix(backend.metadata)), namespace=spec.namespace)
        opener: Callable[..., StateStore | PubSub] = open_state if spec.type in STATE_STORES else open_pubsub
        opening = partial(opener, spec.type, spec.name, backend.metadata, self._surroundings(ledger))
        try:
            instance = await trio.to_thread.run_sync(opening)
        except ComponentError as error:
            ledger.close()
            problem = str(error).removeprefix(f"component {spec.name}: ")
            if backend.problem != problem:
                log.error(DOES_NOT_OPEN, spec.name, spec.type, problem)  # noqa: TRY400 - no bug
            backend.problem = problem
            return False
        backend.ledger = ledger
        backend.instance = instance if instance.inline else on_trio(instance, self._nursery)
        backend.problem = ""
        return True

    async def _close(self, backend: Backend) -> None:
        instance, backend.instance = backend.instance, None
        if instance is None or backend.ledger is None:
            return
        with trio.CancelScope(deadline=trio.current_time() + CLOSE_SECONDS, shield=True) as scope:
            await in_trio(instance.aclose())
        backend.ledger.close()
        if scope.cancelled_caught:
            log.error("component %s did not close within %g s", backend.spec.name, CLOSE_SECONDS)


def _identity(spec: ComponentSpec) -> tuple[object, ...]:
    """What an instance depends on of its spec: a change of scopes alone opens nothing anew."""
    return spec.namespace, spec.name, spec.type, spec.version, tuple(sorted(spec.metadata.items()))


def _may_use(spec: ComponentSpec, app: App) -> bool:
    return spec.namespace in (None, app.namespace) and (not spec.scopes or app.app_id in spec.scopes)


def _is_served(spec: ComponentSpec) -> bool:
    return _is_known(spec) and spec.version.lower() in VERSIONS


def _is_known(spec: ComponentSpec) -> bool:
    return spec.type in STATE_STORES or spec.type in PUBSUBS


def _unserved(spec: ComponentSpec) -> str:
    """Why it is not, and what would be."""
    if _is_known(spec):
        return f"noded has no version {spec.version} of {spec.type}: set spec.version to v1"
    return f"noded has no component of type {spec.type}; it has {', '.join(sorted((*STATE_STORES, *PUBSUBS)))}"


def _key_prefix(metadata: Mapping[str, str]) -> str | None:
    return next((value for name, value in metadata.items() if name.lower() == "keyprefix"), None)


def _nothing() -> None:
    """Nobody waits for a component yet."""
