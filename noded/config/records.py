"""What YAML resources become: frozen records. After this no `dict[str, Any]` travels.

Names, fields and defaults are Dapr's (dapr.io/v1alpha1, v2alpha1) and noded's own (noded.io/v1alpha1).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from noded.config.http_settings import NO_HTTP_SETTINGS, NO_LOGGING, ApiLogging, ApiRules, HttpSettings
from tenancy.limits import Limits

NO_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a resource stands: for messages."""

    file: str
    line: int


@dataclass(frozen=True, slots=True)
class ComponentSpec:
    """A configured backend (kind Component)."""

    name: str
    type: str
    """`<category>.<backend>`, as `state.sqlite`."""
    version: str = "v1"
    namespace: str | None = None
    """None: for every namespace of the node."""
    scopes: tuple[str, ...] = ()
    """App ids that may use it; empty: all."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """Values as strings, templates not yet replaced."""
    ignore_errors: bool = False
    init_timeout_seconds: float = 5.0
    origin: Origin | None = None


@dataclass(frozen=True, slots=True)
class RouteRule:
    """One v2alpha1 routing rule: events that `match` (CEL; "" matches all) go to `path`."""

    match: str
    path: str


@dataclass(frozen=True, slots=True)
class BulkSubscribe:
    """How many messages a bulk delivery gathers, and for how long at most."""

    enabled: bool = False
    max_messages_count: int = 100
    max_await_duration_ms: int = 1000


@dataclass(frozen=True, slots=True)
class SubscriptionSpec:
    """A subscription, declarative (kind Subscription) or answered by the app at /dapr/subscribe."""

    pubsub_name: str
    topic: str
    rules: tuple[RouteRule, ...] = ()
    """In order; the default route is last, with an empty match. Without any, events are dropped."""
    dead_letter_topic: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    bulk: BulkSubscribe = BulkSubscribe()
    scopes: tuple[str, ...] = ()
    name: str = ""
    namespace: str | None = None
    origin: Origin | None = None


class AppProtocol(StrEnum):
    """What an app speaks on its channel."""

    HTTP = "http"
    HTTPS = "https"
    H2C = "h2c"
    GRPC = "grpc"
    GRPCS = "grpcs"

    @property
    def is_grpc(self) -> bool:
        """Whether it is called as a gRPC service, not as an HTTP server."""
        return self in {AppProtocol.GRPC, AppProtocol.GRPCS}

    @property
    def has_tls(self) -> bool:
        """Whether it is spoken inside TLS."""
        return self in {AppProtocol.HTTPS, AppProtocol.GRPCS}


@dataclass(frozen=True, slots=True)
class ChannelSpec:
    """Where and how the daemon calls the app: `host:port` or `unix:/path`."""

    address: str
    protocol: AppProtocol = AppProtocol.HTTP
    max_concurrency: int | None = None
    """Calls to the app at one moment (Dapr's app-max-concurrency); more wait."""


@dataclass(frozen=True, slots=True)
class HealthSpec:
    """How the app is probed (Dapr's app health checks)."""

    path: str = "/healthz"
    """Asked by GET; of no meaning to an app that speaks gRPC."""
    interval_seconds: float = 5.0
    """Between the beginnings of two probes."""
    timeout_seconds: float = 0.5
    """A probe without an answer by then has failed; not above the interval."""
    threshold: int = 3
    """Failed probes that make the app unhealthy."""


class InitEndpoint(StrEnum):
    """What an app is asked once, when it is first there."""

    CONFIG = "config"
    """GET /dapr/config"""
    SUBSCRIBE = "subscribe"
    """GET /dapr/subscribe, or ListTopicSubscriptions"""


@dataclass(frozen=True, slots=True)
class SocketsSpec:
    """Who may open the app's sockets, by file permission."""

    owner: str | None = None
    group: str | None = None
    mode: int | None = None
    """Of the directory; None: 0750 where a group is named, else 0700."""


@dataclass(frozen=True, slots=True)
class IdentitySpec:
    """Who the kernel must say is calling; both empty: whoever may open the socket."""

    uids: tuple[int, ...] = ()
    gids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class LoopbackSpec:
    """127.0.0.1 ports of the app's own; 0: a free one. A token is mandatory on them."""

    http_port: int = 0
    grpc_port: int = 0
    token: str | None = None
    """None: the daemon makes one and keeps it in the app's directory, mode 0600."""


@dataclass(frozen=True, slots=True)
class AppSpec:
    """One tenant (kind App)."""

    app_id: str
    namespace: str = "default"
    channel: ChannelSpec | None = None
    sockets: SocketsSpec = SocketsSpec()
    identity: IdentitySpec = IdentitySpec()
    loopback: LoopbackSpec | None = None
    limits: Limits = NO_LIMITS
    api_token: str | None = None
    """When set, every request must carry it as dapr-api-token, on the Unix sockets too."""
    app_token: str | None = None
    """Sent to the app as dapr-api-token (Dapr's APP_API_TOKEN)."""
    health: HealthSpec | None = None
    """None: it is not probed, and healthy once it listens."""
    disable_init_endpoints: tuple[InitEndpoint, ...] = ()
    """What it is not asked."""
    origin: Origin | None = None


@dataclass(frozen=True, slots=True)
class QuotaSpec:
    """Ceilings of a namespace, or of the node where `namespace` is None (kind Quota)."""

    name: str
    namespace: str | None
    per_app: Limits = NO_LIMITS
    total: Limits = NO_LIMITS
    origin: Origin | None = None


@dataclass(frozen=True, slots=True)
class Resources:
    """Everything a resources directory said, checked."""

    components: tuple[ComponentSpec, ...] = ()
    subscriptions: tuple[SubscriptionSpec, ...] = ()
    apps: tuple[AppSpec, ...] = ()
    quotas: tuple[QuotaSpec, ...] = ()


@dataclass(frozen=True, slots=True)
class MetricRule:
    """Rewrites one label of one metric (spec.metric.rules), so that many values become few."""

    metric: str
    """With `dapr_` before it or without."""
    label: str
    pattern: re.Pattern[str]
    replacement: str


@dataclass(frozen=True, slots=True)
class MetricsSpec:
    """What is measured and how it is told (spec.metric of a Configuration)."""

    enabled: bool | None = None
    """Whether `noded daprd` serves them at all; None: it does."""
    increased_cardinality: bool | None = None
    """Whether requests over HTTP are counted by path; None: they are not."""
    exclude_verbs: bool | None = None
    path_matching: tuple[str, ...] = ()
    """Patterns of paths, as Go's ServeMux has them: paths that match are counted by pattern."""
    latency_bounds_ms: tuple[float, ...] = ()
    """Of histograms of times, in milliseconds, ascending; none: daprd's."""
    rules: tuple[MetricRule, ...] = ()


NO_METRICS_SPEC = MetricsSpec()
"""Nothing said of metrics."""


@dataclass(frozen=True, slots=True)
class ConfigurationSpec:
    """What noded takes from kind Configuration; None: not given."""

    name: str
    namespace: str | None = None
    tracing_sampling_rate: float | None = None
    api_logging: ApiLogging = NO_LOGGING
    api_rules: ApiRules | None = None
    metrics: MetricsSpec = NO_METRICS_SPEC
    origin: Origin | None = None


Record = ComponentSpec | SubscriptionSpec | AppSpec | QuotaSpec | ConfigurationSpec
"""What a document of a resource file becomes."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How this daemon runs: from the command line, the environment and kind Configuration."""

    run_dir: Path
    state_dir: Path
    resources_paths: tuple[Path, ...] = ()
    config_paths: tuple[Path, ...] = ()
    max_body_bytes: int = 4 << 20
    memory_bytes: int | None = None
    """Of the daemon itself; None: what its control group allows, else the machine's."""
    drain_seconds: float = 5.0
    tracing_sampling_rate: float = 0.0001
    metrics: MetricsSpec = NO_METRICS_SPEC
    metrics_listen: tuple[str, int] | None = None
    """Address and port that serve the metrics beside the operator's socket."""
    log_level: str = "info"
    log_as_json: bool = False
    http: HttpSettings = NO_HTTP_SETTINGS
    """Of the servers of both APIs."""
