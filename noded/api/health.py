"""Health and shutdown. Source: dapr-api.md 1.11.

Outbound health is true as soon as a socket answers: the daemon was there before the app. Shutdown lets the app go and
never stops the daemon.
"""

from noded.app import App
from noded.calls import NO_CONTENT, HttpCall, Reply
from noded.errors import HEALTH_APPID_NOT_MATCH, HEALTH_NOT_READY
from noded.query import pairs

FORCE = b"dapr-force-shutdown"
"""Header or metadata entry; `true` in any case."""


async def healthz_http(call: HttpCall) -> Reply:
    """`GET healthz`: 204 once the app answers on its channel; `?appid=` must name the app where it is given."""
    asked = dict(pairs(call.query)).get("appid") if call.query else None
    if asked is not None and asked != call.app.app_id:
        raise HEALTH_APPID_NOT_MATCH.error()
    if not call.app.ready:
        raise HEALTH_NOT_READY.error(text="[app channel]")
    return NO_CONTENT


async def outbound_http(call: HttpCall) -> Reply:
    """`GET healthz/outbound`: what SDKs poll before their first call."""
    return NO_CONTENT


async def shutdown_http(call: HttpCall) -> Reply:
    """`POST shutdown`: detach the app once this is answered; forced, without waiting for what is under way."""
    leave(call.app, call.header(FORCE))
    return NO_CONTENT


def leave(app: App, forced: bytes | None) -> None:
    """Let the app go; forced, at once."""
    if forced is not None and forced.lower() == b"true":
        app.leave_now()
    else:
        app.leave()
