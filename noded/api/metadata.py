"""What an app may know of its runtime, and the notes it leaves there. Source: dapr-api.md 1.11, daprd-observed.md.

`id` to `resiliencies` mean what daprd's mean, as seen from this app alone: its components, its subscriptions.
"""

from typing import Final

import msgspec
from google.protobuf.empty_pb2 import Empty

from noded.api.pubsub import as_utf8
from noded.app import App, PubSubBinding, StateBinding
from noded.calls import NO_CONTENT, GrpcCall, HttpCall, Reply
from noded.goduration import go_duration
from noded.proto import metadata_pb2
from noded.version import RUNTIME_VERSION

MAX_ENTRIES: Final = 256
"""Notes an app may leave; one more replaces the oldest."""

_EMPTY = Empty()


class _Subscription(msgspec.Struct):
    """One subscription as the listing says it."""

    pubsubname: str
    topic: str
    type: str
    rules: list[dict[str, str]] = []
    deadLetterTopic: str = ""  # noqa: N815 - Dapr's spelling
    metadata: dict[str, str] = {}


class _Health(msgspec.Struct, kw_only=True, omit_defaults=True):
    """How the app is probed, spelt as Dapr does; the path of a gRPC app is left out."""

    healthCheckPath: str = ""  # noqa: N815
    healthProbeInterval: str  # noqa: N815
    healthProbeTimeout: str  # noqa: N815
    healthThreshold: int  # noqa: N815


async def get_http(call: HttpCall) -> Reply:
    """`GET metadata`."""
    return Reply(200, msgspec.json.encode(describe(call.app)))


async def put_http(call: HttpCall) -> Reply:
    """`PUT metadata/{key}`: the body is the value."""
    _note(call.app, as_utf8(call.params[0]), call.body.decode("utf-8", "replace"))
    return NO_CONTENT


async def get_grpc(call: GrpcCall, request: metadata_pb2.GetMetadataRequest) -> metadata_pb2.GetMetadataResponse:
    """GetMetadata."""
    app = call.app
    answer = metadata_pb2.GetMetadataResponse(id=app.app_id, runtime_version=RUNTIME_VERSION)
    answer.extended_metadata.update(_extended(app))
    for binding, kind, capabilities in _components(app):
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
        if (health := _health(app)) is not None:
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
        _note(call.app, request.key, request.value)
    return _EMPTY


def describe(app: App) -> dict[str, object]:
    """The body of `GET metadata`, in daprd's order of fields."""
    told: dict[str, object] = {"id": app.app_id, "runtimeVersion": RUNTIME_VERSION}
    components = [
        {"name": binding.name, "type": kind, "version": binding.version, "capabilities": capabilities}
        for binding, kind, capabilities in _components(app)
    ]
    if components:
        told["components"] = components
    told["extended"] = _extended(app)
    subscriptions = app.subscriptions.listing() if app.subscriptions else []
    if subscriptions:
        told["subscriptions"] = subscriptions
    if app.spec.channel is not None:
        told["appConnectionProperties"] = _channel(app)
    told["actorRuntime"] = {"runtimeStatus": "DISABLED", "activeActors": [], "hostReady": False, "placement": ""}
    return told


def _components(app: App) -> list[tuple[StateBinding | PubSubBinding, str, list[str]]]:
    bound: list[tuple[StateBinding | PubSubBinding, str, list[str]]] = [
        (state, state.store.type, sorted(state.store.capabilities)) for state in app.state.values()
    ]
    bound += [(each, each.broker.type, sorted(each.broker.capabilities)) for each in app.pubsub.values()]
    return bound


def _extended(app: App) -> dict[str, str]:
    return {"daprRuntimeVersion": RUNTIME_VERSION, "nodedNamespace": app.namespace} | app.metadata


def _channel(app: App) -> dict[str, object]:
    assert app.spec.channel is not None
    host, _, port = app.spec.channel.address.rpartition(":")
    told: dict[str, object] = {"protocol": app.spec.channel.protocol.value, "channelAddress": host}
    if port.isdigit():
        told["port"] = int(port)
    if app.spec.channel.max_concurrency is not None:
        told["maxConcurrency"] = app.spec.channel.max_concurrency
    if (health := _health(app)) is not None:
        told["health"] = health
    return told


def _health(app: App) -> _Health | None:
    channel, health = app.spec.channel, app.spec.health
    if channel is None or health is None:
        return None
    return _Health(
        healthCheckPath="" if channel.protocol.is_grpc else health.path,
        healthProbeInterval=go_duration(health.interval_seconds),
        healthProbeTimeout=go_duration(health.timeout_seconds),
        healthThreshold=health.threshold,
    )


def _note(app: App, key: str, value: str) -> None:
    notes = app.metadata
    if key not in notes and len(notes) >= MAX_ENTRIES:
        del notes[next(iter(notes))]
    notes[key] = value
