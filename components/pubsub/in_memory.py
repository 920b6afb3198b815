"""pubsub.in-memory: a broker inside the daemon. Nothing durable; everything on the loop's thread, in place.

A group holds what it was offered until it is acknowledged, so one number bounds what waits, what is in flight and
what waits for its next attempt, and a retry always finds room. Past a bound the new message is dropped for that group
alone, counted, and the publisher is told nothing: at least once holds for what a group had room for. A group lives from
its first consumer to the close of its last; then its messages are freed, and what is published without a group is
lost, as with Dapr's. Unlike Dapr's (components-contrib pubsub/in-memory) consumers of one group compete, a failed
delivery is retried, and a slow consumer delays nobody.
"""

from collections import deque
from collections.abc import Callable, Mapping
from typing import ClassVar, Self

from msgspec import Struct

from components.contract import (
    Capability,
    Message,
    SubscribeRequest,
    Surroundings,
    Timer,
    TopicName,
    Unavailable,
    Verdict,
)
from components.fields import Field

FIRST_RETRY_SECONDS = 0.2
"""Before the second attempt; each later one waits twice as long."""
LONGEST_RETRY_SECONDS = 30.0
"""A poisonous message comes back this often, no less: dead letter topics are for those."""
_DOUBLINGS = 8  # 0.2 s doubled eight times is past LONGEST_RETRY_SECONDS

GROUP_MESSAGES = 65_536
"""Messages a group may hold when its owner has no limit of its own (redis streams of Dapr: no bound at all)."""
GROUP_BYTES = 256 << 20
"""Bytes of them."""

PARTITION = "||"
"""Begins the names of a namespace's own topics: no shorter prefix (`*`, `|*`) may reach into them."""


class InMemoryPubSub:
    """Topics are exact names, or `t*` for every longer name that begins with t."""

    type: ClassVar[str] = "pubsub.in-memory"
    capabilities: ClassVar[frozenset[Capability]] = frozenset({Capability.SUBSCRIBE_WILDCARDS})
    inline: ClassVar[bool] = True
    fields: ClassVar[tuple[Field, ...]] = ()

    def __init__(self, surroundings: Surroundings) -> None:
        self._surroundings = surroundings
        self._groups: dict[tuple[str, str], _Group] = {}  # {(topic as subscribed to, group name): group}
        self._exact: dict[str, tuple[_Group, ...]] = {}  # {topic: groups}
        self._by_prefix: dict[str, tuple[_Group, ...]] = {}  # {t of t*: groups}
        self._prefix_lengths: tuple[int, ...] = ()
        self._closed = False

    @classmethod
    def open(cls, _name: str, _metadata: Mapping[str, str], surroundings: Surroundings) -> Self:
        """Make a broker without topics; it takes no metadata."""
        return cls(surroundings)

    async def publish(self, topic: TopicName, message: Message) -> None:
        """Offer a message to every group. Raises Unavailable once the broker is closed."""
        self.publish_now(topic, message)

    def publish_now(self, topic: TopicName, message: Message) -> None:
        """As `publish`."""
        if self._closed:
            raise Unavailable("component is closed")
        for group in self._exact.get(topic, ()):
            group.offer(message)
        if self._prefix_lengths:
            self._offer_by_prefix(topic, message)

    def _offer_by_prefix(self, topic: TopicName, message: Message) -> None:
        foreign = topic.startswith(PARTITION)
        for length in self._prefix_lengths:
            if length < len(topic) and not (foreign and length < len(PARTITION)):
                for group in self._by_prefix.get(topic[:length], ()):
                    group.offer(message)

    async def subscribe(self, request: SubscribeRequest) -> "_Consumer":
        """Start delivering. Raises Unavailable once the broker is closed."""
        if self._closed:
            raise Unavailable("component is closed")
        key = (request.topic, request.group)
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = _Group(self._surroundings, request, lambda: self._forget(key))
            self._index(request.topic, lambda groups: (*groups, group))
        return group.join(request)

    async def aclose(self) -> None:
        """End every group and refuse what comes later. Idempotent."""
        self._closed = True
        for group in tuple(self._groups.values()):
            group.end()

    def _forget(self, key: tuple[str, str]) -> None:
        group = self._groups.pop(key)
        self._index(key[0], lambda groups: tuple(other for other in groups if other is not group))

    def _index(self, topic: str, change: Callable[["tuple[_Group, ...]"], "tuple[_Group, ...]"]) -> None:
        """Replace the groups of a topic. Tuples, so that a publish under way is not disturbed."""
        table, name = (self._by_prefix, topic[:-1]) if topic.endswith("*") else (self._exact, topic)
        groups = change(table.get(name, ()))
        if groups:
            table[name] = groups
        else:
            table.pop(name, None)
        self._prefix_lengths = tuple(sorted({len(prefix) for prefix in self._by_prefix}))


