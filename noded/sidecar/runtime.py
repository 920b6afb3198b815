"""`noded daprd` at work: the daemon with one app, daprd's ports, no operator's side and no directories of its own.

Start, readiness and end are daprd's: components open first and must, then sockets answer, then the app is waited for.
SIGTERM and the shutdown API end it, with exit code 0. Source: dapr pkg/runtime/runtime.go.
"""

import importlib
import logging
import os
import signal
import time
from dataclasses import replace
from functools import partial

import trio

from noded.app import App
from noded.attachment import Attachment, make_channels
from noded.backends import Backend
from noded.calls import HttpCall
from noded.config.load import Loaded
from noded.config.records import AppSpec, ComponentSpec, Resources
from noded.daemon import FORCED_SECONDS, Daemon
from noded.goduration import go_duration
from noded.host import Host
from noded.routes import public_table
from noded.server import Connection, Serving
from noded.server_http1 import Http1Wire
from noded.sidecar.endpoints import open_endpoints
from noded.sidecar.settings import Refused, SidecarSettings

log = logging.getLogger("noded")

FIRST_ANSWER_SECONDS = 0.1
"""For whoever polls readiness to be answered before the rest is imported."""


class ComponentFailed(RuntimeError):
    """A component does not open, and daprd ends for that; set its ignoreErrors to do without it."""


