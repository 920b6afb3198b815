"""The daemon: every lifetime, nested in the order of shutdown.

    components (closed last)
      deliveries and subscriptions
        attached apps: sockets, connections, requests
          the operator's side, signals (stopped first)

Start: sockets answer HTTP/1.1 before HTTP/2, gRPC and the operator's side are imported. SIGTERM: stop accepting, finish
what is under way up to a deadline, end deliveries, close components. SIGHUP: read resources again.
"""

import gc
import importlib
import logging
import os
import resource
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial

import trio

from components.completion import Completion
from components.contract import Ledger, Surroundings
from noded import http_heads, resources_log
from noded.app import App
from noded.attachment import Attachment, Site, make_channels
from noded.backends import Backends
from noded.channel_reach import Reach
from noded.config.at_rest import load_at_rest
from noded.config.catalogue import Catalogue
from noded.config.instantiate import default_resources
from noded.config.load import Loaded, load_resources
from noded.config.records import AppSpec, Resources, Settings
from noded.descriptors import all_descriptors
from noded.dispatch import Dispatcher
from noded.dispatch_paths import PathDispatcher
from noded.endpoints import Endpoints, NodeEndpoints
from noded.faces import Faces
from noded.garbage import collect_seldom
from noded.host import SWITCH_INTERVAL_SECONDS, Host
from noded.host_address import forwarded_headers
from noded.late_http2 import Http2Site, LateHttp2
from noded.loopback_places import Places
from noded.memory_guard import Ceilings, watch
from noded.metrics_paths import PathLabels
from noded.node import Node
from noded.notify import Notifier
from noded.route_table import RouteTable
from noded.routes import http_table
from noded.server import Connection, Serving
from noded.server_http1 import Http1Wire
from noded.sockets import DirectoryLock
from noded.sweeping import sweep
from tenancy.fairness import Turn, Turns
from tenancy.pressure import Pressure
from tenancy.tally import LATENCY_BOUNDS_MS
from tenancy.tenant import NO_QUOTA, Quota, Tenants

log = logging.getLogger("noded")

FORCED_SECONDS = 0.1
"""How long an app that wants to leave at once has to read the answer to that. daprd exits after as long."""
RETRY_SECONDS = 1.0
"""Between two tries to serve the operator."""


def _prepare_process() -> None:
    """Let a store's writer have the GIL soon, collect garbage seldom, allow as many descriptors as the machine does."""
    sys.setswitchinterval(SWITCH_INTERVAL_SECONDS)
    collect_seldom()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


