"""Shutdown over gRPC. What it does is in `health.py`."""

from google.protobuf.empty_pb2 import Empty

from noded.api.health import FORCE, leave
from noded.calls import GrpcCall
from noded.proto import metadata_pb2


async def shutdown_grpc(call: GrpcCall, request: metadata_pb2.ShutdownRequest) -> Empty:
    """Shutdown: as on HTTP."""
    leave(call.app, call.header(FORCE))
    return Empty()
