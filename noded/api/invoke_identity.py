"""Who calls whom: what every invocation tells the app it calls, whatever that speaks. Source: dapr-api.md 1.7."""

from typing import Final

from noded.api.invoke_target import InvalidTarget, split_app
from noded.app import App
from noded.calls import Header
from noded.errors import DIRECT_INVOKE

_INTERNAL: Final = "rpc error: code = Internal desc = "
_UNHEALTHY: Final = _INTERNAL + "app is not in a healthy state"


def find_grpc_app(caller: App, named: str) -> App | None:
    """The app that `named` means to the caller, if it is one that speaks gRPC."""
    try:
        callee = caller.node.find(*split_app(named, caller.namespace))
    except InvalidTarget:
        return None
    return callee if callee is not None and callee.grpc_channel is not None else None


def check_healthy(caller: App, callee: App, named: str) -> None:
    """Raises ApiError where the app's own probes say that it is not to be called; other apps hear it of its sidecar."""
    if callee.healthy:
        return
    text = _UNHEALTHY if caller is callee else f"{_INTERNAL}error invoking app channel: {_UNHEALTHY}"
    raise DIRECT_INVOKE.error(id=named, error=text)


def hop_headers(caller: App, callee: App) -> list[Header]:
    """What an invocation adds: who calls whom, and by which host where the caller is not the callee itself."""
    headers = identity_headers(caller, callee)
    if caller is not callee:
        headers += caller.node.forwarded
    return headers


def identity_headers(caller: App, callee: App) -> list[Header]:
    """Who calls whom, and the callee's own token if it has one."""
    headers = [
        (b"dapr-caller-app-id", caller.app_id.encode()),
        (b"dapr-caller-namespace", caller.namespace.encode()),
        (b"dapr-callee-app-id", callee.app_id.encode()),
    ]
    token = callee.spec.app_token
    if token:
        headers.append((b"dapr-api-token", token.encode()))
    return headers
