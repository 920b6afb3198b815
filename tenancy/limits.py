"""The ceilings of an app, a namespace and the node.

Effective limit = the smallest of app, namespace and node (nats does the same for user and account). None: no limit.
"""

from dataclasses import dataclass, fields, replace


@dataclass(frozen=True, slots=True)
class Limits:
    """One set of ceilings; each field's YAML name is its camelCase. None: no limit."""

    requests_per_second: float | None = None
    """Requests accepted a second, HTTP and gRPC together (token bucket, a burst of one second's worth, at least 1)."""
    bytes_per_second: float | None = None
    """Bytes of request and reply bodies a second (token bucket, a burst of one second's worth)."""
    concurrent_requests: int | None = None
    """Requests being answered at one moment."""
    connections: int | None = None
    """Open connections to the app's sockets."""
    streams: int | None = None
    """Open gRPC streams that are not unary (subscriptions, say)."""
    request_bytes: int | None = None
    """Bytes of one request's body; Dapr's own 4 MiB holds when this is None."""
    state_bytes: int | None = None
    """Bytes kept in local state stores: keys and values."""
    state_keys: int | None = None
    """Items kept in local state stores."""
    subscriptions: int | None = None
    """Topics subscribed to, streaming ones included."""
    queued_messages: int | None = None
    """Messages waiting for the app in the daemon's own brokers."""
    queued_bytes: int | None = None
    """Bytes of those messages."""
    deliveries_in_flight: int | None = None
    """Messages handed to the app and not answered yet."""
    locks: int | None = None
    """Locks held."""
    jobs: int | None = None
    """Scheduled jobs."""
    actors: int | None = None
    """Active actors."""
    reminders: int | None = None
    """Actor reminders and timers."""
    workflows: int | None = None
    """Workflows that have not ended."""


FIELDS = tuple(field.name for field in fields(Limits))


def smallest(*limits: Limits) -> Limits:
    """Return the effective limits: for each field the smallest of those that are set."""
    return Limits(
        **{name: min((v for each in limits if (v := getattr(each, name)) is not None), default=None) for name in FIELDS}
    )


DEFAULTS = Limits(queued_messages=65_536, queued_bytes=64 << 20)
"""What holds for an app where nobody says otherwise: the daemon's own brokers keep messages in memory, so a queue
without a ceiling would let one slow subscriber take the node's. A full queue drops, and counts, what comes."""


def app_limits(own: Limits, *per_app: Limits) -> Limits:
    """Return an app's own ceilings: the smallest of its resource's and each quota's `perApp`, then DEFAULTS."""
    chosen = smallest(own, *per_app)
    missing = {name: value for name in FIELDS if (value := getattr(DEFAULTS, name)) and getattr(chosen, name) is None}
    return replace(chosen, **missing)


def yaml_name(limit: str) -> str:
    """How a limit is spelt where it is set: `requestsPerSecond`. What is no field of Limits stays as it is."""
    if limit not in FIELDS:
        return limit
    first, *rest = limit.split("_")
    return first + "".join(map(str.capitalize, rest))
