"""What a backend must be: one Protocol per building block, the records they exchange, the errors they raise.

A component knows no tenant: names reach it already drawn by `tenancy/namespacing.py`, as NewTypes that nothing else
makes, so a raw key cannot reach a store without failing mypy. It declares what it can do once, on the class
(`capabilities`), and whether it may be stepped in place (`inline`): an inline component awaits nothing but
`Completion`s, never trio.
"""

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from errno import ENOTSUP
from os import strerror
from pathlib import Path
from typing import ClassVar, NewType, Protocol, runtime_checkable

from msgspec import Struct

from components.completion import Completion

StoreKey = NewType("StoreKey", str)
TopicName = NewType("TopicName", str)
GroupName = NewType("GroupName", str)


class Capability(StrEnum):
    """What a component can do, in the words of Dapr's metadata API."""

    ETAG = "ETAG"
    TRANSACTIONAL = "TRANSACTIONAL"
    TTL = "TTL"
    DELETE_WITH_PREFIX = "DELETE_WITH_PREFIX"
    ACTOR = "ACTOR"
    MESSAGE_TTL = "MESSAGE_TTL"
    SUBSCRIBE_WILDCARDS = "SUBSCRIBE_WILDCARDS"
    BULK_PUBLISH = "BULK_PUBLISH"


class ComponentError(Exception):
    """Something a backend says about a request; `noded/errors.py` maps each kind to Dapr's answer."""


class EtagMismatch(ComponentError):
    """The item changed since the etag was read. Nothing was written: read it again and retry."""


class InvalidEtag(ComponentError):
    """The etag is none this backend ever gave. Nothing was written."""


class InvalidRequest(ComponentError):
    """A field of the request is not one this backend takes (a ttlInSeconds that is no number, say)."""


class Unsupported(ComponentError):
    """The backend has not this ability; its `capabilities` say so."""


class Unavailable(ComponentError):
    """The backend cannot answer now: down, full, or read-only. The message says which."""


class ConfigError(ComponentError):
    """A metadata field of the component is wrong: raised while it is opened, with the field and what is allowed."""


class Item(Struct, frozen=True, gc=False):
    """A stored value: its bytes, its etag, and when it expires (Unix seconds; None: never)."""

    value: bytes
    etag: str
    expires_at: float | None = None


class Write(Struct, frozen=True):
    """Store `value` under `key`.

    etag: None writes whatever is there; else only over that very version.
    first_write: with no etag, only where there is no live item.
    ttl_seconds: None or -1 means that the item does not expire (and an older expiry is cleared).
    """

    key: StoreKey
    value: bytes
    etag: str | None = None
    first_write: bool = False
    ttl_seconds: int | None = None


class Delete(Struct, frozen=True):
    """Remove `key`; with an etag, only that very version. Removing what is not there is no error."""

    key: StoreKey
    etag: str | None = None


Outcome = Exception | None
"""One item's result in a bulk call: None when it was done."""


class Account(Protocol):
    """Who pays for the items of one owner in one store."""

    def charge(self, keys: int, size_bytes: int) -> None:
        """Add a difference (negative: free). Thread-safe.

        Raises whatever the daemon refuses growth with, changing nothing; the store then undoes what it was about to do
        and lets that error through. A charge that only frees never raises.
        """


class Ledger(Protocol):
    """The daemon's side of one store's books."""

    def account(self, owner: str) -> Account:
        """The account of `owner_of(key)`. The same object for the same owner."""

    def recount(self, totals: Mapping[str, tuple[int, int]]) -> None:
        """Replace all counts of this store by {owner: (keys, bytes)}: called on opening a store that kept items."""


def owner_of(key: StoreKey) -> str:
    """Who an item belongs to in the books: the text before the first `||`, or "" where there is none."""
    owner, separator, _ = key.partition("||")
    return owner if separator else ""


def size_of(key: StoreKey, value: bytes) -> int:
    """What an item costs in bytes: its whole key in UTF-8 and its value as given, not as a backend encodes it."""
    return (len(key) if key.isascii() else len(key.encode("utf-8", "surrogatepass"))) + len(value)


class StateStore(Protocol):
    """A key-value store. A write of one key is all or nothing; ordering between keys is not promised."""

    type: ClassVar[str]
    capabilities: ClassVar[frozenset[Capability]]
    inline: ClassVar[bool]

    async def get(self, key: StoreKey) -> Item | None:
        """Return the live item, or None if absent or expired. Raises Unavailable."""

    async def get_many(self, keys: Sequence[StoreKey]) -> Sequence[Item | None]:
        """Return one answer per key, in order. Raises Unavailable."""

    async def set(self, write: Write) -> None:
        """Store one item; when this returns, it is as durable as the backend is.

        Raises EtagMismatch, InvalidEtag, Unavailable, or what an Account refuses with: nothing was written.
        """

    async def set_many(self, writes: Sequence[Write]) -> Sequence[Outcome]:
        """Store several; each has its own outcome. An Account's refusal is raised and refuses them all."""

    async def delete(self, delete: Delete) -> None:
        """Remove one item. Raises EtagMismatch, InvalidEtag, Unavailable."""

    async def delete_many(self, deletes: Sequence[Delete]) -> Sequence[Outcome]:
        """Remove several; each has its own outcome."""

    async def transact(self, operations: Sequence[Write | Delete]) -> None:
        """Do all in order, or none. Raises the first failure; Unsupported without Capability.TRANSACTIONAL."""

    async def aclose(self) -> None:
        """Finish what was accepted, then let go of files and threads. Idempotent."""


