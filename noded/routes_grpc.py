"""What serves each gRPC method of `routes.py`: the type of its request, and its handler."""

from dataclasses import replace
from typing import Final

from google.protobuf.message import Message

from noded.api import health_grpc, metadata_grpc, pubsub_grpc, state_grpc
from noded.api.invoke_grpc import invoke_service
from noded.api_access import offered_methods
from noded.config.http_settings import ALL_APIS, ApiRules
from noded.grpc_table import GrpcMethod, UnaryHandler
from noded.proto import invoke_pb2, metadata_pb2, pubsub_pb2, state_pb2
from noded.routes import GRPC_NAMES, GRPC_SERVICE, INDICES
from noded.runtime.streaming import subscribe_topic_events

_UNARY: Final[dict[str, tuple[type[Message], UnaryHandler]]] = {
    "GetState": (state_pb2.GetStateRequest, state_grpc.get_grpc),
    "GetBulkState": (state_pb2.GetBulkStateRequest, state_grpc.get_bulk_grpc),
    "SaveState": (state_pb2.SaveStateRequest, state_grpc.save_grpc),
    "DeleteState": (state_pb2.DeleteStateRequest, state_grpc.delete_grpc),
    "DeleteBulkState": (state_pb2.DeleteBulkStateRequest, state_grpc.delete_bulk_grpc),
    "ExecuteStateTransaction": (state_pb2.ExecuteStateTransactionRequest, state_grpc.transact_grpc),
    "QueryStateAlpha1": (state_pb2.QueryStateRequest, state_grpc.query_grpc),
    "PublishEvent": (pubsub_pb2.PublishEventRequest, pubsub_grpc.publish_grpc),
    "BulkPublishEvent": (pubsub_pb2.BulkPublishRequest, pubsub_grpc.publish_bulk_grpc),
    "InvokeService": (invoke_pb2.InvokeServiceRequest, invoke_service),
    "GetMetadata": (metadata_pb2.GetMetadataRequest, metadata_grpc.get_grpc),
    "SetMetadata": (metadata_pb2.SetMetadataRequest, metadata_grpc.set_grpc),
    "Shutdown": (metadata_pb2.ShutdownRequest, health_grpc.shutdown_grpc),
}
_STREAMS: Final = {"SubscribeTopicEventsAlpha1": subscribe_topic_events}


def _method(operation: str, names: tuple[str, ...]) -> GrpcMethod:
    if operation in _STREAMS:
        return GrpcMethod(operation, names, stream=_STREAMS[operation])
    return GrpcMethod(operation, names, *_UNARY[operation])


GRPC_METHODS: Final = tuple(_method(operation, names) for operation, names in GRPC_NAMES.items())


def grpc_table(rules: ApiRules = ALL_APIS) -> dict[bytes, GrpcMethod]:
    """The gRPC methods by path; those that are not offered refuse."""
    named = ((GRPC_SERVICE + name, method) for method in GRPC_METHODS for name in method.names)
    methods = {path.encode(): replace(method, index=INDICES[path]) for path, method in named}
    return offered_methods(methods, rules)
