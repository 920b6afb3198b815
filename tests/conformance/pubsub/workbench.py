"""What the suite runs a broker on: a clock the test moves, bounds that count, consumers that record."""

import heapq
import itertools
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

from components.contract import (
    Consumer,
    Delivery,
    GroupName,
    PubSub,
    SubscribeRequest,
    SubscriptionHandle,
    Surroundings,
    TopicName,
    Verdict,
)
from components.registry import open_pubsub
from noded.lanes import step

T = TypeVar("T")


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Step an inline coroutine to its end."""
    results: list[T] = []
    errors: list[BaseException] = []

    def done(result: T | None, error: BaseException | None) -> None:
        if error is not None:
            errors.append(error)
        else:
            results.append(result)  # type: ignore[arg-type]

    step(coroutine, done)
    if errors:
        raise errors[0]
    return results[0]


class _Timer:
    def __init__(self) -> None:
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Clock:
    """Time that only the test moves."""

    def __init__(self) -> None:
        self.now = 1_000_000.0
        self._order = itertools.count()
        self._timers: list[tuple[float, int, _Timer, Callable[[], None]]] = []

    def call_later(self, seconds: float, callback: Callable[[], None]) -> _Timer:
        timer = _Timer()
        heapq.heappush(self._timers, (self.now + seconds, next(self._order), timer, callback))
        return timer

    @property
    def pending(self) -> int:
        return sum(not timer.cancelled for _, _, timer, _ in self._timers)

    def advance(self, seconds: float) -> None:
        """Move on, running what falls due at its own moment."""
        end = self.now + seconds
        while self._timers and self._timers[0][0] <= end:
            self.now, _, timer, callback = heapq.heappop(self._timers)
            if not timer.cancelled:
                callback()
        self.now = end


class Room:
    """Queue bounds that count; None: no bound."""

    def __init__(self, messages: int | None = None, size_bytes: int | None = None) -> None:
        self.allowed_messages = messages
        self.allowed_bytes = size_bytes
        self.messages = 0
        self.size_bytes = 0
        self.drops = 0

    def take(self, messages: int, size_bytes: int) -> bool:
        too_many = self.allowed_messages is not None and self.messages + messages > self.allowed_messages
        too_much = self.allowed_bytes is not None and self.size_bytes + size_bytes > self.allowed_bytes
        if (messages > 0 or size_bytes > 0) and (too_many or too_much):
            return False
        self.messages += messages
        self.size_bytes += size_bytes
        assert self.messages >= 0
        assert self.size_bytes >= 0
        return True

    def dropped(self, messages: int) -> None:
        self.drops += messages


class Taker:
    """A consumer that keeps what it is given, or answers at once with `verdict`."""

    def __init__(self, verdict: Verdict | None = None) -> None:
        self.deliveries: list[Delivery] = []
        self._verdict = verdict

    def __call__(self, delivery: Delivery) -> None:
        self.deliveries.append(delivery)
        if self._verdict is not None:
            delivery.settle(self._verdict)

    @property
    def bodies(self) -> list[bytes]:
        return [delivery.message.data for delivery in self.deliveries]


class Bench:
    """A broker on the test's table."""

    def __init__(self, component_type: str, clock: Clock, state_dir: Path) -> None:
        # No broker keeps items, so none needs a ledger.
        surroundings = Surroundings(
            run_soon=lambda function: function(),
            next_pass=lambda function: function(),
            call_later=clock.call_later,
            now=lambda: clock.now,
            state_dir=state_dir,
            ledger=None,  # type: ignore[arg-type]
        )
        self.clock = clock
        self.broker: PubSub = open_pubsub(component_type, "pubsub", {}, surroundings)

    def join(
        self,
        taker: Consumer,
        topic: str = "orders",
        group: str = "app",
        *,
        credit: int = 1000,
        room: Room | None = None,
    ) -> SubscriptionHandle:
        return run(
            self.broker.subscribe(SubscribeRequest(TopicName(topic), GroupName(group), taker, credit, room or Room()))
        )
