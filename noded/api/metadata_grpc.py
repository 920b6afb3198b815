"""Metadata over gRPC. What is told and kept is `metadata.py`."""

from typing import Final

import msgspec
from google.protobuf.empty_pb2 import Empty

from noded.api.metadata import components, extended, health_of, note
from noded.calls import GrpcCall
from noded.proto import metadata_pb2
from noded.version import RUNTIME_VERSION

_EMPTY: Final = Empty()


class _Subscription(msgspec.Struct):
    """One subscription as the listing says it."""

    pubsubname: str
    topic: str
    type: str
    rules: list[dict[str, str]] = []
    deadLetterTopic: str = ""  # noqa: N815 - Dapr's spelling
    metadata: dict[str, str] = {}


async def get_grpc(call: GrpcCall, request: metadata_pb2.GetMetadataRequest) -> metadata_pb2.GetMetadataResponse:
    """GetMetadata."""
    app = call.app
    answer = metadata_pb2.GetMetadataResponse(id=app.app_id, runtime_version=RUNTIME_VERSION)
    answer.extended_metadata.update(extended(app))
    for binding, kind, capabilities in components(app):
        answer.registered_components.add(
            name=binding.name, type=kind, version=binding.version, capabilities=capabilities
        )
    listing = msgspec.convert(app.subscriptions.listing() if app.subscriptions else [], list[_Subscription])
    for each in listing:
        told = answer.subscriptions.add(
            pubsub_name=each.pubsubname, topic=each.topic, dead_letter_topic=each.deadLetterTopic
        )
        told.metadata.update(each.metadata)
        told.type = metadata_pb2.PubsubSubscriptionType.Value(each.type)
        for rule in each.rules:
            told.rules.rules.add(match=rule.get("match", ""), path=rule.get("path", ""))
    if (channel := app.spec.channel) is not None:
        host, _, port = channel.address.rpartition(":")
        answer.app_connection_properties.protocol = channel.protocol.value
        answer.app_connection_properties.channel_address = host
        answer.app_connection_properties.port = int(port) if port.isdigit() else 0
        answer.app_connection_properties.max_concurrency = channel.max_concurrency or 0
        if (health := health_of(app)) is not None:
            answer.app_connection_properties.health.CopyFrom(
                metadata_pb2.AppConnectionHealthProperties(
                    health_check_path=health.healthCheckPath,
                    health_probe_interval=health.healthProbeInterval,
                    health_probe_timeout=health.healthProbeTimeout,
                    health_threshold=health.healthThreshold,
                )
            )
    return answer


async def set_grpc(call: GrpcCall, request: metadata_pb2.SetMetadataRequest) -> Empty:
    """SetMetadata; an empty key does nothing."""
    if request.key:
        note(call.app, request.key, request.value)
    return _EMPTY
