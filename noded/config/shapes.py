"""The shape of every kind of resource: which fields, what is allowed in them, what record each part becomes.

Source: dapr-api.md 3 for dapr.io (dapr pkg/apis); noded.io is noded's own.
"""

from dataclasses import dataclass

from noded.config.http_shape import API, LOGGING
from noded.config.metric_shape import METRIC
from noded.config.problems import Place
from noded.config.records import (
    AppProtocol,
    BulkSubscribe,
    ChannelSpec,
    IdentitySpec,
    InitEndpoint,
    LoopbackSpec,
    RouteRule,
    SocketsSpec,
)
from noded.config.schema import NOT_SERVED, Anything, Field, ListOf, MapOf, Raw, Shape, Text
from noded.config.values import (
    parse_address,
    parse_bool,
    parse_count,
    parse_duration,
    parse_id,
    parse_match,
    parse_milliseconds,
    parse_mode,
    parse_path,
    parse_port,
    parse_quantity,
    parse_rate,
    parse_seconds,
    parse_share,
    parse_text,
)
from tenancy.limits import FIELDS as LIMIT_FIELDS
from tenancy.limits import Limits
from tenancy.namespacing import check_app_id, check_namespace

CATEGORIES = (
    "state",
    "pubsub",
    "bindings",
    "secretstores",
    "configuration",
    "lock",
    "crypto",
    "middleware",
    "conversation",
    "nameresolution",
)
"""What a component's type may begin with."""


@dataclass(frozen=True, slots=True)
class Meta:
    """The `metadata` of a resource, as far as noded goes by it."""

    name: str
    namespace: str | None = None


@dataclass(frozen=True, slots=True)
class MetadataItem:
    """One metadata entry of a component; the first of value, envRef and secretKeyRef that is given counts."""

    place: Place
    name: str
    value: str | None = None
    env_ref: str | None = None
    secret_key_ref: str | None = None


def _name(text: str) -> str:
    if text in {".", ".."} or any(each in text for each in ("/", "%", "||")):
        raise ValueError("is not a name")
    return parse_text(text)


def _app_id(text: str) -> str:
    if check_app_id(text) is not None:
        raise ValueError("is not an app id")
    return text


def _namespace(text: str) -> str:
    if check_namespace(text) is not None:
        raise ValueError("is not a namespace")
    return text


def _type(text: str) -> str:
    category, dot, backend = text.lower().partition(".")
    if not dot or not backend or category not in CATEGORIES:
        raise ValueError("is not a component type")
    return parse_text(text.lower())


def _version(text: str) -> str:
    return parse_text(text) if text else "v1"


def _protocol(text: str) -> AppProtocol:
    if text not in set(AppProtocol):
        raise ValueError("is not a protocol apps are called by")
    return AppProtocol(text)


def _init_endpoint(text: str) -> InitEndpoint:
    if text not in set(InitEndpoint):
        raise ValueError("is nothing apps are asked at their start")
    return InitEndpoint(text)


def _limit(name: str) -> Field:
    if name.endswith("_per_second"):
        return Field(RATE)
    return Field(SIZE if "bytes" in name else AMOUNT)


def camel_case(name: str) -> str:
    """`snake_case` to `snakeCase`: how a record's field is spelt in YAML."""
    first, *rest = name.split("_")
    return first + "".join(map(str.capitalize, rest))


STRING = Text("text", parse_text)
SECRET = Text("text", parse_text, secret=True)
STRINGS = MapOf(Raw())
BOOL = Text("true or false", parse_bool)
NAME = Text("text without / % ||", _name)
APP_ID = Text("letters, digits, - and _, at most 63", _app_id)
NAMESPACE = Text("a DNS label: a-z, 0-9 and -, at most 63", _namespace)
MATCH = Text('a CEL expression over event, as event.type == "order"', parse_match)
DURATION = Text("a Go duration, as 500ms, 5s, 1h2m3.5s", parse_duration)
COUNT = Text("a whole number from 1", parse_count)
AMOUNT = Text("a whole number from 0, as 500, 10k", parse_quantity)
SIZE = Text("bytes, as 500, 500k, 10Mi, 1Gi", parse_quantity)
RATE = Text("a number above 0 (a second), as 0.5, 500, 10k, 1Mi", parse_rate)
SHARE = Text("a number from 0 to 1", parse_share)
PATH = Text("a path, as /healthz", parse_path)
SECONDS = Text("a whole number of seconds from 1, or a Go duration; at most 24h", parse_seconds)
MILLISECONDS = Text("a whole number of milliseconds from 1, or a Go duration; at most 24h", parse_milliseconds)
PORT = Text("0 (a free port) to 65535", parse_port)
IDS = ListOf(Text("a whole number from 0 to 4294967294", parse_id))
LATER = Anything(warning=NOT_SERVED)
IGNORED = Anything()

_KUBERNETES = (
    "labels",
    "annotations",
    "uid",
    "resourceVersion",
    "creationTimestamp",
    "generation",
    "managedFields",
    "ownerReferences",
    "finalizers",
    "selfLink",
    "generateName",
)
"""Fields of Kubernetes' ObjectMeta that an exported resource carries; unread."""


def _meta(name: Text) -> Field:
    fields = {"name": Field(name, required=True), "namespace": Field(NAMESPACE)}
    return Field(Shape(fields | {each: Field(IGNORED) for each in _KUBERNETES}, Meta), required=True)


