"""The ceilings of an app, a namespace and the node.

Effective limit = the smallest of app, namespace and node (nats does the same for user and account). None: no limit.
"""

from dataclasses import dataclass, fields


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
