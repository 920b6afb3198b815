"""The kinds of resources in their versions, and how what was read becomes a record."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from noded.config.http_settings import NO_LOGGING
from noded.config.metric_shape import overlay
from noded.config.problems import Place, Reading, quote
from noded.config.records import (
    NO_METRICS_SPEC,
    AppSpec,
    ComponentSpec,
    ConfigurationSpec,
    HealthSpec,
    Origin,
    QuotaSpec,
    Record,
    RouteRule,
    SubscriptionSpec,
)
from noded.config.schema import NOT_SERVED, Shape
from noded.config.shapes import (
    APP,
    COMPONENT,
    CONFIGURATION,
    HEALTH,
    QUOTA,
    SUBSCRIPTION_V1,
    SUBSCRIPTION_V2,
    UNREAD,
    Meta,
    MetadataItem,
)

DAPR_V1 = "dapr.io/v1alpha1"
DAPR_V2 = "dapr.io/v2alpha1"
NODED_V1 = "noded.io/v1alpha1"


Values = Mapping[str, Any]
"""What a shape read: the YAML edge, gone once the record is made."""
Build = Callable[[Values, Meta, Reading, Origin], Record]


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind in one version."""

    api_version: str
    name: str
    shape: Shape
    build: Build | None = None
    """None: accepted, with a warning that it is not served yet."""


def _component(values: Values, meta: Meta, reading: Reading, origin: Origin) -> ComponentSpec:
    spec: dict[str, Any] = dict(values["spec"])
    items: tuple[MetadataItem, ...] = spec.pop("metadata", ())
    return ComponentSpec(
        name=meta.name,
        namespace=meta.namespace,
        metadata=_metadata(items, reading, origin),
        scopes=values.get("scopes", ()),
        origin=origin,
        **spec,
    )


def _metadata(items: tuple[MetadataItem, ...], reading: Reading, origin: Origin) -> Mapping[str, str]:
    values: dict[str, str] = {}
    for item in items:
        reading.places[origin.line, f"spec.metadata.{item.name}"] = item.place
        if item.value is None and item.env_ref is not None:
            values[item.name] = _from_environment(item.env_ref, item.place, reading)
        elif item.value is None and item.secret_key_ref is not None:
            reading.warn(item.place, f"secretKeyRef {NOT_SERVED}; {item.name} is left out")
        else:
            values[item.name] = item.value or ""
    return values


def _from_environment(name: str, place: Place, reading: Reading) -> str:
    """What envRef stands for. Source: daprd's list of what is kept from components (processor/secret/secret.go)."""
    upper = name.upper()
    listed = reading.environ.get("DAPR_ENV_KEYS", "").split()
    if upper == "APP_API_TOKEN" or upper.startswith("DAPR_") or " " in name or (listed and upper not in listed):
        allowed = "names without spaces, but DAPR_* and APP_API_TOKEN; only those in DAPR_ENV_KEYS where that is set"
        reading.problem(place, "envRef names a variable kept from components", found=quote(name), allowed=allowed)
    elif name not in reading.environ:
        reading.warn(place, f"envRef: {name} is not set in the daemon's environment; the value is empty")
    return reading.environ.get(name, "")


def _subscription_v1(values: Values, meta: Meta, reading: Reading, origin: Origin) -> SubscriptionSpec:
    spec: dict[str, Any] = dict(values["spec"])
    rules = (RouteRule("", spec.pop("route")),)
    return _subscription({**values, "spec": {**spec, "rules": rules}}, meta, reading, origin)


def _subscription(values: Values, meta: Meta, reading: Reading, origin: Origin) -> SubscriptionSpec:
    spec = values["spec"]
    if not spec["rules"]:
        place = reading.place_of(origin.line, "spec.routes")
        reading.problem(place, "leads nowhere: every event would be dropped", allowed="rules, default, or both")
    return SubscriptionSpec(
        name=meta.name, namespace=meta.namespace, scopes=values.get("scopes", ()), origin=origin, **spec
    )


def _configuration(values: Values, meta: Meta, _reading: Reading, origin: Origin) -> ConfigurationSpec:
    spec = values["spec"]
    return ConfigurationSpec(
        name=meta.name,
        namespace=meta.namespace,
        tracing_sampling_rate=spec.get("tracing", {}).get("sampling_rate"),
        api_logging=spec.get("logging", {}).get("api_logging", NO_LOGGING),
        api_rules=spec.get("api"),
        metrics=overlay(spec.get("metric", NO_METRICS_SPEC), spec.get("metrics", NO_METRICS_SPEC)),
        origin=origin,
    )


def _app(values: Values, meta: Meta, reading: Reading, origin: Origin) -> AppSpec:
    spec: dict[str, Any] = dict(values.get("spec", {}))
    given = {field.to: spec.pop(field.to) for field in HEALTH.values() if field.to in spec}
    wanted = spec.pop("enable_app_health_check", False)
    health = _health(given, reading, origin) if wanted else None
    if given and not wanted:
        reading.warn(
            reading.place_of(origin.line, "spec"), "appHealth fields have no effect without enableAppHealthCheck: true"
        )
    if health is not None and "channel" not in spec:
        place = reading.place_of(origin.line, "spec.enableAppHealthCheck")
        reading.problem(place, "asks for probes of an app without a channel", allowed="spec.channel beside it")
    return AppSpec(app_id=meta.name, namespace=meta.namespace or "default", health=health, origin=origin, **spec)


def _health(given: Values, reading: Reading, origin: Origin) -> HealthSpec:
    health = HealthSpec(**given)
    if health.timeout_seconds > health.interval_seconds:
        place = reading.place_of(origin.line, "spec.appHealthProbeTimeout")
        found = f"{health.timeout_seconds:g} s, every {health.interval_seconds:g} s"
        reading.problem(place, "is above the interval", found=found, allowed="at most appHealthProbeInterval")
    return health


def _quota(values: Values, meta: Meta, _reading: Reading, origin: Origin) -> QuotaSpec:
    return QuotaSpec(name=meta.name, namespace=meta.namespace, origin=origin, **values["spec"])


KINDS = (
    Kind(DAPR_V1, "Component", COMPONENT, _component),
    Kind(DAPR_V1, "Subscription", SUBSCRIPTION_V1, _subscription_v1),
    Kind(DAPR_V2, "Subscription", SUBSCRIPTION_V2, _subscription),
    Kind(DAPR_V1, "Configuration", CONFIGURATION, _configuration),
    Kind(DAPR_V1, "Resiliency", UNREAD),
    Kind(DAPR_V1, "HTTPEndpoint", UNREAD),
    Kind(DAPR_V1, "WorkflowAccessPolicy", UNREAD),
    Kind(DAPR_V1, "MCPServer", UNREAD),
    Kind(NODED_V1, "App", APP, _app),
    Kind(NODED_V1, "Quota", QUOTA, _quota),
)
