"""APP_API_TOKEN: what the app is shown of it, in everything that it is sent."""

from pathlib import Path

from tests.daemon.lifecycle_app import LifecycleApp
from tests.daprd.sidecar_process import resources, running

PUBSUB = """
apiVersion: dapr.io/v1alpha1
kind: Component
metadata: {name: pubsub}
spec: {type: pubsub.in-memory, version: v1}
"""
ORDERS = {"pubsubname": "pubsub", "topic": "orders", "route": "/orders"}
PROBED = ("--enable-app-health-check", "--app-health-probe-interval", "1")
ASKED = {"/healthz", "/dapr/config", "/dapr/subscribe", "/orders", "/hello"}


def test_every_request_but_probes_shows_the_app_its_token(tmp_path: Path) -> None:
    """Events, calls, and what it is asked at its start carry `dapr-api-token`; probes of its health do not."""
    with LifecycleApp(topics=[ORDERS]) as app:
        flags = ("--app-port", str(app.port), "--resources-path", resources(tmp_path, PUBSUB), *PROBED)
        with running(tmp_path, *flags, environ={"APP_API_TOKEN": "shown"}) as sidecar:
            app.wait_until(lambda: "/dapr/subscribe" in app.paths())
            while "/orders" not in app.paths():
                assert sidecar.http("POST", "/v1.0/publish/pubsub/orders", 1).status == 204
            assert sidecar.http("GET", "/v1.0/invoke/app/method/hello").status == 200

        shown = {request.path: request.headers.get("dapr-api-token") for request in app.requests}
        assert {path: shown[path] for path in ASKED} == dict.fromkeys(ASKED, "shown") | {"/healthz": None}