class Sidecar(Daemon):
    """A daemon of one app."""

    def __init__(self, settings: SidecarSettings, host: Host) -> None:
        super().__init__(settings.node, host)
        self._sidecar = settings
        self._began = time.perf_counter()
        self._signalled = False

    async def serve(self) -> None:
        """Run until SIGTERM, SIGINT or the shutdown API.

        Raises ComponentFailed, Refused, SocketError, PathTooLongError, OSError for the port of the metrics.
        """
        made = self._sidecar
        for number in (signal.SIGTERM, signal.SIGINT):
            self.host.on_signal(number, partial(self._end, number))
        async with self._at_work(lambda _: endpoints):
            self.host.on_signal(signal.SIGHUP, partial(self._nursery.start_soon, self.reload))
            await self.reload()
            endpoints = await open_endpoints(made.listening, made.app.app_id, made.app.api_token, self._public())
            attachment = await self.attach(self._reachable(made.app))
            self._check_components(attachment.app)
            async with trio.open_nursery() as work:
                work.start_soon(self._finish_start)
                work.start_soon(self._tell_ready, attachment)
                await self.stopping.wait()
                await self._block_shutdown(attachment)
                log.info("Dapr is shutting down")
                await self._drain()
                work.cancel_scope.cancel()
        log.info("Daprd shutdown gracefully")

    def _adopt(self, resources: Resources, loaded: Loaded) -> Resources:
        """Of one app only: no others, no quotas, nothing by default. Without NAMESPACE, none is kept out by its own."""
        components, subscriptions = resources.components, resources.subscriptions
        if self._sidecar.any_namespace:
            components = tuple(_of_no_namespace(each) for each in components)
            subscriptions = tuple(replace(each, namespace=None) for each in subscriptions)
        return Resources(components, subscriptions)

    def _reachable(self, spec: AppSpec) -> AppSpec:
        """The app, if it can be called at its address. Raises Refused."""
        try:
            make_channels(spec, self.host)
        except ValueError as error:
            raise Refused(f"no app can be called: {error}") from error
        return spec

    def _check_components(self, app: App) -> None:
        """Raises ComponentFailed for the first that the app should have and has not."""
        opened = {_named(each) for each in self.backends.listing() if each.instance is not None}
        problems = {_named(each): each.problem for each in self.backends.listing()}
        for spec in self.resources.components:
            mine = spec.namespace in (None, app.namespace) and (not spec.scopes or app.app_id in spec.scopes)
            name = (spec.name, spec.type)
            if not mine or name in opened:
                continue
            kind = f"{spec.name} ({spec.type}/{spec.version})"
            told = f"[INIT_COMPONENT_FAILURE]: initialization error occurred for {kind}: {problems[name]}"
            log.error("Failed to init component %s: %s", kind, told)
            if not spec.ignore_errors:
                raise ComponentFailed(f"process component {spec.name} error: {told}")

    # The end.

    async def _leave(self, app: App, drain_seconds: float | None = None) -> None:
        """The app asked for the end: of the process, as it is the only one. Forced, the process ends as it stands."""
        if drain_seconds is not None:
            log.warning("Force shutdown requested, exiting immediately without graceful shutdown")
            await trio.sleep(FORCED_SECONDS)
            os._exit(1)
        log.info("Shutdown requested via API")
        self.stopping.set()

    def _end(self, number: signal.Signals) -> None:
        """A second signal ends the process as it stands; the first does not, whatever the app asked for before."""
        name = "terminated" if number is signal.SIGTERM else "interrupt"
        if self._signalled:
            log.critical("Received signal '%s' during shutdown; exiting immediately", name)
            os._exit(1)
        self._signalled = True
        log.info("Received signal '%s'; beginning shutdown", name)
        self.stopping.set()

    async def _block_shutdown(self, attachment: Attachment) -> None:
        """Leave the APIs open for a while, unless it is the app that asked for the end."""
        seconds = self._sidecar.block_shutdown_seconds
        if seconds is None or not self._signalled:
            return
        log.info("Blocking graceful shutdown for %s or until app reports unhealthy...", go_duration(seconds))
        attachment.end_subscriptions()
        with trio.move_on_after(seconds):
            await attachment.wait_unhealthy()

    # Beside the APIs.

    async def _tell_ready(self, attachment: Attachment) -> None:
        channel, lifecycle = attachment.app.spec.channel, attachment.lifecycle
        if channel is not None and lifecycle is not None:
            port = channel.address.rpartition(":")[2]
            log.info("application protocol: %s. waiting on port %s.", channel.protocol.value, port)
            await lifecycle.reached.wait()
            log.info("application discovered on port %s", port)
            await lifecycle.ready.wait()
        elapsed = round((time.perf_counter() - self._began) * 1000)
        log.info("dapr initialized. Status: Running. Init Elapsed %dms", elapsed)

    async def _finish_start(self) -> None:
        """Import the rest when the app's sockets already answer, and who waits for that was answered."""
        await trio.sleep(FIRST_ANSWER_SECONDS)
        await self.warm_up()
        await self._serve_metrics()

    async def _serve_metrics(self) -> None:
        if self._sidecar.metrics is not None and self.settings.metrics.enabled is not False:
            module = await trio.to_thread.run_sync(importlib.import_module, "noded.admin.scrape")
            await module.serve_metrics(self, *self._sidecar.metrics, os.environ.get("NAMESPACE", ""))

    def _public(self) -> Serving:
        """What the public port serves: no token, no gRPC, no other route."""
        dispatcher = self.dispatcher(public_table())

        def handle(call: HttpCall) -> None:
            call.candidate = call.line = None  # lines are known from the API's port, where they lead elsewhere
            dispatcher.http(call)

        def http1(connection: Connection) -> Http1Wire:
            return Http1Wire(connection, handle, dispatcher.streams, self.settings.http.read_buffer_bytes)

        return replace(self.serving, http1=http1, http2=http1, grpc=None)


def _of_no_namespace(spec: ComponentSpec) -> ComponentSpec:
    """For every namespace; with no namespace to write, a keyPrefix of `namespace` writes what `appid` does."""
    metadata = {
        name: "appid" if name.lower() == "keyprefix" and value.lower() == "namespace" else value
        for name, value in spec.metadata.items()
    }
    return replace(spec, namespace=None, metadata=metadata)


def _named(backend: Backend) -> tuple[str, str]:
    return backend.spec.name, backend.spec.type
