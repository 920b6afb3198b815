"""An app from its first answer on: reached, found well, asked what it is and wants, then paused and resumed.

    dial until it listens  ->  probe until it is healthy  ->  GET /dapr/config  ->  its subscriptions

An app that is not probed is healthy at once. It is ready (/v1.0/healthz) once it was asked and subscribed for; one that
is probed, as soon as it listens.

Once in a stay: an app that restarts is not asked again, and goes on as it was, as with daprd. While it is unhealthy its
subscriptions rest and calls to it are refused; its own calls, its streams and gRPC calls proxied to it go on.
Source: daprd 1.18 pkg/runtime/runtime.go, appHealthChanged; the order, and what is asked again, as 1.18.0 was observed.
"""

import logging
from collections.abc import Awaitable, Callable

import trio

from noded.app import App
from noded.channel_contract import ChannelError
from noded.config.records import InitEndpoint
from noded.lanes import in_trio
from noded.runtime.asked import ask_http
from noded.runtime.health import Change
from noded.runtime.health_probe import Probe, watch
from noded.runtime.init_endpoints import ANSWER_SECONDS, init_headers
from noded.runtime.subscriptions import Subscriptions

log = logging.getLogger("noded.apps")


class Lifecycle:
    """One app's, from attach to detach."""

    def __init__(self, app: App, subscriptions: Subscriptions, probe: Probe | None) -> None:
        """`probe`: None for an app that is not probed."""
        assert (probe is None) == (app.spec.health is None), "who is probed has a probe"
        self._app = app
        self._subscriptions = subscriptions
        self._probe = probe
        self._begun = False
        self._nursery: trio.Nursery | None = None
        self.reached = trio.Event()
        """Set once the app listens."""
        self.ready = trio.Event()
        """Set when `App.ready` is."""
        self._unhealthy = trio.Event()  # set while it is; from the start, as nothing is known of it yet
        self._unhealthy.set()

    async def run(self, dial: Callable[[], Awaitable[None]]) -> None:
        """Go through it, until cancelled. `dial` returns once the app listens."""
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                await dial()
                self.reached.set()
                log.info("app %s answers", self._app.tenant.id)
                await self._follow_health()
        except Exception:
            log.exception("app %s: nobody looks after it any longer", self._app.tenant.id)

    async def wait_unhealthy(self) -> None:
        """Return at once while the app is not known to be healthy, else when it turns unhealthy."""
        await self._unhealthy.wait()

    async def _follow_health(self) -> None:
        spec = self._app.spec.health
        if spec is None or self._probe is None:
            self._resume()
        else:
            self._be_ready()
            await watch(self._probe, spec, self._changed)

    def _changed(self, change: Change, problem: str) -> None:
        if change is Change.HEALTHY:
            log.info("App entered healthy status: %s", self._app.tenant.id)
            self._resume()
        else:
            log.warning("App entered un-healthy status: %s: %s", self._app.tenant.id, problem)
            self._pause()

    def _resume(self) -> None:
        self._app.healthy = True
        self._unhealthy = trio.Event()
        self._subscriptions.resume()
        if not self._begun:
            self._begun = True
            assert self._nursery is not None
            self._nursery.start_soon(self._begin)

    def _pause(self) -> None:
        self._app.healthy = False
        self._app.node.passages.clear()
        self._unhealthy.set()
        self._subscriptions.pause()

    async def _begin(self) -> None:
        """Ask the app what it is, once and in vain if need be, and then what it wants to hear."""
        if InitEndpoint.CONFIG in self._app.spec.disable_init_endpoints:
            log.info("app %s is not asked for its configuration: disabled", self._app.tenant.id)
        elif self._app.channel is not None:
            await self._ask_configuration()
        await self._subscriptions.begin()
        self._be_ready()

    def _be_ready(self) -> None:
        self._app.ready = True
        self.ready.set()

    async def _ask_configuration(self) -> None:
        """GET /dapr/config. Nothing of it is used yet: it is about actors."""
        assert self._app.channel is not None
        headers = init_headers(self._app)
        try:
            usage = self._app.tenant.usage
            asking = ask_http(usage, self._app.channel, b"/dapr/config", headers, ANSWER_SECONDS)
            answer = await in_trio(asking)
        except ChannelError as error:
            log.warning("app %s: /dapr/config: %s", self._app.tenant.id, error)
        else:
            log.debug("app %s: /dapr/config answered status %d", self._app.tenant.id, answer.status)
