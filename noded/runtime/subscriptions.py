"""The subscriptions of one app: opened when the app first answers, replaced on reload, closed when it is detached.

The app is bound late: once it listens and is healthy its /dapr/subscribe is asked until something answers (daprd gives
up after three tries), for as long as the app is attached, and only then are its topics subscribed to, as daprd waits
for the app. What is published before that is not kept. Without a pub/sub component it is not asked, until there is one.
"""

import logging
from collections.abc import Coroutine, Sequence
from typing import Any

import trio

from noded.app import App, PubSubBinding
from noded.channel_contract import ChannelError
from noded.channel_grpc import GrpcChannel
from noded.config.records import InitEndpoint, SubscriptionSpec
from noded.lanes import in_trio
from noded.runtime import subscriptions_grpc
from noded.runtime.asked import ask_http
from noded.runtime.deliveries import Deliveries
from noded.runtime.init_endpoints import ANSWER_SECONDS, init_headers
from noded.runtime.match import BadMatch
from noded.runtime.subscription import TopicSubscription
from noded.runtime.subscription_list import Key, Kind, MalformedSubscriptions, Wanted, describe, parse, wanted

log = logging.getLogger("noded.subscriptions")

ASK_SECONDS = (0.1, 1.0)
"""Between two tries to reach the app: first, doubled each time, and longest (daprd dials every 100 ms)."""
ASK_AGAIN_SECONDS = (0.5, 1.0, 2.0, 4.0)
"""After a 404: some frameworks (Express in Dapr's JS SDK) listen before the route is there."""


