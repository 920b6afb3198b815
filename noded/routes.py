"""The one table of operations: every path and every gRPC method the runtime serves. Source: dapr-api.md 1.2 and 2.2."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Final, NamedTuple

from noded.api import health, invoke, metadata, pubsub, pubsub_bulk, state_grpc, state_http
from noded.api.invoke_grpc import invoke_service
from noded.api_access import Unrouted, is_offered, offered_methods, offered_routes
from noded.config.http_settings import ALL_APIS, ApiRules
from noded.errors import BODY_READ, MALFORMED_BODY, MALFORMED_REQUEST
from noded.grpc_table import GrpcMethod
from noded.proto import invoke_pb2, metadata_pb2, pubsub_pb2, state_pb2
from noded.route_table import VERBS, HttpRoute, RouteTable, face
from noded.runtime.streaming import subscribe_topic_events

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

_GRPC: Final = (
    GrpcMethod("GetState", ("GetState",), state_pb2.GetStateRequest, state_grpc.get_grpc),
    GrpcMethod("GetBulkState", ("GetBulkState",), state_pb2.GetBulkStateRequest, state_grpc.get_bulk_grpc),
    GrpcMethod("SaveState", ("SaveState",), state_pb2.SaveStateRequest, state_grpc.save_grpc),
    GrpcMethod("DeleteState", ("DeleteState",), state_pb2.DeleteStateRequest, state_grpc.delete_grpc),
    GrpcMethod("DeleteBulkState", ("DeleteBulkState",), state_pb2.DeleteBulkStateRequest, state_grpc.delete_bulk_grpc),
    GrpcMethod(
        "ExecuteStateTransaction",
        ("ExecuteStateTransaction",),
        state_pb2.ExecuteStateTransactionRequest,
        state_grpc.transact_grpc,
    ),
    GrpcMethod("QueryStateAlpha1", ("QueryStateAlpha1",), state_pb2.QueryStateRequest, state_grpc.query_grpc),
    GrpcMethod("PublishEvent", ("PublishEvent",), pubsub_pb2.PublishEventRequest, pubsub.publish_grpc),
    GrpcMethod(
        "BulkPublishEvent",
        ("BulkPublishEvent", "BulkPublishEventAlpha1"),
        pubsub_pb2.BulkPublishRequest,
        pubsub_bulk.publish_bulk_grpc,
    ),
    GrpcMethod("SubscribeTopicEventsAlpha1", ("SubscribeTopicEventsAlpha1",), stream=subscribe_topic_events),
    GrpcMethod("InvokeService", ("InvokeService",), invoke_pb2.InvokeServiceRequest, invoke_service),
    GrpcMethod("GetMetadata", ("GetMetadata",), metadata_pb2.GetMetadataRequest, metadata.get_grpc),
    GrpcMethod("SetMetadata", ("SetMetadata",), metadata_pb2.SetMetadataRequest, metadata.set_grpc),
    GrpcMethod("Shutdown", ("Shutdown",), metadata_pb2.ShutdownRequest, health.shutdown_grpc),
)

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
        Face(method.operation, path=GRPC_SERVICE + name, unary=method.unary is not None)
        for method in _GRPC
        for name in method.names
    ]
    return tuple(dict.fromkeys([*http, *grpc]))


FACES: Final = _faces()
"""By the index that tenants count by."""
OPERATIONS: Final = tuple(dict.fromkeys(each.operation for each in FACES))
GRPC_METHODS: Final = _GRPC
_INDICES: Final = {face(each.verb, each.operation) if each.verb else each.path: at for at, each in enumerate(FACES)}


def http_table(rules: ApiRules = ALL_APIS, routes: Iterable[HttpRoute] = HTTP_ROUTES) -> RouteTable:
    """The HTTP routes that are offered, ready to match; service invocation too where it is among them."""
    if is_offered(INVOKE, INVOKE.versions[0], rules):
        return RouteTable(offered_routes(routes, rules), INVOKE, _INDICES.__getitem__)
    return closed_table(offered_routes(routes, rules))


def closed_table(routes: Iterable[HttpRoute]) -> RouteTable:
    """These routes and no service invocation: what matches none is answered 404 or 405."""
    unrouted = Unrouted()
    fallback = replace(INVOKE, raw=None, handler=unrouted.answer)
    unrouted.table = RouteTable(routes, fallback, _INDICES.__getitem__)
    return unrouted.table


def public_table() -> RouteTable:
    """What the public port serves: health and metadata."""
    return closed_table(route for route in HTTP_ROUTES if route.operation in _PUBLIC)


def grpc_table(rules: ApiRules = ALL_APIS) -> dict[bytes, GrpcMethod]:
    """The gRPC methods by path; those that are not offered refuse."""
    named = ((GRPC_SERVICE + name, method) for method in _GRPC for name in method.names)
    methods = {path.encode(): replace(method, index=_INDICES[path]) for path, method in named}
    return offered_methods(methods, rules)
