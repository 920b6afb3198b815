"""A component's metadata for one app: templates replaced; and what noded runs with when nobody configured anything."""

import os
import uuid
from collections.abc import Mapping
from pathlib import Path

from components.contract import ConfigError
from noded.config.records import ComponentSpec, Resources

TEMPLATES = ("{uuid}", "{podName}", "{namespace}", "{appID}")
"""What may stand in a metadata value. Source: dapr pkg/runtime/meta/meta.go."""


def is_per_app(spec: ComponentSpec) -> bool:
    """Whether its metadata depends on who uses it, so that every app needs an instance of its own."""
    return any(
        template in value for value in spec.metadata.values() for template in TEMPLATES if template != "{podName}"
    )


def is_namespace_scoped(spec: ComponentSpec) -> bool:
    """Whether topics are to carry the namespace as prefix: Dapr's rule for a pubsub whose metadata says {namespace}."""
    return any("{namespace}" in value for value in spec.metadata.values())


def resolve_metadata(
    spec: ComponentSpec, namespace: str, app_id: str, environ: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Replace the templates: {uuid} anew at each place, {namespace} by `<namespace>.<app id>` as daprd does.

    Raises ConfigError where {podName} is used and POD_NAME is not set: set it, or leave the template out.
    """
    environ = os.environ if environ is None else environ
    return {name: _resolve(name, value, namespace, app_id, environ) for name, value in spec.metadata.items()}


def _resolve(name: str, value: str, namespace: str, app_id: str, environ: Mapping[str, str]) -> str:
    if "{" not in value:
        return value
    while "{uuid}" in value:
        value = value.replace("{uuid}", str(uuid.uuid4()), 1)
    if "{podName}" in value:
        pod_name = environ.get("POD_NAME")
        if not pod_name:
            raise ConfigError(f"metadata {name} refers to {{podName}}, but POD_NAME is not set")
        value = value.replace("{podName}", pod_name)
    return value.replace("{namespace}", f"{namespace}.{app_id}").replace("{appID}", app_id)


def default_resources(state_dir: Path) -> Resources:
    """With no resources at all: a durable `statestore` and a `pubsub`, the names `dapr init` gives."""
    statestore = ComponentSpec(
        name="statestore",
        type="state.sqlite",
        metadata={"connectionString": str(state_dir / "state.sqlite")},
    )
    return Resources(components=(statestore, ComponentSpec(name="pubsub", type="pubsub.in-memory")))
