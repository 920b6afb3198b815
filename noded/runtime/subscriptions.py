"""The subscriptions of one app: opened when the app first answers, replaced on reload, closed when it is detached.

The app is bound late: once it listens and is healthy its /dapr/subscribe is asked, and only then are its topics
subscribed to, as daprd waits for the app. What is published before that is not kept. Any HTTP answer counts, but for a
list that cannot be read; where none comes it is asked again, as often as by daprd. An app that was asked in vain is
subscribed to nothing, not to what is declared for it either; that opens when it next turns healthy, as with daprd, and
it is asked again, then and at a reload. Streams need no answer. Without a pub/sub component it is not asked, until
there is one.
"""

import logging
from collections.abc import Coroutine, Sequence
from typing import Any

import trio

from noded.app import App, PubSubBinding
from noded.channel_contract import ChannelError
from noded.config.records import InitEndpoint, SubscriptionSpec
from noded.lanes import in_trio
from noded.runtime.asked import NotListed, ask_http
from noded.runtime.deliveries import Deliveries
from noded.runtime.init_endpoints import ANSWER_SECONDS, init_headers
from noded.runtime.match import BadMatch, NoExpression, refuse_no_expressions
from noded.runtime.subscription import TopicSubscription
from noded.runtime.subscription_list import Key, Kind, MalformedSubscriptions, Wanted, describe, parse, wanted

log = logging.getLogger("noded.subscriptions")

ASK_AGAIN_SECONDS = (0.5, 0.75, 1.0)
"""Before each further try, where no answer came. Source: daprd 1.18 DaprBuiltInInitializationRetries."""


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
        self._in_vain = False  # it was asked, and what it wants is not known
        self._may_open = False

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
        """The app is healthy: deliver. One that was asked in vain gets what is declared for it, and is asked again."""
        self.deliveries.resume()
        if self._in_vain:
            self._may_open = True
            self._reconcile()
        self._ask_if_unasked()

    def reload(self, declared: Sequence[SubscriptionSpec]) -> None:
        """Replace the declared ones. What did not change goes on; what changed opens before the old closes."""
        self._declared = tuple(declared)
        self._reconcile()
        self._ask_if_unasked()

    def close(self) -> None:
        """End every subscription and the task. Idempotent."""
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel()
        for subscription in self._open.values():
            subscription.close()
        self._open.clear()
        self._tried.set()

    def listing(self) -> list[dict[str, object]]:
        """What /v1.0/metadata says: pubsubname, topic, rules, deadLetterTopic, metadata, type.

        What is declared is in it from the start, as with daprd; what the app asks for, once the broker delivers.
        """
        held = [describe(want.spec, want.kind) for key, want in self._goal().items() if self._is_listed(key, want)]
        return held + [describe(spec, Kind.STREAMING) for spec in self._streams.values()]

    def _is_listed(self, key: Key, want: Wanted) -> bool:
        opened = self._open.get(key)
        return want.kind is Kind.DECLARATIVE or (opened is not None and opened.is_open)

    def _goal(self) -> dict[Key, Wanted]:
        """What should be open, as far as is known."""
        return wanted(self._declared, self._answered, self._app.namespace, self._app.app_id)

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
        """Ask the app for its topics, and subscribe. An app without a channel has streams only."""
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
        if self._app.grpc_channel is None and self._app.channel is None:
            return
        listed = await self._ask_patiently()
        if listed is not None:
            await self._take(listed)
            return
        self._asked, self._in_vain = False, True
        self._tried.set()

    def _ask_if_unasked(self) -> None:
        """Ask where there was no broker, or no answer. Before `begin` the first task will see to it."""
        if self._nursery is not None and self._may_ask.is_set() and not self._asked:
            self._nursery.start_soon(self._discover)

    async def _ask_patiently(self) -> tuple[SubscriptionSpec, ...] | None:
        """Ask until it answers, as often as daprd does. None: it did not, or with what is no list."""
        problem: Exception | None = None
        for seconds in (0.0, *ASK_AGAIN_SECONDS):
            await trio.sleep(seconds)
            try:
                return await self._ask()
            except (ChannelError, NotListed) as error:
                problem = error
            except (MalformedSubscriptions, NoExpression) as error:
                problem = error
                break
        log.warning(
            "app %s: failed to subscribe to topics: %s; it is asked again when it turns healthy, or at a reload",
            self._app.tenant.id,
            problem,
        )
        return None

    async def _ask(self) -> tuple[SubscriptionSpec, ...]:
        """Ask once. Raises ChannelError, NotListed, MalformedSubscriptions, NoExpression."""
        listed = await self._ask_channel()
        refuse_no_expressions(rule.match for spec in listed for rule in spec.rules)
        return listed

    async def _ask_channel(self) -> tuple[SubscriptionSpec, ...]:
        app = self._app
        if app.grpc_channel is not None:
            from noded.runtime import subscriptions_grpc  # noqa: PLC0415 - protobuf is for apps that speak it

            return await in_trio(subscriptions_grpc.ask(app, app.grpc_channel, ANSWER_SECONDS))
        assert app.channel is not None, "only an app with a channel is asked"
        asking = ask_http(app.tenant.usage, app.channel, b"/dapr/subscribe", init_headers(app), ANSWER_SECONDS)
        answer = await in_trio(asking)
        return self._read(answer.status, answer.body)

    async def _take(self, answered: tuple[SubscriptionSpec, ...]) -> None:
        """Subscribe to what the app wants and what is declared for it. Returns when each was tried."""
        self._may_open, self._in_vain = True, False
        self._answered = answered
        self._reconcile()
        for each in tuple(self._open.values()):
            await each.tried.wait()
        self._tried.set()

    def _read(self, status: int, body: bytes) -> tuple[SubscriptionSpec, ...]:
        if status == 200:
            return parse(body)
        if status != 404:
            log.warning("app %s: /dapr/subscribe answered status %d", self._app.tenant.id, status)
        return ()

    def _reconcile(self) -> None:
        """Open what should be open and is not; close the rest."""
        if self._nursery is None or not self._may_open:
            return
        goal = self._goal()
        for key in [key for key in self._open if key not in goal]:
            self._open.pop(key).close()
        for key, want in goal.items():
            current = self._open.get(key)
            if current is None or current.wanted != want or not current.is_bound_as(self._app.pubsub.get(key[0])):
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