NOT_AT_HAND = Item(b"", "")
"""What `StoreAtHand.get_now` gives for what must be waited for; compare by identity."""


@runtime_checkable
class StoreAtHand(Protocol):
    """A StateStore with items in memory, all or some: those are had without waiting, hence without a coroutine."""

    def get_now(self, key: StoreKey) -> Item | None:
        """As StateStore.get, or NOT_AT_HAND; never raises."""


@runtime_checkable
class StoreInMemory(Protocol):
    """A StateStore that has all its items in memory, and nowhere else: they are changed without waiting."""

    def set_now(self, write: Write) -> None:
        """As StateStore.set."""


@runtime_checkable
class StoreInGroups(Protocol):
    """A StateStore that gathers writes: its callers wait for a group together, each without a coroutine."""

    def set_later(self, write: Write) -> Completion[object]:
        """Begin a StateStore.set. Raises what it raises at once, fails the Completion with what it raises later."""


class Message(Struct, frozen=True):
    """What a broker carries: the bytes it was given, and string metadata."""

    data: bytes
    metadata: Mapping[str, str] = {}
    content_type: str = "application/cloudevents+json"
    facts: object | None = None
    """What the publisher knows of `data`, for a consumer in the same process; a broker need not keep it."""


class Verdict(StrEnum):
    """What became of a delivery."""

    ACK = "ack"
    RETRY = "retry"


class Delivery(Protocol):
    """One message lent to one consumer until it is settled."""

    message: Message
    attempt: int
    """1 for the first delivery."""

    def settle(self, verdict: Verdict) -> None:
        """Give it back, once: ACK forgets it, RETRY redelivers it later. A second call does nothing."""


class Consumer(Protocol):
    """Where a broker puts messages. Called on the loop's thread; must not block."""

    def __call__(self, delivery: Delivery) -> None:
        """Take one delivery; it will be settled later, also if the consumer dies."""


class QueueBounds(Protocol):
    """What a subscriber group may hold at a broker that queues inside the daemon."""

    def take(self, messages: int, size_bytes: int) -> bool:
        """Reserve room (negative: free it). False, changing nothing, when there is none; freeing is always True."""

    def dropped(self, messages: int) -> None:
        """Count messages that found no room."""


class SubscriptionHandle(Protocol):
    """An open subscription."""

    def close(self) -> None:
        """Stop deliveries to this consumer; what it holds unsettled goes to the group's others or back to the queue."""


class SubscribeRequest(Struct, frozen=True):
    """One consumer of one group. Consumers of a group compete; each group gets every message."""

    topic: TopicName
    group: GroupName
    consumer: Consumer
    max_in_flight: int
    bounds: QueueBounds
    metadata: Mapping[str, str] = {}


class PubSub(Protocol):
    """A broker. At least once to every group, while the broker lives."""

    type: ClassVar[str]
    capabilities: ClassVar[frozenset[Capability]]
    inline: ClassVar[bool]

    async def publish(self, topic: TopicName, message: Message) -> None:
        """Hand one message over. Never waits for a subscriber. Raises Unavailable."""

    async def subscribe(self, request: SubscribeRequest) -> SubscriptionHandle:
        """Start delivering. Raises Unavailable, InvalidRequest."""

    async def aclose(self) -> None:
        """Close every subscription, then the broker's own resources. Idempotent."""


@runtime_checkable
class BrokerAtHand(Protocol):
    """A PubSub inside the daemon: it can take a message without waiting, hence without a coroutine."""

    def publish_now(self, topic: TopicName, message: Message) -> None:
        """As PubSub.publish."""


def cannot_watch(_descriptor: int, _function: Callable[[], None]) -> Callable[[], None]:
    """Refuse, as a loop does that watches no descriptors. Raises OSError."""
    raise OSError(ENOTSUP, strerror(ENOTSUP))


class Surroundings(Struct, frozen=True):
    """What the daemon lends a component while it lives."""

    run_soon: Callable[[Callable[[], None]], object]
    """Run a function on the loop's thread soon; callable from any thread."""
    next_pass: Callable[[Callable[[], None]], object]
    """Run a function in the loop's next pass, after what is ready now was read; only from the loop's thread."""
    call_later: Callable[[float, Callable[[], None]], "Timer"]
    """Run a function on the loop's thread after some seconds; only from the loop's thread."""
    now: Callable[[], float]
    """Unix seconds, for expiry."""
    state_dir: Path
    """Where durable local components keep their files by default."""
    ledger: Ledger
    watch: Callable[[int, Callable[[], None]], Callable[[], None]] = cannot_watch
    """Run a function on the loop's thread whenever a descriptor is readable; what this returns ends that.

    Raises OSError where the loop cannot.
    """


class Timer(Protocol):
    """A pending `call_later`."""

    def cancel(self) -> None:
        """Forget it; harmless when it ran."""