def _resource(spec: Shape | Anything, *, name: Text = NAME, optional: bool = False, **more: Field) -> Shape:
    head = {"apiVersion": Field(IGNORED), "kind": Field(IGNORED), "metadata": _meta(name)}
    return Shape({**head, "spec": Field(spec, required=not optional), **more, "status": Field(IGNORED)}, dict)


_SCOPES = Field(ListOf(APP_ID))
_AUTH = Field(Shape({"secretStore": Field(STRING)}, dict))

METADATA_ITEM = Shape(
    {
        "name": Field(STRING, required=True),
        "value": Field(Raw()),
        "secretKeyRef": Field(
            Shape({"name": Field(STRING, required=True), "key": Field(STRING)}, lambda name, key="": f"{name}/{key}")
        ),
        "envRef": Field(STRING),
    },
    MetadataItem,
    placed=True,
)

COMPONENT = _resource(
    Shape(
        {
            "type": Field(Text(f"<category>.<backend>; categories: {', '.join(CATEGORIES)}", _type), required=True),
            "version": Field(Text("a version, as v1", _version)),
            "ignoreErrors": Field(BOOL),
            "initTimeout": Field(DURATION, to="init_timeout_seconds"),
            "metadata": Field(ListOf(METADATA_ITEM)),
        },
        dict,
    ),
    auth=_AUTH,
    scopes=_SCOPES,
)

_BULK = Field(
    Shape(
        {"enabled": Field(BOOL), "maxMessagesCount": Field(COUNT), "maxAwaitDurationMs": Field(COUNT)}, BulkSubscribe
    ),
    to="bulk",
)
_SUBSCRIPTION = {
    "topic": Field(STRING, required=True),
    "pubsubname": Field(STRING, required=True, to="pubsub_name"),
    "metadata": Field(STRINGS),
    "deadLetterTopic": Field(STRING),
    "bulkSubscribe": _BULK,
}

SUBSCRIPTION_V1 = _resource(
    Shape({**_SUBSCRIPTION, "route": Field(STRING, required=True)}, dict),
    scopes=_SCOPES,
)

_RULE = Shape({"match": Field(MATCH, required=True), "path": Field(STRING, required=True)}, RouteRule)


def _routes(rules: tuple[RouteRule, ...] = (), default: str | None = None) -> tuple[RouteRule, ...]:
    return rules if default is None else (*rules, RouteRule("", default))


_ROUTES = Shape({"rules": Field(ListOf(_RULE)), "default": Field(STRING)}, _routes)
SUBSCRIPTION_V2 = _resource(
    Shape({**_SUBSCRIPTION, "routes": Field(_ROUTES, required=True, to="rules")}, dict),
    scopes=_SCOPES,
)

_LATER_BLOCKS = (
    "appHttpPipeline",
    "httpPipeline",
    "mtls",
    "secrets",
    "accessControl",
    "nameResolution",
    "features",
    "components",
    "wasm",
    "workflow",
)
CONFIGURATION = _resource(
    Shape(
        {
            "tracing": Field(
                Shape(
                    {
                        "samplingRate": Field(SHARE),
                        "stdout": Field(LATER),
                        "zipkin": Field(LATER),
                        "otel": Field(LATER),
                    },
                    dict,
                )
            ),
            "metric": Field(METRIC),
            "metrics": Field(METRIC),
            "logging": Field(LOGGING),
            "api": Field(API),
        }
        | {each: Field(LATER) for each in _LATER_BLOCKS},
        dict,
    )
)

HEALTH = {
    "appHealthCheckPath": Field(PATH, to="path"),
    "appHealthProbeInterval": Field(SECONDS, to="interval_seconds"),
    "appHealthProbeTimeout": Field(MILLISECONDS, to="timeout_seconds"),
    "appHealthThreshold": Field(COUNT, to="threshold"),
}
"""Named as Dapr's annotations, their units included."""

LIMITS = Shape({camel_case(each): _limit(each) for each in LIMIT_FIELDS}, Limits)

APP = _resource(
    Shape(
        {
            "channel": Field(
                Shape(
                    {
                        "address": Field(Text("host:port or unix:/path", parse_address), required=True),
                        "protocol": Field(Text(", ".join(AppProtocol), _protocol)),
                        "maxConcurrency": Field(COUNT),
                    },
                    ChannelSpec,
                )
            ),
            "sockets": Field(
                Shape(
                    {
                        "owner": Field(STRING),
                        "group": Field(STRING),
                        "mode": Field(Text('permission bits, octal, as "0750"', parse_mode)),
                    },
                    SocketsSpec,
                )
            ),
            "identity": Field(Shape({"uids": Field(IDS), "gids": Field(IDS)}, IdentitySpec)),
            "loopback": Field(
                Shape({"httpPort": Field(PORT), "grpcPort": Field(PORT), "token": Field(SECRET)}, LoopbackSpec)
            ),
            "limits": Field(LIMITS),
            "apiToken": Field(SECRET),
            "appToken": Field(SECRET),
            "enableAppHealthCheck": Field(BOOL),
            "disableInitEndpoints": Field(ListOf(Text(", ".join(InitEndpoint), _init_endpoint))),
        }
        | HEALTH,
        dict,
    ),
    name=APP_ID,
    optional=True,
)
QUOTA = _resource(Shape({"perApp": Field(LIMITS), "total": Field(LIMITS)}, dict))
UNREAD = _resource(IGNORED, optional=True, auth=Field(IGNORED), scopes=Field(IGNORED))
"""Of the kinds that are accepted and not served yet."""
