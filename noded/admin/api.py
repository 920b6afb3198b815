"""The operator's HTTP API: apps, usage, components, events, reload, attach, detach, metrics.

Served by Quart-Trio over a socket that only the daemon's user may open; apps have no way to it.
"""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import msgspec
import trio
from quart import Response, request
from quart_trio import QuartTrio

from noded.admin import views
from noded.admin.attach_request import AttachRequest, spec_of
from noded.admin.exposition import CONTENT_TYPE
from noded.admin.metrics import page_of, registry_of
from noded.attachment import Attachment

if TYPE_CHECKING:
    from noded.daemon import Daemon

SIGN_SECONDS = 15.0
"""Between two signs of life on a held attachment, so that either end notices that the other is gone."""
LOOK_SECONDS = 0.25
"""Between two looks whether a held app is still attached."""


def make_app(daemon: "Daemon") -> QuartTrio:
    """The operator's API of one daemon."""
    app = QuartTrio("noded.admin")
    _add_views(app, daemon)
    _add_actions(app, daemon)
    return app


def _add_views(app: QuartTrio, daemon: "Daemon") -> None:
    registry = registry_of(daemon)

    @app.get("/healthz")
    async def healthz() -> Response:
        return Response(b"", 503 if daemon.stopping.is_set() else 204)

    @app.get("/v1/apps")
    async def apps() -> Response:
        return _json(views.apps(daemon))

    @app.get("/v1/usage")
    async def usage() -> Response:
        return _json(views.usage(daemon))

    @app.get("/v1/components")
    async def components() -> Response:
        return _json(views.components(daemon))

    @app.get("/v1/events")
    async def events() -> Response:
        return _json(views.events(daemon))

    @app.get("/metrics")
    async def metrics() -> Response:
        daemon.tasks = trio.lowlevel.current_statistics().tasks_living
        body = await trio.to_thread.run_sync(page_of, registry)
        return Response(body, content_type=CONTENT_TYPE)


def _add_actions(app: QuartTrio, daemon: "Daemon") -> None:
    @app.post("/v1/reload")
    async def reload() -> Response:
        await daemon.reload()
        return _json({"problems": daemon.problems}, 422 if daemon.problems else 200)

    @app.post("/v1/apps")
    async def attach() -> Response:
        """Attach an app for as long as this answer is read, or with `hold` false until it is detached."""
        try:
            wanted = msgspec.json.decode(await request.get_data(), type=AttachRequest)
            attachment = await daemon.attach(spec_of(wanted))
        except (msgspec.DecodeError, ValueError, RuntimeError, OSError) as error:
            return _json({"error": str(error)}, 409)
        view = msgspec.to_builtins(views.app_view(daemon, attachment))
        told = msgspec.json.encode(view | {"token": attachment.endpoints.token})
        if not wanted.hold:
            return Response(told, content_type="application/json")
        response = Response(_held(daemon, attachment, told), content_type="application/x-ndjson")
        response.timeout = None
        return response

    @app.delete("/v1/apps/<namespace>/<app_id>")
    async def detach(namespace: str, app_id: str) -> Response:
        if await daemon.detach(namespace, app_id):
            return Response(b"", 204)
        return _json({"error": f"no app {app_id} in namespace {namespace} is attached: see `noded apps`"}, 404)


async def _held(daemon: "Daemon", attachment: Attachment, told: bytes) -> AsyncIterator[bytes]:
    """Keep an app attached until whoever attached it is gone, however it went. The last line says why it ended."""
    app = attachment.app
    try:
        yield told + b"\n"
        sign = trio.current_time() + SIGN_SECONDS
        while daemon.attachments.get((app.namespace, app.app_id)) is attachment:
            await trio.sleep(LOOK_SECONDS)
            if trio.current_time() >= sign:
                sign += SIGN_SECONDS
                yield b"\n"
        yield b'{"ended":"lost"}\n' if daemon.stopping.is_set() else b'{"ended":"detached"}\n'
    finally:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 2 * daemon.settings.drain_seconds):
            await daemon.release(attachment)


def _json(value: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, content_type="application/json")
