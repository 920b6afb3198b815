"""What `noded run` asks of the daemon, and the App it means."""

from msgspec import Struct, field

from noded.config.records import AppProtocol, AppSpec, ChannelSpec, HealthSpec, InitEndpoint, LoopbackSpec
from tenancy.limits import Limits
from tenancy.namespacing import check_app_id, check_namespace


class AttachRequest(Struct, rename="camel"):
    """The body of `POST /v1/apps`."""

    app_id: str
    namespace: str = "default"
    channel: str = ""
    """host:port or unix:/path; "": the app only calls."""
    protocol: AppProtocol = AppProtocol.HTTP
    max_concurrency: int | None = None
    loopback: bool = True
    """Whether it gets 127.0.0.1 ports, which most SDKs need."""
    http_port: int = 0
    grpc_port: int = 0
    token: str = ""
    """Of those ports; "": the daemon makes one."""
    limits: Limits = field(default_factory=Limits)
    health: HealthSpec | None = None
    """None: the app is not probed."""
    disable_init_endpoints: tuple[InitEndpoint, ...] = ()
    hold: bool = True
    """Whether the app is detached when the one who asked is gone."""


def spec_of(wanted: AttachRequest) -> AppSpec:
    """The App a request means. Raises ValueError saying which field is wrong."""
    if problem := check_namespace(wanted.namespace) or check_app_id(wanted.app_id):
        raise ValueError(problem)
    channel = ChannelSpec(wanted.channel, wanted.protocol, wanted.max_concurrency) if wanted.channel else None
    loopback = LoopbackSpec(wanted.http_port, wanted.grpc_port, wanted.token or None) if wanted.loopback else None
    if wanted.health is not None:
        if channel is None:
            raise ValueError("an app without a channel cannot be probed: give its port or its channel")
        if not 0 < wanted.health.timeout_seconds <= wanted.health.interval_seconds or wanted.health.threshold < 1:
            raise ValueError("a probe takes some time, and no longer than the interval between two; at least one fails")
    return AppSpec(
        wanted.app_id,
        wanted.namespace,
        channel=channel,
        loopback=loopback,
        limits=wanted.limits,
        health=wanted.health,
        disable_init_endpoints=wanted.disable_init_endpoints,
    )
