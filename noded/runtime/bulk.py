"""Bulk subscriptions: messages gathered, sent to the app in one call, each settled by its own status.

A batch leaves when it has `maxMessagesCount` messages or BATCH_BYTES, or when its first message has waited
`maxAwaitDurationMs`. Each message counts as a delivery in flight from the moment it is gathered. How a batch reaches
the app is a BulkCall: `bulk_http.py` or `bulk_grpc.py`.
Source: dapr-api.md 1.5; daprd 1.18 pkg/runtime/subscription/bulksubscription.go, pkg/runtime/pubsub/default_bulksub.go.
Unlike there, an event without a route is not also sent to the path "".
"""

import asyncio
import time
from collections.abc import Sequence
from typing import ClassVar, Protocol
from uuid import uuid4

from msgspec import Struct

from components.contract import Delivery, Message, Verdict
from noded.api.lenient_json import NotJson, first_value
from noded.app import App, PubSubBinding
from noded.calls import Header
from noded.config.records import SubscriptionSpec
from noded.runtime import events
from noded.runtime.dead_letter import Outcome, conclude
from noded.runtime.deliver import is_raw
from noded.runtime.deliveries import Deliveries, run
from noded.runtime.events import Event, NotAnEvent
from noded.runtime.match import MatchFailed
from noded.runtime.reception import batch_judged
from noded.runtime.routes import Routes
from tenancy.use import Reception

EVENT_TYPE = "com.dapr.event.sent.bulk"
"""The type of a batch."""
MAX_MESSAGES = 1000
"""Of one batch, whatever the subscription asks for (daprd has no limit)."""
BATCH_BYTES = 4 << 20
"""Of messages gathered: a batch that has as many leaves at once. What Dapr's servers take as one body by default."""


class BulkEntry(Struct, frozen=True):
    """One message of a batch, as the app is to see it."""

    entry_id: str
    message: Message
    body: bytes
    """The event, JSON; of a rawPayload subscription the bytes as published."""
    event: Event
    delivery: Delivery


class BulkCall(Protocol):
    """How a batch reaches the app."""

    async def __call__(self, target: bytes, entries: Sequence[BulkEntry]) -> Sequence[Outcome]:
        """Send `entries` to one route and give what became of each, in order. Awaits Completions only; never raises."""


def trace_headers(entries: Sequence[BulkEntry]) -> tuple[Header, ...]:
    """The trace of the last event that has one: a call has room for one only."""
    return next((headers for entry in reversed(entries) if (headers := entry.event.trace_headers())), ())


def messages_in_flight(spec: SubscriptionSpec) -> int:
    """Messages the broker may lend a bulk subscription: one batch with the app while the next is gathered."""
    return 2 * _count(spec)


def _count(spec: SubscriptionSpec) -> int:
    return max(1, min(spec.bulk.max_messages_count, MAX_MESSAGES))


class BulkSubscription:
    """One topic's consumer at the broker, for an app that takes batches."""

    __slots__ = (
        "_await_seconds", "_binding", "_bytes", "_call", "_count", "_deliveries", "_gathered", "_raw",
        "_reception", "_routes", "_spec", "_timer", "_usage", "closed",
    )  # fmt: skip

    pausable: ClassVar[bool] = True

    def __init__(  # noqa: PLR0913, PLR0917 - as HttpSubscription, and the call
        self,
        app: App,
        binding: PubSubBinding,
        spec: SubscriptionSpec,
        deliveries: Deliveries,
        routes: Routes,
        call: BulkCall,
    ) -> None:
        self._binding = binding
        self._spec = spec
        self._deliveries = deliveries
        self._routes = routes
        self._call = call
        self._raw = is_raw(spec)
        self._usage = app.tenant.usage
        self._reception = Reception(app.tenant.usage, spec.pubsub_name, spec.topic)
        self._count = _count(spec)
        self._await_seconds = spec.bulk.max_await_duration_ms / 1000
        self._gathered: list[Delivery] = []  # bounded by _count
        self._bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self.closed = False

    def __call__(self, delivery: Delivery) -> None:
        """Take a message from the broker."""
        self._deliveries.start(self, delivery)

    def begin(self, delivery: Delivery) -> None:
        """Gather it, and send the batch when it is full."""
        self._gathered.append(delivery)
        self._bytes += len(delivery.message.data)
        if len(self._gathered) >= self._count or self._bytes >= BATCH_BYTES:
            self._flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._await_seconds, self._flush)

    def close(self) -> None:
        """Begin no more batches; what was gathered goes back to the broker when its handle is closed."""
        self.closed = True
        self._deliveries.forget(self)
        for _ in self._take():
            self._deliveries.done()

    def _flush(self) -> None:
        """Send what was gathered, a batch per route. For an unhealthy app it rests: gathered again, once it is well."""
        if self._deliveries.paused:
            self._deliveries.put_back(self, self._take())
            return
        by_route: dict[bytes, list[BulkEntry]] = {}
        for delivery in self._take():
            try:
                entry = self._entry(delivery)
                target = self._routes.choose(entry.event, entry.message, entry.body)
            except (NotAnEvent, NotJson, MatchFailed):
                run(self._settle(delivery, Outcome.UNFIT))
                continue
            if target is None or entry.event.has_expired(time.time()):
                run(self._settle(delivery, Outcome.DROPPED))
            else:
                by_route.setdefault(target, []).append(entry)
        for target, entries in by_route.items():
            self._usage.delivered += len(entries)
            run(self._deliver(target, entries))

    def _take(self) -> list[Delivery]:
        gathered, self._gathered, self._bytes = self._gathered, [], 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        return gathered

    def _entry(self, delivery: Delivery) -> BulkEntry:
        """Read a message. Raises NotAnEvent, NotJson: one batch cannot hold such bytes beside others."""
        message = delivery.message
        if self._raw:
            body, event = events.wrap_raw(message, self._spec.topic, self._spec.pubsub_name)
            return BulkEntry(str(uuid4()), message, body, event, delivery)
        return BulkEntry(str(uuid4()), message, first_value(message.data), events.read(message), delivery)

    async def _deliver(self, target: bytes, entries: Sequence[BulkEntry]) -> None:
        outcomes: Sequence[Outcome] = (Outcome.FAILED,) * len(entries)
        since = self._reception.time.now
        try:
            outcomes = await self._call(target, entries)
            self._reception.batch(since)
        finally:
            for entry, outcome in zip(entries, outcomes, strict=True):
                run(self._settle(entry.delivery, outcome))

    async def _settle(self, delivery: Delivery, outcome: Outcome) -> None:
        verdict = Verdict.RETRY
        try:
            verdict = await conclude(outcome, self._binding, self._spec.dead_letter_topic, delivery.message)
            batch_judged(self._reception, outcome, verdict)
        finally:
            delivery.settle(verdict)
            self._deliveries.done()
