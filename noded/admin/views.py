"""What the operator is shown, as plain records: apps, usage, components, events. Read, never changed, here."""

from typing import TYPE_CHECKING

from msgspec import Struct

from noded.config.shapes import camel_case
from tenancy.accounting import UsageReport
from tenancy.limits import DEFAULTS

if TYPE_CHECKING:
    from noded.attachment import Attachment
    from noded.daemon import Daemon


class AppView(Struct, rename="camel"):
    """One attached app."""

    namespace: str
    app_id: str
    ready: bool
    """Whether it answers on its channel."""
    channel: str
    """Where the daemon calls it; "" where it only calls."""
    http_socket: str
    grpc_socket: str
    connections: int
    components: list[str]
    subscriptions: list[str]
    """`pubsub/topic`."""
    http_port: int | None = None
    grpc_port: int | None = None
    declared: bool = True
    """False: attached by `noded run`."""
    healthy: bool | None = None
    """What its probes say; None: it is not probed."""


class LimitView(Struct, rename="camel"):
    """One limit's use."""

    limit: str
    used: float
    allowed: float | None
    refused: int


class UsageView(Struct, rename="camel"):
    """What one subject uses of its limits: an app, a namespace, or the node."""

    subject: str
    limits: list[LimitView]


class AppUsageView(UsageView, rename="camel"):
    """What one app uses, and what it did since it was attached."""

    requests: int = 0
    errors: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    delivered: int = 0
    dropped: int = 0
    cpu_seconds: float = 0.0


class ComponentView(Struct, rename="camel"):
    """One configured component."""

    name: str
    type: str
    namespace: str | None
    status: str


class EventView(Struct, rename="camel"):
    """Something that happened to a tenant."""

    at: float
    """Unix seconds, of the last time."""
    count: int
    tenant: str
    what: str
    limit: str
    used: float
    allowed: float


def apps(daemon: "Daemon") -> list[AppView]:
    """Every attached app, by name."""
    return [app_view(daemon, each) for _, each in sorted(daemon.attachments.items())]


def app_view(daemon: "Daemon", attachment: "Attachment") -> AppView:
    """One attached app."""
    app, endpoints = attachment.app, attachment.endpoints
    listing = app.subscriptions.listing() if app.subscriptions else []
    paths = endpoints.paths
    return AppView(
        app.namespace,
        app.app_id,
        app.ready,
        app.spec.channel.address if app.spec.channel else "",
        str(paths.http) if paths else "",
        str(paths.grpc) if paths else "",
        app.tenant.gate.app.used["connections"],
        sorted([*app.state, *app.pubsub]),
        [f"{each['pubsubname']}/{each['topic']}" for each in listing],
        endpoints.http_port,
        endpoints.grpc_port,
        daemon.is_declared(app.namespace, app.app_id),
        None if app.spec.health is None else app.healthy,
    )


def usage(daemon: "Daemon") -> list[UsageView]:
    """The node, its namespaces, then every app."""
    now = daemon.seconds()
    shared = [UsageView(report.subject, _limits(report)) for report in daemon.tenants.reports(now)]
    return [*shared, *(app_usage(each, now) for _, each in sorted(daemon.attachments.items()))]


def app_usage(attachment: "Attachment", now: float) -> AppUsageView:
    """What one app uses."""
    tenant = attachment.app.tenant
    counted = tenant.usage
    totals = counted.totals()
    return AppUsageView(
        tenant.id,
        _limits(tenant.report(now)),
        totals.requests,
        counted.errors,
        totals.bytes_in,
        totals.bytes_out,
        counted.delivered,
        counted.dropped_events,
        attachment.app.turn.served_ns / 1e9,
    )


def components(daemon: "Daemon") -> list[ComponentView]:
    """Every configured component and how it is."""
    return [
        ComponentView(each.spec.name, each.spec.type, each.spec.namespace, each.status)
        for each in daemon.backends.listing()
    ]


def events(daemon: "Daemon") -> list[EventView]:
    """What was refused or dropped lately."""
    return [
        EventView(each.last_at, each.count, each.tenant, each.what, camel_case(each.limit), each.used, each.allowed)
        for each in daemon.tenants.events.listing()
    ]


def _limits(report: UsageReport) -> list[LimitView]:
    """Limits that somebody set, that are used, or that were met."""
    return [
        LimitView(camel_case(name), use.used, use.allowed, use.refused)
        for name, use in report.limits.items()
        if use.used or use.refused or use.allowed not in (None, getattr(DEFAULTS, name))
    ]