class Subscriptions:
    """Everything one app is subscribed to (`noded.app.AppSubscriptions`)."""

    def __init__(self, app: App) -> None:
        self._app = app
        self.deliveries = Deliveries(app.tenant, self._task)
        self._declared: tuple[SubscriptionSpec, ...] = ()
        self._answered: tuple[SubscriptionSpec, ...] = ()
        self._open: dict[Key, TopicSubscription] = {}
        self._streams: dict[object, SubscriptionSpec] = {}  # {whoever holds the stream: what it asked for}
        self._nursery: trio.Nursery | None = None
        self._may_ask = trio.Event()
        self._tried = trio.Event()  # set once the app was asked, and what it wants was tried
        self._asked = False
        self._app_answered = False

    # The lifetime.

    def open(self, declared: Sequence[SubscriptionSpec], nursery: trio.Nursery) -> None:
        """From now to `close` a task in `nursery` owns the subscriptions; after `begin` there are some."""
        self._declared = tuple(declared)
        nursery.start_soon(self._run)

    async def begin(self) -> None:
        """The app is there: ask it, and subscribe to what it wants. Returns when that was tried, or takes long."""
        self._may_ask.set()
        with trio.move_on_after(ANSWER_SECONDS):
            await self._tried.wait()

    def pause(self) -> None:
        """The app is unhealthy: deliver nothing more. Subscriptions stay, and so does what is published to them."""
        self.deliveries.pause()

    def resume(self) -> None:
        """The app is healthy: deliver."""
        self.deliveries.resume()

    def reload(self, declared: Sequence[SubscriptionSpec]) -> None:
        """Replace the declared ones. What did not change goes on; what changed opens before the old closes."""
        self._declared = tuple(declared)
        self._reconcile()
        if self._nursery is not None and self._may_ask.is_set() and not self._asked:
            self._nursery.start_soon(self._discover)  # there was no broker; before that, the first task will see it

    def close(self) -> None:
        """End every subscription and the task. Idempotent."""
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel()
        for subscription in self._open.values():
            subscription.close()
        self._open.clear()
        self._tried.set()

    def listing(self) -> list[dict[str, object]]:
        """What /v1.0/metadata says: pubsubname, topic, rules, deadLetterTopic, metadata, type."""
        held = [describe(each.wanted.spec, each.wanted.kind) for each in self._open.values() if each.is_open]
        return held + [describe(spec, Kind.STREAMING) for spec in self._streams.values()]

    # Streams, whose lifetime is their call's.

    def stream_opened(self, stream: object, spec: SubscriptionSpec) -> None:
        """List a streaming subscription until `stream_closed`."""
        self._streams[stream] = spec

    def stream_closed(self, stream: object) -> None:
        """No longer list it."""
        self._streams.pop(stream, None)

    # The task.

    async def _run(self) -> None:
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                nursery.start_soon(self._discover)
                await trio.sleep_forever()
        except Exception:
            log.exception("app %s: its subscriptions ended", self._app.tenant.id)
        finally:
            self._nursery = None
            self.close()

    async def _discover(self) -> None:
        """Ask the app for its topics until it answers. An app without a channel has streams only."""
        await self._may_ask.wait()
        if self._asked:
            return
        if not self._app.pubsub:
            self._tried.set()
            return
        self._asked = True
        if InitEndpoint.SUBSCRIBE in self._app.spec.disable_init_endpoints:
            log.info("app %s is not asked for its subscriptions: disabled", self._app.tenant.id)
            await self._take(())
            return
        if self._app.grpc_channel is not None:
            await self._ask_by_grpc(self._app.grpc_channel)
            return
        if self._app.channel is None:
            return
        status = await self._ask()
        for seconds in ASK_AGAIN_SECONDS:
            if status != 404:
                return
            await trio.sleep(seconds)
            status = await self._ask()

    async def _ask(self) -> int:
        """Ask once it can be reached, and act on what it says. Returns the status."""
        assert self._app.channel is not None
        headers = init_headers(self._app)
        wait, longest = ASK_SECONDS
        while True:
            try:
                answer = await in_trio(
                    ask_http(self._app.tenant.usage, self._app.channel, b"/dapr/subscribe", headers, ANSWER_SECONDS)
                )
                break
            except ChannelError:
                await trio.sleep(wait)
                wait = min(wait * 2, longest)
        await self._take(self._read(answer.status, answer.body))
        return answer.status

    async def _ask_by_grpc(self, channel: GrpcChannel) -> None:
        """Ask once it can be reached, and act on what it says."""
        wait, longest = ASK_SECONDS
        listed: tuple[SubscriptionSpec, ...] | None = None
        while listed is None:
            try:
                listed = await in_trio(subscriptions_grpc.ask(self._app, channel, ANSWER_SECONDS))
            except MalformedSubscriptions as error:
                log.warning("app %s: ListTopicSubscriptions: %s", self._app.tenant.id, error)
                listed = ()
            if listed is None:
                await trio.sleep(wait)
                wait = min(wait * 2, longest)
        await self._take(listed)

    async def _take(self, answered: tuple[SubscriptionSpec, ...]) -> None:
        """Subscribe to what the app wants and what is declared for it. Returns when each was tried."""
        self._app_answered = True
        self._answered = answered
        self._reconcile()
        for each in tuple(self._open.values()):
            await each.tried.wait()
        self._tried.set()

    def _read(self, status: int, body: bytes) -> tuple[SubscriptionSpec, ...]:
        if status == 200:
            try:
                return parse(body)
            except MalformedSubscriptions as error:
                log.warning("app %s: /dapr/subscribe: %s", self._app.tenant.id, error)
        elif status != 404:
            log.warning("app %s: /dapr/subscribe answered status %d", self._app.tenant.id, status)
        return ()

    def _reconcile(self) -> None:
        """Open what should be open and is not; close the rest."""
        if self._nursery is None or not self._app_answered:
            return
        app = self._app
        goal = wanted(self._declared, self._answered, app.namespace, app.app_id)
        for key in [key for key in self._open if key not in goal]:
            self._open.pop(key).close()
        for key, want in goal.items():
            current = self._open.get(key)
            if current is None or current.wanted != want or not current.is_bound_as(app.pubsub.get(key[0])):
                self._replace(key, want, current)

    def _replace(self, key: Key, want: Wanted, current: TopicSubscription | None) -> None:
        binding = self._app.pubsub.get(want.spec.pubsub_name)
        if binding is None:
            log.warning("app %s: subscribes to unknown pubsub %s", self._app.tenant.id, want.spec.pubsub_name)
        elif not binding.scopes.may_subscribe(want.spec.topic):
            log.warning(
                "app %s: may not subscribe to topic %s of %s", self._app.tenant.id, want.spec.topic, binding.name
            )
        elif (subscription := self._made(binding, want)) is not None:
            assert self._nursery is not None
            self._open[key] = subscription
            self._nursery.start_soon(subscription.establish, current)
            return
        if current is not None:
            self._open.pop(key).close()

    def _made(self, binding: PubSubBinding, want: Wanted) -> TopicSubscription | None:
        try:
            return TopicSubscription(self._app, binding, want, self.deliveries)
        except BadMatch as error:
            log.warning("app %s: subscription to %s: a rule %s", self._app.tenant.id, want.spec.topic, error)
            return None

    def _task(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine as a task that ends with the subscriptions, at the latest."""
        if self._nursery is None:
            coroutine.close()
        else:
            self._nursery.start_soon(lambda: coroutine)