class _Group:
    """One group of one topic: what it holds, and who takes it."""

    __slots__ = (
        "_bounds",
        "_bytes",
        "_dispatching",
        "_members",
        "_messages",
        "_on_end",
        "_queue",
        "_ready",
        "_surroundings",
        "_timers",
    )

    def __init__(self, surroundings: Surroundings, request: SubscribeRequest, on_end: Callable[[], None]) -> None:
        self._surroundings = surroundings
        self._bounds = request.bounds
        self._on_end = on_end
        self._members: set[_Consumer] = set()
        self._ready: deque[_Consumer] = deque()  # members with credit, the next to serve first
        self._queue: deque[_Delivery] = deque()
        self._timers: set[Timer] = set()  # of messages that wait for their next attempt
        self._messages = 0
        self._bytes = 0
        self._dispatching = False

    def offer(self, message: Message) -> None:
        """Take a message, or drop and count it when there is no room."""
        size_bytes = len(message.data)
        if not self._bounds.take(1, size_bytes):
            self._bounds.dropped(1)
            return
        if self._messages >= GROUP_MESSAGES or self._bytes + size_bytes > GROUP_BYTES:
            self._bounds.take(-1, -size_bytes)
            self._bounds.dropped(1)
            return
        self._messages += 1
        self._bytes += size_bytes
        self._queue.append(_Delivery(self, message, 1))
        if self._ready:
            self._dispatch()

    def join(self, request: SubscribeRequest) -> "_Consumer":
        """Add a consumer; it may be handed messages before this returns."""
        consumer = _Consumer(self, request)
        self._members.add(consumer)
        self._ready.append(consumer)
        self._dispatch()
        return consumer

    def leave(self, consumer: "_Consumer") -> None:
        """Remove a consumer. What it held comes first in the queue again, oldest first, as a further attempt."""
        if consumer not in self._members:
            return
        self._members.remove(consumer)
        if consumer in self._ready:
            self._ready.remove(consumer)
        self._queue.extendleft(delivery.again() for delivery in reversed(consumer.held))
        consumer.held.clear()
        if self._members:
            self._dispatch()
        else:
            self.end()

    def end(self) -> None:
        """Free everything and be forgotten."""
        for consumer in self._members:
            for delivery in consumer.held:
                delivery.holder = None
            consumer.held.clear()
        self._members.clear()
        self._ready.clear()
        self._queue.clear()
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        if self._messages:
            self._bounds.take(-self._messages, -self._bytes)
            self._messages = self._bytes = 0
        self._on_end()

    def settle(self, delivery: "_Delivery", consumer: "_Consumer", verdict: Verdict) -> None:
        """Act on a verdict and give the consumer its credit back."""
        held = consumer.held
        del held[delivery]
        if verdict is Verdict.ACK:
            size_bytes = len(delivery.message.data)
            self._messages -= 1
            self._bytes -= size_bytes
            self._bounds.take(-1, -size_bytes)
        else:
            self._retry_later(delivery)
        if len(held) == consumer.max_in_flight - 1:
            self._ready.append(consumer)
        if self._queue:
            self._dispatch()

    def _retry_later(self, delivery: "_Delivery") -> None:
        again = delivery.again()

        def retry() -> None:
            self._timers.discard(timer)
            self._queue.appendleft(again)
            self._dispatch()

        delay = FIRST_RETRY_SECONDS * 2 ** min(delivery.attempt - 1, _DOUBLINGS)
        timer = self._surroundings.call_later(min(delay, LONGEST_RETRY_SECONDS), retry)
        self._timers.add(timer)

    def _dispatch(self) -> None:
        """Hand out messages while there is credit, to consumers in turn.

        A consumer may settle, publish or close while it is called; the loop that is running then goes on with what
        changed, so the stack stays flat.
        """
        if self._dispatching:
            return
        self._dispatching = True
        queue, ready = self._queue, self._ready
        try:
            while queue and ready:
                consumer = ready[0]
                delivery = queue.popleft()
                delivery.holder = consumer
                held = consumer.held
                held[delivery] = None
                if len(held) >= consumer.max_in_flight:
                    ready.popleft()
                elif len(ready) > 1:
                    ready.rotate(-1)
                consumer.take(delivery)
        finally:
            self._dispatching = False


class _Consumer:
    """A member of a group, and the handle to close it by."""

    __slots__ = ("_group", "held", "max_in_flight", "take")

    def __init__(self, group: _Group, request: SubscribeRequest) -> None:
        self._group = group
        self.take = request.consumer
        self.max_in_flight = max(1, request.max_in_flight)
        self.held: dict[_Delivery, None] = {}  # an ordered set, oldest first

    def close(self) -> None:
        """Leave the group. Idempotent."""
        self._group.leave(self)


class _Delivery(Struct, eq=False):
    """One attempt at one message of one group."""

    _group: _Group
    message: Message
    attempt: int
    holder: _Consumer | None = None

    def settle(self, verdict: Verdict) -> None:
        """Give it back; only the first call counts."""
        holder, self.holder = self.holder, None
        if holder is not None:
            self._group.settle(self, holder, verdict)

    def again(self) -> "_Delivery":
        """The next attempt. This one can no longer be settled."""
        self.holder = None
        return _Delivery(self._group, self.message, self.attempt + 1)
