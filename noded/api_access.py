"""Which APIs a daemon offers, by the lists of its Configuration. Decided once, when the tables are made.

On HTTP a route that is not offered is as if it were not there. If service invocation, which takes what no route
matches, is not offered either, the rest is answered as chi's router does: plain 404 and 405. On gRPC a method that is
not offered is UNIMPLEMENTED. Source: daprd 1.18 pkg/api/http/endpoints, pkg/api/grpc/endpoints.go.
"""

from collections.abc import Iterable, Mapping
from copy import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, NoReturn

from noded.calls import TEXT, GrpcCall, GrpcStream, HttpCall, Reply
from noded.config.http_settings import ALL_APIS, ApiRule, ApiRules
from noded.errors import API_NOT_OFFERED
from noded.grpc_table import GrpcMethod
from noded.route_table import HttpRoute

if TYPE_CHECKING:
    from noded.route_table import RouteTable

NOT_FOUND: Final = Reply(404, b"404 page not found\n", TEXT, ((b"x-content-type-options", b"nosniff"),))
_VERBS: Final = ("CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE")
_ALWAYS: Final = frozenset(("Healthz", "HealthzOutbound"))
_DAPR_VERSIONS: Final = {"v1.0": "v1", "v1.0-alpha1": "v1alpha1", "v1.0-beta1": "v1beta1", "v1.0-alpha2": "v1alpha2"}
_GRPC_GROUPS: Final = {
    "InvokeService": "invoke.v1",
    "GetState": "state.v1",
    "GetBulkState": "state.v1",
    "SaveState": "state.v1",
    "DeleteState": "state.v1",
    "DeleteBulkState": "state.v1",
    "ExecuteStateTransaction": "state.v1",
    "QueryStateAlpha1": "state.v1alpha1",
    "PublishEvent": "publish.v1",
    "BulkPublishEvent": "publish.v1",
    "BulkPublishEventAlpha1": "publish.v1alpha1",
    "GetMetadata": "metadata.v1",
    "SetMetadata": "metadata.v1",
    "Shutdown": "shutdown.v1",
    "SubscribeTopicEventsAlpha1": "subscribe.v1alpha1",
}
"""`<name>.<version>` of each method, as rules name it."""
_GROUPS: Final = frozenset(
    {
        *_GRPC_GROUPS.values(),
        *(f"{name}.v1" for name in ("actors", "bindings", "configuration", "jobs", "secrets")),
        *(f"{name}.v1alpha1" for name in ("actors", "configuration", "conversation", "crypto", "jobs", "lock")),
        *(f"{name}.v1alpha1" for name in ("subtlecrypto", "unlock", "workflows")),
        "conversation.v1alpha2",
        "workflows.v1beta1",
    }
)
"""All that rules may name; others say nothing."""


def offered_routes(routes: Iterable[HttpRoute], rules: ApiRules) -> tuple[HttpRoute, ...]:
    """The routes that the lists leave."""
    found = []
    for route in routes:
        versions = tuple(each for each in route.versions if is_offered(route, each, rules))
        if versions:
            found.append(replace(route, versions=versions))
    return tuple(found)


def is_offered(route: HttpRoute, version: str, rules: ApiRules) -> bool:
    """Whether HTTP offers a route in a version of its path."""
    if route.operation in _ALWAYS:
        return True
    allowed, denied = (_of(each, "http") for each in (rules.allowed, rules.denied))
    return not _names(denied, route, version) and (not allowed or _names(allowed, route, version))


def offered_methods(methods: Mapping[bytes, GrpcMethod], rules: ApiRules) -> dict[bytes, GrpcMethod]:
    """The gRPC methods, by path, with those refusing that the lists take away."""
    if rules == ALL_APIS:
        return dict(methods)
    allowed, denied = (
        _GROUPS & {f"{each.name}.{each.version}" for each in listed if each.protocol == "grpc"}
        for listed in (rules.allowed, rules.denied)
    )
    offered = {}
    for path, method in methods.items():
        group = _GRPC_GROUPS.get(path.rpartition(b"/")[2].decode())
        refused = group in denied or (allowed and group not in allowed)
        offered[path] = _refusing(method) if refused else method
    return offered


class Unrouted:
    """What is answered where no route matches and service invocation is not offered."""

    def __init__(self) -> None:
        self.table: RouteTable | None = None

    async def answer(self, call: HttpCall) -> Reply:
        """404, or 405 with the verbs that the path has."""
        verb = call.method.decode("latin-1")
        allowed = [each for each in _VERBS if self._has(call, each)]
        if verb not in _VERBS or allowed:
            return Reply(405, content_type=b"", headers=tuple((b"allow", each.encode()) for each in allowed))
        return NOT_FOUND

    def _has(self, call: HttpCall, verb: str) -> bool:
        assert self.table is not None
        tried = copy(call)
        tried.method = verb.encode()
        return self.table.find(tried).route is not self.table.fallback.route


def _of(rules: Iterable[ApiRule], protocol: str) -> frozenset[str]:
    return frozenset(f"{each.version}/{each.name}" for each in rules if each.protocol.lower() == protocol)


def _names(rules: frozenset[str], route: HttpRoute, version: str) -> bool:
    """Whether a rule names the route's group, or, as older ones do, begins its path."""
    group = f"{_DAPR_VERSIONS.get(version, version)}/{route.pattern.partition('/')[0]}"
    return group in rules or any(f"{version}/{route.pattern}".startswith(each) for each in rules)


def _refusing(method: GrpcMethod) -> GrpcMethod:
    if method.unary is not None:
        return replace(method, unary=_refuse_unary)
    return replace(method, stream=_refuse_stream)


async def _refuse_unary(_call: GrpcCall, _request: Any) -> NoReturn:
    raise API_NOT_OFFERED.error(metadata=_NOT_OFFERED)


async def _refuse_stream(_call: GrpcCall, _stream: GrpcStream) -> None:
    raise API_NOT_OFFERED.error(metadata=_NOT_OFFERED)


_NOT_OFFERED: Final = {"http.code": "501", "http.error_message": "requested endpoint is not available"}