class Daemon:
    """One running noded: what the operator's side sees and does."""

    def __init__(self, settings: Settings, host: Host) -> None:
        self.settings = settings
        self.host = host
        self.node = Node(settings.tracing_sampling_rate, forwarded_headers(os.environ))
        self.attachments: dict[tuple[str, str], Attachment] = {}  # {(namespace, app id): attachment}
        self.resources = Resources()
        self.problems: tuple[str, ...] = ()
        """What was wrong with the resources when they were last read, or kept them from holding."""
        self.tasks = 0
        """Trio tasks that live, when a scraper last asked: only trio's own thread can count them."""
        self.stopping = trio.Event()
        self.turns = Turns(time.perf_counter_ns, host.loop.call_soon)
        bounds_ms = settings.metrics.latency_bounds_ms or LATENCY_BOUNDS_MS
        self.tenants = Tenants(clock=time.time, time=self.turns, bounds_ms=bounds_ms)
        self.serving = self._serving()
        self._catalogue = Catalogue()
        self._places = Places(settings.state_dir / "loopback")
        self._declared: set[tuple[str, str]] = set()  # apps that resources name; others came by `noded run`
        self._changing = trio.Lock()
        self._leaving: dict[tuple[str, str], trio.Event] = {}  # apps being detached: who comes back waits for the end
        self.backends: Backends
        self._nursery: trio.Nursery
        self._site: Site

    # The lifetime.

    async def serve(self) -> None:
        """Run until SIGTERM or SIGINT. Raises SocketError when another daemon has the directories."""
        locks = [DirectoryLock(self.settings.state_dir, "state directory", 0o700)]
        locks.insert(0, DirectoryLock(self.settings.run_dir, "run directory"))
        try:
            async with self._at_work(partial(NodeEndpoints.of, run_dir=self.settings.run_dir, places=self._places)):
                await self._serve(Notifier())
        finally:
            for lock in locks:
                lock.release()
            log.info("stopped")

    @asynccontextmanager
    async def _at_work(self, endpoints: Callable[[AppSpec], Endpoints]) -> AsyncIterator[None]:
        """Components can open and apps be attached, until the block ends."""
        _prepare_process()
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                self._site = Site(self.serving, self.host, endpoints, nursery)
                self.backends = Backends(nursery, self.tenants.books, self._surroundings)
                self.backends.on_ready = partial(nursery.start_soon, self._rebind)
                nursery.start_soon(self._tick)
                pressure = Pressure(self.tenants.node, self.tenants.books)
                nursery.start_soon(watch, Ceilings(self.settings.memory_bytes), pressure)
                yield
                nursery.cancel_scope.cancel()
        finally:
            with trio.CancelScope(shield=True):
                await self.backends.aclose()

    async def _serve(self, notifier: Notifier) -> None:
        self.host.on_signal(signal.SIGTERM, self.stopping.set)
        self.host.on_signal(signal.SIGINT, self.stopping.set)
        self.host.on_signal(signal.SIGHUP, partial(self._nursery.start_soon, self.reload))
        await self.reload()
        async with trio.open_nursery() as operators:
            if self.settings.metrics_listen is not None:
                await operators.start(self._open_metrics, *self.settings.metrics_listen)  # a taken port: never ready
            operators.start_soon(self._open_admin)
            operators.start_soon(notifier.watchdog)
            gc.collect()
            gc.freeze()
            told = resources_log.counted(self.attachments, "app")
            log.info("ready: %s under %s%s", told, self.settings.run_dir, resources_log.but_for(self.problems))
            notifier.ready(told)
            await self.stopping.wait()
            notifier.stopping()
            log.info("stopping: finishing what is under way, for %g s at most", self.settings.drain_seconds)
            await self._drain()
            operators.cancel_scope.cancel()

    async def _drain(self) -> None:
        """An app without connections of its own may be answering another's call: channels close after all of them."""
        for attachment in self.attachments.values():
            attachment.stop_listening()
        with trio.move_on_after(self.settings.drain_seconds):
            for listener in [each for attachment in self.attachments.values() for each in attachment.listeners]:
                await listener.wait_closed()
        async with trio.open_nursery() as closing:
            for attachment in tuple(self.attachments.values()):
                closing.start_soon(self._detach, attachment, 0.0)

    async def warm_up(self) -> None:
        """Import what the first connection over HTTP/2 would wait for."""
        await trio.to_thread.run_sync(importlib.import_module, "noded.faces_http2")

    async def _open_admin(self) -> None:
        """The operator's side: imported now, when the apps' sockets already answer; Quart takes a second.

        What it lacks today, descriptors say, ends no app's daemon: it is tried again.
        """
        await self.warm_up()
        while True:
            try:
                module = await trio.to_thread.run_sync(importlib.import_module, "noded.admin.serve")
                await module.serve_admin(self)
            except OSError as error:
                log.error("the operator's side is not served: %s", error)  # noqa: TRY400 - no bug
                await trio.sleep(RETRY_SECONDS)
            else:
                return

    async def _open_metrics(self, address: str, port: int, *, task_status: trio.TaskStatus[None]) -> None:
        """The port that Prometheus asks."""
        module = await trio.to_thread.run_sync(importlib.import_module, "noded.admin.scrape")
        await module.serve_metrics(self, address, port, task_status=task_status)

    async def _tick(self) -> None:
        """Once a second: the Date header, and peers that used up their time."""
        while True:
            http_heads.tick(time.time())
            sweep(self.serving)
            await trio.sleep(1.0)

    # Apps.

    async def attach(self, spec: AppSpec) -> Attachment:
        """Attach an app. Raises ValueError when it is attached already, SocketError and the like otherwise."""
        async with self._changing:
            return await self._attach(spec)

    async def detach(self, namespace: str, app_id: str) -> bool:
        """Detach an app. False when there is none of that name."""
        attachment = self.attachments.get((namespace, app_id))
        if attachment is None:
            return False
        await self._detach(attachment)
        return True

    async def release(self, attachment: Attachment) -> None:
        """Detach this very attachment, if it still is one."""
        await self._detach(attachment)

    def is_declared(self, namespace: str, app_id: str) -> bool:
        """Whether resources name the app; others came at run time."""
        return (namespace, app_id) in self._declared

    def _next_turn(self, turn: Turn) -> Completion[None]:
        again: Completion[None] = Completion()
        self.turns.go_on(turn, partial(again.resolve, None))
        return again

    async def _attach(self, spec: AppSpec) -> Attachment:
        if (leaving := self._leaving.get((spec.namespace, spec.app_id))) is not None:
            await leaving.wait()
        http, grpc = make_channels(spec, self.host, Reach(f"{spec.namespace}/{spec.app_id}"))
        tenant = self.tenants.attach(spec.namespace, spec.app_id, spec.limits)
        app = App(spec, tenant, self.node, http, self.settings.max_body_bytes, grpc)
        app.leave = partial(self._nursery.start_soon, self._leave, app)
        app.next_turn = partial(self._next_turn, app.turn)
        app.leave_now = partial(self._nursery.start_soon, self._leave, app, FORCED_SECONDS)
        try:
            await self.backends.bind(app, self.resources.components)
            attachment = await Attachment.open(app, self._site, self.resources.subscriptions)
        except BaseException:
            self.tenants.detach(tenant)
            raise
        self.node.add(app)
        self.attachments[spec.namespace, spec.app_id] = attachment
        log.info("app %s attached", tenant.id)
        return attachment

    async def _detach(self, attachment: Attachment, drain_seconds: float | None = None) -> None:
        app = attachment.app
        key = (app.namespace, app.app_id)
        if self.attachments.get(key) is not attachment:
            return
        del self.attachments[key]
        self.node.remove(app)
        left = self._leaving[key] = trio.Event()
        try:
            await attachment.close(self.settings.drain_seconds if drain_seconds is None else drain_seconds)
            await self.backends.release(app)
        finally:
            self.tenants.detach(app.tenant)
            del self._leaving[key]
            left.set()
        log.info("app %s detached", app.tenant.id)

    async def _leave(self, app: App, drain_seconds: float | None = None) -> None:
        """The app asked to be let go."""
        attachment = self.attachments.get((app.namespace, app.app_id))
        if attachment is not None and attachment.app is app:
            await self._detach(attachment, drain_seconds)

    # Resources.

    async def reload(self) -> None:
        """Read the resources and make them hold. A bad file keeps its last good version."""
        async with self._changing:
            await self._reload()

    async def _reload(self) -> None:
        load = load_at_rest if self._catalogue.holds_files else load_resources
        loaded = await trio.to_thread.run_sync(load, self.settings.resources_paths)
        self.problems = tuple(str(problem) for problem in loaded.problems)
        resources_log.tell(loaded)
        self.resources = resources = self._adopt(self._catalogue.merge(loaded), loaded)
        self._apply_quotas(resources)
        await self.backends.configure(resources.components)
        for attachment in tuple(self.attachments.values()):
            await self.backends.bind(attachment.app, resources.components)
            attachment.reload(resources.subscriptions)
        await self._apply_apps(resources.apps)
        failed = [each for each in self.backends.listing() if each.problem and not each.spec.ignore_errors]
        self.problems += tuple(f"component {each.spec.name} ({each.spec.type}): {each.problem}" for each in failed)

    def _adopt(self, resources: Resources, loaded: Loaded) -> Resources:
        """What resources come to hold here: with no component at all, the default ones."""
        defaults = default_resources(self.settings.state_dir).components
        if not resources.components and (not loaded.problems or self.resources.components == defaults):
            if self.resources.components != defaults:
                resources_log.tell_defaults(defaults)
            return replace(resources, components=defaults)
        return resources

    def _apply_quotas(self, resources: Resources) -> None:
        now = time.perf_counter()
        wanted = {quota.namespace: Quota(quota.per_app, quota.total) for quota in resources.quotas}
        for namespace in self.tenants.quota_namespaces() - set(wanted):
            self.tenants.set_quota(namespace, NO_QUOTA, now)
        for namespace, quota in wanted.items():
            self.tenants.set_quota(namespace, quota, now)

    async def _apply_apps(self, specs: Iterable[AppSpec]) -> None:
        wanted = {(spec.namespace, spec.app_id): spec for spec in specs}
        for key in self._declared - set(wanted):
            await self.detach(*key)
            self._places.forget(*key)
        for key, spec in wanted.items():
            await self._apply_app(key, spec)
        self._declared = set(wanted)

    async def _apply_app(self, key: tuple[str, str], spec: AppSpec) -> None:
        current = self.attachments.get(key)
        if current is not None:
            if replace(current.app.spec, limits=spec.limits, origin=spec.origin) == spec:
                self.tenants.set_limits(current.app.tenant, spec.limits, time.perf_counter())
                current.app.spec = spec
                return
            await self._detach(current)
        try:
            await self._attach(spec)
        except (OSError, ValueError, RuntimeError) as error:
            name = f"{spec.namespace}/{spec.app_id}"
            log.error("app %s is not attached: %s", name, error)  # noqa: TRY400 - no bug
            self.problems += (f"app {name}: {error}",)

    async def _rebind(self) -> None:
        """A component opened late: give it to the apps."""
        async with self._changing:
            for attachment in tuple(self.attachments.values()):
                await self.backends.bind(attachment.app, self.resources.components)
                attachment.reload(self.resources.subscriptions)

    # What connections and components are lent.

    def _serving(self) -> Serving:
        spec = self.settings.http
        faces = Faces(self.dispatcher(http_table(spec.rules)), spec)
        late = LateHttp2(Http2Site(faces, spec, self.turns, self.host.loop.call_later, self._slice_seconds))

        def http1(connection: Connection) -> Http1Wire:
            return Http1Wire(connection, *faces.of(connection.token), spec.read_buffer_bytes)

        return Serving(self.turns, http1, late.http, self.host.loop.time, set(), all_descriptors(), late.grpc)

    def dispatcher(self, table: RouteTable) -> Dispatcher:
        """One that counts as the Configuration wants."""
        spec = self.settings.metrics
        if not spec.increased_cardinality and not spec.path_matching:
            return Dispatcher(table, self.turns)
        labels = PathLabels(spec.path_matching, increased=bool(spec.increased_cardinality))
        return PathDispatcher(table, self.turns, labels)

    def seconds(self) -> float:
        """The clock of rates: seconds since some moment."""
        return time.perf_counter()

    def _slice_seconds(self) -> float:
        """The same, as of the slice being served: read once for all that is in it."""
        return self.turns.now

    def _surroundings(self, ledger: Ledger) -> Surroundings:
        loop, turns = self.host.loop, self.turns

        def run_soon(function: Callable[[], None]) -> object:
            return loop.call_soon_threadsafe(turns.wake, function)

        def next_pass(function: Callable[[], None]) -> object:
            return loop.call_soon(turns.wake, function)

        def watch(descriptor: int, function: Callable[[], None]) -> Callable[[], None]:
            loop.add_reader(descriptor, turns.wake, function)

            def unwatch() -> None:
                loop.remove_reader(descriptor)

            return unwatch

        state_dir = self.settings.state_dir
        return Surroundings(run_soon, next_pass, loop.call_later, time.time, state_dir, ledger, watch)
