"""One attached app: everything it owns hangs on this object, so isolation is structure and not a check.

Its tables of components hold only what it may use, each with the names already bound to this tenant. A handler is
given the App of the connection and can reach nothing else.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from components.completion import Completion
from components.contract import BrokerAtHand, PubSub, StateStore, StoreAtHand, StoreInGroups, StoreInMemory
from noded.channel_contract import AppChannel
from noded.config.records import AppSpec
from noded.known_lines import KnownLines
from noded.wire.known_heads import KnownHeads
from tenancy.accounting import Usage
from tenancy.fairness import Turn
from tenancy.namespacing import StateNames, TopicNames
from tenancy.tenant import Tenant
from tenancy.use import PublishUse, StoreUse

if TYPE_CHECKING:
    from noded.api.pubsub import KnownTopic
    from noded.channel_grpc import GrpcChannel
    from noded.node import Node


class StateBinding:
    """A state store as one tenant sees it."""

    __slots__ = ("at_hand", "in_groups", "in_memory", "name", "names", "store", "use", "version")

    def __init__(
        self, name: str, store: StateStore, names: StateNames, version: str = "v1", usage: Usage | None = None
    ) -> None:
        self.name = name
        self.store = store
        self.at_hand = store if isinstance(store, StoreAtHand) else None
        """The same store, where some items need not be waited for."""
        self.in_memory = store if isinstance(store, StoreInMemory) else None
        """The same store, where changes need not be waited for."""
        self.in_groups = store if isinstance(store, StoreInGroups) else None
        """The same store, where many wait together."""
        self.names = names
        """Draws this tenant's keys: `names.key(raw)`."""
        self.version = version
        self.use = StoreUse(usage or Usage(), name)
        """Counts what it does there."""


class PubSubBinding:
    """A broker as one tenant sees it."""

    __slots__ = ("at_hand", "broker", "known_topics", "name", "names", "scopes", "use", "version")

    def __init__(  # noqa: PLR0913, PLR0917 - what a binding is made of
        self,
        name: str,
        broker: PubSub,
        names: TopicNames,
        scopes: "TopicScopes",
        version: str = "v1",
        usage: Usage | None = None,
    ) -> None:
        self.name = name
        self.broker = broker
        self.at_hand = broker if isinstance(broker, BrokerAtHand) else None
        """The same broker, where it need not be waited for."""
        self.known_topics: dict[str, KnownTopic] = {}
        """{topic: what publishing to it comes to}, of those published to plainly; bounded by who fills it."""
        self.names = names
        """Draws topics and this tenant's consumer group: `names.topic(raw)`, `names.group`."""
        self.scopes = scopes
        self.version = version
        self.use = PublishUse(usage or Usage(), name)
        """Counts what it publishes there."""


class TopicScopes(Protocol):
    """Which topics an app may publish and subscribe to (allowedTopics, protectedTopics, *Scopes)."""

    def may_publish(self, topic: str) -> bool:
        """Whether this app may publish to `topic`."""

    def may_subscribe(self, topic: str) -> bool:
        """Whether this app may subscribe to `topic`."""


class AppSubscriptions(Protocol):
    """The app's subscriptions, whatever they came from; `runtime/subscriptions.py` implements it."""

    def listing(self) -> list[dict[str, object]]:
        """What /v1.0/metadata says: pubsubname, topic, rules, deadLetterTopic, metadata, type."""


class App:
    """A tenant at work: its record, its books, its components, its channel."""

    __slots__ = (
        "_max_body_bytes",
        "channel",
        "grpc_channel",
        "healthy",
        "known_heads",
        "known_lines",
        "leave",
        "leave_now",
        "metadata",
        "next_turn",
        "node",
        "pubsub",
        "ready",
        "spec",
        "state",
        "subscriptions",
        "tenant",
        "turn",
    )

    def __init__(  # noqa: PLR0913, PLR0917 - what an app is made of
        self,
        spec: AppSpec,
        tenant: Tenant,
        node: "Node",
        channel: AppChannel | None,
        max_body_bytes: int = 4 << 20,
        grpc_channel: "GrpcChannel | None" = None,
    ) -> None:
        self.spec = spec
        self.tenant = tenant
        self.node = node
        self.channel = channel
        """To an app that speaks HTTP."""
        self.grpc_channel = grpc_channel
        """To one that speaks gRPC. One that has neither channel only calls."""
        self.state: dict[str, StateBinding] = {}
        self.pubsub: dict[str, PubSubBinding] = {}
        self.metadata: dict[str, str] = {}
        """What the app PUT to /v1.0/metadata."""
        self.subscriptions: AppSubscriptions | None = None
        self.ready = channel is None and grpc_channel is None
        """Whether the app was seen to answer on its channel; one that has none is always ready."""
        self.healthy = spec.health is None
        """Whether it may be called: False for one that is probed and has not passed. Going unhealthy clears the node's
        passages, so that the look at this is not on their way."""
        self._max_body_bytes = max_body_bytes
        self.leave: Callable[[], None] = _nothing
        """Ask the daemon to detach this app soon."""
        self.leave_now: Callable[[], None] = _nothing
        """The same, without waiting for what is under way."""
        self.next_turn: Callable[[], Completion[None]] = _at_once
        """Done when its turn comes again: for work in pieces, between two of which other apps are served."""
        self.known_heads = KnownHeads()
        """Header sections its clients send again and again."""
        self.known_lines = KnownLines()
        """Routes of the request lines they begin with."""
        self.turn = Turn()
        """Its place in the order of tenants."""

    @property
    def max_body_bytes(self) -> int:
        """Of one request; more is refused. The tenant's request_bytes, or what the daemon was started with."""
        limit = self.tenant.limits.request_bytes
        return self._max_body_bytes if limit is None else limit

    @property
    def app_id(self) -> str:
        """The app id, as in the App resource."""
        return self.spec.app_id

    @property
    def namespace(self) -> str:
        """The namespace it lives in."""
        return self.spec.namespace


def _at_once() -> Completion[None]:
    done: Completion[None] = Completion()
    done.resolve(None)
    return done


def _nothing() -> None:
    """An app that no daemon attached has nowhere to leave."""
