"""What an app may know of its runtime, and the notes it leaves there. Source: dapr-api.md 1.11, daprd-observed.md.

`id` to `resiliencies` mean what daprd's mean, as seen from this app alone: its components, its subscriptions.
"""

from typing import Final

import msgspec

from noded.api.pubsub import as_utf8
from noded.app import App, PubSubBinding, StateBinding
from noded.calls import NO_CONTENT, HttpCall, Reply
from noded.goduration import go_duration
from noded.version import RUNTIME_VERSION

MAX_ENTRIES: Final = 256
"""Notes an app may leave; one more replaces the oldest."""


class Health(msgspec.Struct, kw_only=True, omit_defaults=True):
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
    note(call.app, as_utf8(call.params[0]), call.body.decode("utf-8", "replace"))
    return NO_CONTENT


def describe(app: App) -> dict[str, object]:
    """The body of `GET metadata`, in daprd's order of fields."""
    told: dict[str, object] = {"id": app.app_id, "runtimeVersion": RUNTIME_VERSION}
    listed = [
        {"name": binding.name, "type": kind, "version": binding.version, "capabilities": capabilities}
        for binding, kind, capabilities in components(app)
    ]
    if listed:
        told["components"] = listed
    told["extended"] = extended(app)
    subscriptions = app.subscriptions.listing() if app.subscriptions else []
    if subscriptions:
        told["subscriptions"] = subscriptions
    if app.spec.channel is not None:
        told["appConnectionProperties"] = _channel(app)
    told["actorRuntime"] = {"runtimeStatus": "DISABLED", "activeActors": [], "hostReady": False, "placement": ""}
    return told


def components(app: App) -> list[tuple[StateBinding | PubSubBinding, str, list[str]]]:
    """What the app may use: each binding, its type, what it can do."""
    bound: list[tuple[StateBinding | PubSubBinding, str, list[str]]] = [
        (state, state.store.type, sorted(state.store.capabilities)) for state in app.state.values()
    ]
    bound += [(each, each.broker.type, sorted(each.broker.capabilities)) for each in app.pubsub.values()]
    return bound


def extended(app: App) -> dict[str, str]:
    """The notes, the runtime's own before the app's."""
    return {"daprRuntimeVersion": RUNTIME_VERSION, "nodedNamespace": app.namespace} | app.metadata


def _channel(app: App) -> dict[str, object]:
    assert app.spec.channel is not None
    host, _, port = app.spec.channel.address.rpartition(":")
    told: dict[str, object] = {"protocol": app.spec.channel.protocol.value, "channelAddress": host}
    if port.isdigit():
        told["port"] = int(port)
    if app.spec.channel.max_concurrency is not None:
        told["maxConcurrency"] = app.spec.channel.max_concurrency
    if (health := health_of(app)) is not None:
        told["health"] = health
    return told


def health_of(app: App) -> Health | None:
    """How the app is probed, if it is."""
    channel, health = app.spec.channel, app.spec.health
    if channel is None or health is None:
        return None
    return Health(
        healthCheckPath="" if channel.protocol.is_grpc else health.path,
        healthProbeInterval=go_duration(health.interval_seconds),
        healthProbeTimeout=go_duration(health.timeout_seconds),
        healthThreshold=health.threshold,
    )


def note(app: App, key: str, value: str) -> None:
    """Keep what the app says of itself."""
    notes = app.metadata
    if key not in notes and len(notes) >= MAX_ENTRIES:
        del notes[next(iter(notes))]
    notes[key] = value
