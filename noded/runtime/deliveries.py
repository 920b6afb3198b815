"""One app's deliveries: how many are with it at one moment (`deliveries_in_flight`), and those that wait.

Above the limit deliveries wait here, in order, held by credit that their subscriptions gave the broker: so this queue
is bounded by the sum of the subscriptions' `max_in_flight`, and the broker keeps the rest. While the app is unhealthy
those of its subscriptions rest here as well, and begin when it is healthy again: the broker's group stays, and with it
what is published meanwhile, within the tenant's bounds. (daprd unsubscribes instead: its pubsub.in-memory loses that.)
"""

import logging
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, ClassVar, Protocol

import trio

from components.contract import Delivery
from noded.calls import StreamClosed
from noded.lanes import step
from tenancy.tenant import Tenant

log = logging.getLogger("noded.deliver")

LIMIT = "deliveries_in_flight"
RETRY_SECONDS = 0.05
"""How often waiting deliveries ask again: room may come free in another app of the namespace, which tells nobody."""


class Recipient(Protocol):
    """A subscription that deliveries are for."""

    closed: bool
    pausable: ClassVar[bool]
    """Whether it rests while the app is unhealthy. A stream does not: whoever reads it is there."""

    def begin(self, delivery: Delivery) -> None:
        """Hand it to the app. `Deliveries.done` follows once, when the app has answered or will not."""


class Deliveries:
    """One app's deliveries under way, and those that wait for room."""

    def __init__(self, tenant: Tenant, task: Callable[[Coroutine[Any, Any, None]], None]) -> None:
        """Make one. `task` runs a coroutine as a trio task of the app's subscriptions: only waiting needs it."""
        self._tenant = tenant
        self._task = task
        self._waiting: deque[tuple[Recipient, Delivery]] = deque()
        self._resting: deque[tuple[Recipient, Delivery]] = deque()
        self.paused = False
        """Whether the app is unhealthy."""
        self._serving = False
        self._asking = False
        self.count = 0
        """Deliveries with the app."""

    def start(self, recipient: Recipient, delivery: Delivery) -> None:
        """Begin a delivery now, or once there is room and the app is healthy."""
        if self.paused and recipient.pausable:
            self._resting.append((recipient, delivery))
        elif self._waiting or self._tenant.gate.acquire(LIMIT) is not None:
            self._waiting.append((recipient, delivery))
            self._ask_later()
        else:
            self.count += 1
            recipient.begin(delivery)

    def done(self) -> None:
        """One delivery is over: the next may begin."""
        self.count -= 1
        self._tenant.gate.free(LIMIT)
        if self._waiting:
            self._serve()

    def forget(self, recipient: Recipient) -> None:
        """Drop what waits for a closed subscription; the broker has it back already."""
        self._waiting = deque(entry for entry in self._waiting if entry[0] is not recipient)
        self._resting = deque(entry for entry in self._resting if entry[0] is not recipient)

    def pause(self) -> None:
        """The app is unhealthy: begin nothing more for it. What is with it goes on."""
        self.paused = True
        self._resting.extend(entry for entry in self._waiting if entry[0].pausable)
        self._waiting = deque(entry for entry in self._waiting if not entry[0].pausable)

    def resume(self) -> None:
        """The app is healthy: begin what rests, the oldest first."""
        self.paused = False
        self._waiting.extend(self._resting)
        self._resting.clear()
        if self._waiting:
            self._serve()

    def put_back(self, recipient: Recipient, deliveries: Sequence[Delivery]) -> None:
        """Let deliveries rest that had begun and have not reached the unhealthy app."""
        self._resting.extendleft((recipient, delivery) for delivery in reversed(deliveries))
        for _ in deliveries:
            self.done()

    def _take(self) -> bool:
        refusal = self._tenant.gate.acquire(LIMIT)
        if refusal is None:
            self.count += 1
        return refusal is None

    def _serve(self) -> None:
        """Begin what waits while there is room. A delivery may end while it begins; the running loop goes on then."""
        if self._serving:
            return
        self._serving = True
        try:
            while self._waiting and self._take():
                recipient, delivery = self._waiting.popleft()
                recipient.begin(delivery)
        finally:
            self._serving = False
        if self._waiting:
            self._ask_later()

    def _ask_later(self) -> None:
        if not self._asking:
            self._asking = True
            self._task(self._ask())

    async def _ask(self) -> None:
        await trio.sleep(RETRY_SECONDS)
        self._asking = False
        if self._waiting:
            self._serve()


def run(delivery: Coroutine[Any, Any, None]) -> None:
    """Run a delivery in place: it awaits the app's channel and, for a dead letter, the broker; both Completions."""
    step(delivery, _ended)


def _ended(_: None, error: BaseException | None) -> None:
    """Note a delivery that failed inside the daemon; the broker redelivers it. A stream that is gone is no failure."""
    if error is not None and not isinstance(error, StreamClosed):
        log.error("delivery failed", exc_info=error)
