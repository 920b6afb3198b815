"""A component's metadata for one app: templates replaced; and what noded runs with when nobody configured anything."""

import os
import uuid
from collections.abc import Mapping
from pathlib import Path

from components.contract import ConfigError
from noded.config.paths import default_run_dir, default_state_dir
from noded.config.records import ComponentSpec, Resources, Settings

_PROCESS = uuid.uuid4()
"""What {uuid} is drawn from: another with every start of the daemon, as daprd's is, and the same at every reload."""
TEMPLATES = ("{uuid}", "{podName}", "{namespace}", "{appID}")
"""What may stand in a metadata value. Source: dapr pkg/runtime/meta/meta.go."""


def is_per_app(spec: ComponentSpec) -> bool:
    """Whether its metadata depends on who uses it, so that every app needs an instance of its own."""
    return any(
        template in value for value in spec.metadata.values() for template in TEMPLATES if template != "{podName}"
    )


def resolve_metadata(
    spec: ComponentSpec, namespace: str, app_id: str, environ: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Replace the templates: {uuid} by another at each place, {namespace} by `<namespace>.<app id>` as daprd does.

    Asked again for the same app the answer is the same, while the process lives.
    Raises ConfigError where {podName} is used and POD_NAME is not set: set it, or leave the template out.
    """
    environ = os.environ if environ is None else environ
    owner = f"{spec.namespace}|{spec.name}|{namespace}|{app_id}"
    resolved = {}
    for name, value in spec.metadata.items():
        own = value.replace("{namespace}", f"{namespace}.{app_id}").replace("{appID}", app_id)
        resolved[name] = _with_pod_name(name, _with_uuids(own, f"{owner}|{name}"), environ)
    return resolved


def _with_uuids(value: str, place: str) -> str:
    first, *rest = value.split("{uuid}")
    return first + "".join(f"{uuid.uuid5(_PROCESS, f'{place}|{at}')}{text}" for at, text in enumerate(rest))


def _with_pod_name(name: str, value: str, environ: Mapping[str, str]) -> str:
    if "{podName}" not in value:
        return value
    pod_name = environ.get("POD_NAME")
    if not pod_name:
        raise ConfigError(f"metadata {name} refers to {{podName}}, but POD_NAME is not set")
    return value.replace("{podName}", pod_name)


def default_resources(state_dir: Path) -> Resources:
    """With no resources at all: a durable `statestore` and a `pubsub`, the names `dapr init` gives."""
    statestore = ComponentSpec(
        name="statestore",
        type="state.sqlite",
        metadata={"connectionString": str(state_dir / "state.sqlite")},
    )
    return Resources(components=(statestore, ComponentSpec(name="pubsub", type="pubsub.in-memory")))


def default_settings(environ: Mapping[str, str] | None = None, uid: int | None = None) -> Settings:
    """Settings with this user's directories and everything else as it is shipped."""
    environ = os.environ if environ is None else environ
    uid = os.geteuid() if uid is None else uid
    return Settings(run_dir=default_run_dir(environ, uid), state_dir=default_state_dir(environ, uid))
