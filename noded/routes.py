"""The one table of operations: every path and every gRPC method the runtime serves. Source: dapr-api.md 1.2 and 2.2.

Handlers of gRPC methods are in `routes_grpc.py`, with protobuf: a daemon listens before it imports that.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Final, NamedTuple

from noded.api import health, invoke, metadata, pubsub, pubsub_bulk, state_http
from noded.api_access import Unrouted, is_offered, offered_routes
from noded.config.http_settings import ALL_APIS, ApiRules
from noded.errors import BODY_READ, MALFORMED_BODY, MALFORMED_REQUEST
from noded.route_table import VERBS, HttpRoute, RouteTable, face

V1: Final = ("v1.0",)
ALPHA: Final = ("v1.0-alpha1",)
GET: Final = ("GET",)
WRITE: Final = ("POST", "PUT")

HTTP_ROUTES: Final = (
    HttpRoute("GetState", GET, V1, "state/{store}/{key}", state_http.get_http),
    HttpRoute("SaveState", WRITE, V1, "state/{store}", state_http.save_http, too_large=MALFORMED_REQUEST),
    HttpRoute("DeleteState", ("DELETE",), V1, "state/{store}/{key}", state_http.delete_http),
    HttpRoute("GetBulkState", WRITE, V1, "state/{store}/bulk", state_http.get_bulk_http, too_large=MALFORMED_BODY),
    HttpRoute(
        "ExecuteStateTransaction",
        WRITE,
        V1,
        "state/{store}/transaction",
        state_http.transact_http,
        too_large=MALFORMED_BODY,
    ),
    HttpRoute("QueryStateAlpha1", WRITE, ALPHA, "state/{store}/query", state_http.query_http, too_large=BODY_READ),
    HttpRoute(
        "BulkPublishEvent",
        WRITE,
        (*V1, *ALPHA),
        "publish/bulk/{pubsub}/{topic...}",
        pubsub_bulk.publish_bulk_http,
    ),
    HttpRoute("PublishEvent", WRITE, V1, "publish/{pubsub}/{topic...}", pubsub.publish_http),
    HttpRoute("GetMetadata", GET, V1, "metadata", metadata.get_http),
    HttpRoute("SetMetadata", ("PUT",), V1, "metadata/{key}", metadata.put_http, too_large=BODY_READ),
    HttpRoute("Healthz", GET, V1, "healthz", health.healthz_http, limited=False),
    HttpRoute("HealthzOutbound", GET, V1, "healthz/outbound", health.outbound_http, limited=False),
    HttpRoute("Shutdown", ("POST",), V1, "shutdown", health.shutdown_http),
)
_PUBLIC: Final = frozenset(("Healthz", "HealthzOutbound", "GetMetadata", "SetMetadata"))
INVOKE: Final = HttpRoute("InvokeService", (), V1, "invoke/{id}/method/{method...}", raw=invoke.invoke_http)
"""Everything no other route matches: any verb but CONNECT, by path, by dapr-app-id, or by Basic authorization."""

GRPC_NAMES: Final = {
    "GetState": ("GetState",),
    "GetBulkState": ("GetBulkState",),
    "SaveState": ("SaveState",),
    "DeleteState": ("DeleteState",),
    "DeleteBulkState": ("DeleteBulkState",),
    "ExecuteStateTransaction": ("ExecuteStateTransaction",),
    "QueryStateAlpha1": ("QueryStateAlpha1",),
    "PublishEvent": ("PublishEvent",),
    "BulkPublishEvent": ("BulkPublishEvent", "BulkPublishEventAlpha1"),
    "SubscribeTopicEventsAlpha1": ("SubscribeTopicEventsAlpha1",),
    "InvokeService": ("InvokeService",),
    "GetMetadata": ("GetMetadata",),
    "SetMetadata": ("SetMetadata",),
    "Shutdown": ("Shutdown",),
}
"""{operation: its gRPC methods}. What does them is `routes_grpc.py`."""
STREAMING: Final = frozenset(("SubscribeTopicEventsAlpha1",))
"""Of those methods."""

GRPC_SERVICE: Final = "/dapr.proto.runtime.v1.Dapr/"


class Face(NamedTuple):
    """What requests are counted by: an operation, as it is asked for."""

    operation: str
    verb: str = ""
    """HTTP's; "" over gRPC."""
    path: str = ""
    """gRPC's; "" over HTTP."""
    unary: bool = True


def _faces() -> tuple[Face, ...]:
    http = [Face(route.operation, verb) for route in HTTP_ROUTES for verb in route.methods]
    http += [Face(INVOKE.operation, verb) for verb in VERBS]
    grpc = [
        Face(operation, path=GRPC_SERVICE + name, unary=operation not in STREAMING)
        for operation, names in GRPC_NAMES.items()
        for name in names
    ]
    return tuple(dict.fromkeys([*http, *grpc]))


FACES: Final = _faces()
"""By the index that tenants count by."""
OPERATIONS: Final = tuple(dict.fromkeys(each.operation for each in FACES))
INDICES: Final = {face(each.verb, each.operation) if each.verb else each.path: at for at, each in enumerate(FACES)}
"""{verb and operation, or path over gRPC: the index}"""


def http_table(rules: ApiRules = ALL_APIS, routes: Iterable[HttpRoute] = HTTP_ROUTES) -> RouteTable:
    """The HTTP routes that are offered, ready to match; service invocation too where it is among them."""
    if is_offered(INVOKE, INVOKE.versions[0], rules):
        return RouteTable(offered_routes(routes, rules), INVOKE, INDICES.__getitem__)
    return closed_table(offered_routes(routes, rules))


def closed_table(routes: Iterable[HttpRoute]) -> RouteTable:
    """These routes and no service invocation: what matches none is answered 404 or 405."""
    unrouted = Unrouted()
    fallback = replace(INVOKE, raw=None, handler=unrouted.answer)
    unrouted.table = RouteTable(routes, fallback, INDICES.__getitem__)
    return unrouted.table


def public_table() -> RouteTable:
    """What the public port serves: health and metadata."""
    return closed_table(route for route in HTTP_ROUTES if route.operation in _PUBLIC)
