"""One topic of one app, from the wish to the broker's handle and back."""

import logging

import trio

from components.contract import ComponentError, SubscribeRequest, SubscriptionHandle
from noded.app import App, PubSubBinding
from noded.lanes import in_trio
from noded.runtime.consumer import make_consumer
from noded.runtime.deliveries import Deliveries
from noded.runtime.subscription_list import Wanted

log = logging.getLogger("noded.subscriptions")

LIMIT = "subscriptions"
REOPEN_SECONDS = (1.0, 30.0)
"""Between two tries to subscribe at a broker that is away, or above a limit: first, doubled each time, and longest."""


class TopicSubscription:
    """A subscription of an app, counted among the tenant's while it is open."""

    def __init__(self, app: App, binding: PubSubBinding, want: Wanted, deliveries: Deliveries) -> None:
        self.wanted = want
        self._tenant = app.tenant
        self._binding = binding
        self._consumer, self._max_in_flight = make_consumer(app, binding, want.spec, deliveries)
        self._scope = trio.CancelScope()
        self._handle: SubscriptionHandle | None = None
        self._counted = False
        self._closed = False
        self.tried = trio.Event()
        """Set once it is open, or was seen not to open at once."""

    @property
    def is_open(self) -> bool:
        """Whether the broker delivers to it."""
        return self._handle is not None

    def is_bound_as(self, binding: PubSubBinding | None) -> bool:
        """Whether `binding` is what it subscribed through: the same broker, with the same scopes."""
        mine = self._binding
        return binding is not None and binding.broker is mine.broker and binding.scopes == mine.scopes

    async def establish(self, replaced: "TopicSubscription | None") -> None:
        """Subscribe, trying again while the broker is away or a limit is met; then end the one this replaces."""
        try:
            with self._scope:
                await self._keep_trying(replaced)
        except Exception:
            log.exception("app %s: subscription to %s ended", self._tenant.id, self.wanted.spec.topic)
        self.tried.set()
        if replaced is not None:
            replaced.close()

    def close(self) -> None:
        """Stop trying, or unsubscribe. Idempotent."""
        self._closed = True
        self.tried.set()
        self._scope.cancel()
        self._consumer.close()
        handle, self._handle = self._handle, None
        if handle is not None:
            handle.close()
        if self._hand_over():
            self._tenant.gate.free(LIMIT)

    async def _keep_trying(self, replaced: "TopicSubscription | None") -> None:
        wait, longest = REOPEN_SECONDS
        while (problem := await self._try(replaced)) is not None:
            self.tried.set()
            log.warning("app %s: cannot subscribe to %s: %s", self._tenant.id, self.wanted.spec.topic, problem)
            await trio.sleep(wait)
            wait = min(wait * 2, longest)

    async def _try(self, replaced: "TopicSubscription | None") -> str | None:
        """Subscribe once, and return what is in the way. One that replaces another takes its place in the count."""
        if not self._counted:
            self._counted = replaced is not None and replaced._hand_over()  # noqa: SLF001 - of this class
        if not self._counted:
            refusal = self._tenant.gate.acquire(LIMIT)
            if refusal is not None:
                self._tenant.refused(refusal)
                return str(refusal)
            self._counted = True
        try:
            handle = await in_trio(self._binding.broker.subscribe(self._request()))
        except ComponentError as error:
            return str(error)
        if self._closed:
            handle.close()
        else:
            self._handle = handle
        return None

    def _request(self) -> SubscribeRequest:
        names = self._binding.names
        return SubscribeRequest(
            topic=names.topic(self.wanted.spec.topic),
            group=names.group,
            consumer=self._consumer,
            max_in_flight=self._max_in_flight,
            bounds=self._tenant.queue,
            metadata=self.wanted.spec.metadata,
        )

    def _hand_over(self) -> bool:
        """Give up the place in the tenant's count. Returns whether there was one."""
        counted, self._counted = self._counted, False
        return counted
