"""`noded daprd` and the health of its app: daprd's flags, order and words."""

from pathlib import Path
from typing import Any

import pytest

from noded.config.records import HealthSpec, InitEndpoint
from noded.sidecar.flags import FLAGS
from noded.sidecar.pflag import parse
from noded.sidecar.settings import Refused, SidecarSettings, settings_of
from tests.daemon.lifecycle_app import LifecycleApp
from tests.daprd.sidecar_process import Sidecar, resources, running

PROBED = (
    "--enable-app-health-check", "--app-health-probe-interval", "1", "--app-health-probe-timeout", "1000",
    "--app-health-threshold", "1",
)  # fmt: skip
PUBSUB = """
apiVersion: dapr.io/v1alpha1
kind: Component
metadata: {name: pubsub}
spec: {type: pubsub.in-memory, version: v1}
"""
ORDERS = {"pubsubname": "pubsub", "topic": "orders", "route": "/orders"}


def settings(*flags: str) -> SidecarSettings:
    return settings_of(parse(["--app-id", "a", "--app-port", "7001", *flags], FLAGS), {})


@pytest.mark.parametrize(
    ("flags", "health"),
    [
        ((), None),
        (("--app-health-threshold", "9"), None),
        (("--enable-app-health-check",), HealthSpec("/healthz", 5.0, 0.5, 3)),
        (
            (
                "--enable-app-health-check", "--app-health-check-path", "well", "--app-health-probe-interval", "2",
                "--app-health-probe-timeout", "1500", "--app-health-threshold", "7",
            ),
            HealthSpec("well", 2.0, 1.5, 7),
        ),
        (
            (
                "--enable-app-health-check", "--app-health-probe-interval", "0", "--app-health-probe-timeout", "-1",
                "--app-health-threshold", "0",
            ),
            HealthSpec(),
        ),
        (("--enable-app-health-check", "--app-health-threshold", "2147483647"), HealthSpec()),
    ],
)  # fmt: skip
def test_flags_say_how_the_app_is_probed(flags: tuple[str, ...], health: HealthSpec | None) -> None:
    """Seconds between probes, milliseconds for each; what makes no sense is the default."""
    assert settings(*flags).app.health == health


def test_a_probe_may_not_take_longer_than_the_interval() -> None:
    """Refused in daprd's words, also where nothing is probed."""
    with pytest.raises(Refused, match="value for 'health-probe-timeout' must be smaller than 'health-probe-interval'"):
        settings("--app-health-probe-timeout", "5001")


def test_init_endpoints_are_named_in_any_case() -> None:
    """Spaces and empty names do not count."""
    made = settings("--disable-init-endpoints", " Config,", "--disable-init-endpoints", "SUBSCRIBE")

    assert made.app.disable_init_endpoints == (InitEndpoint.CONFIG, InitEndpoint.SUBSCRIBE)


def test_start_and_health_in_daprds_order(tmp_path: Path) -> None:
    """Ready once the app listens, refused until it is well, then asked; unhealthy, it is refused again."""
    flags = ("--resources-path", resources(tmp_path, PUBSUB), *PROBED)
    with (
        LifecycleApp(topics=[ORDERS], health=503) as app,
        running(tmp_path, "--app-port", str(app.port), *flags) as sidecar,
    ):
        sidecar.waits_for("dapr initialized. Status: Running.")
        assert sidecar.http("GET", "/v1.0/healthz").status == 204
        assert refusal(sidecar) == "rpc error: code = Internal desc = app is not in a healthy state"
        app.health = 200
        app.wait_until(lambda: "/dapr/subscribe" in app.paths())
        assert app.paths()[:3] == ["/healthz", "/dapr/config", "/dapr/subscribe"]
        assert sidecar.http("GET", "/v1.0/invoke/app/method/hello").status == 200
        assert metadata(sidecar)["appConnectionProperties"]["health"] == {
            "healthCheckPath": "/healthz",
            "healthProbeInterval": "1s",
            "healthProbeTimeout": "1s",
            "healthThreshold": 1,
        }
        app.health = 500
        sidecar.waits_for("App entered un-healthy status: default/app: it answered status 500")
        assert refusal(sidecar).endswith("app is not in a healthy state")
        assert [each["topic"] for each in metadata(sidecar)["subscriptions"]] == ["orders"]


def test_blocked_shutdown_ends_when_the_app_is_unhealthy(tmp_path: Path) -> None:
    """--dapr-block-shutdown-duration lasts as long as the app is well, at most."""
    with (
        LifecycleApp() as app,
        running(tmp_path, "--app-port", str(app.port), "--dapr-block-shutdown-duration", "1h", *PROBED) as sidecar,
    ):
        sidecar.waits_for("App entered healthy status")
        sidecar.process.terminate()
        sidecar.waits_for("Blocking graceful shutdown for 1h0m0s or until app reports unhealthy...")
        assert sidecar.http("GET", "/v1.0/healthz").status == 204
        app.health = 500

        assert sidecar.code() == 0


def refusal(sidecar: Sidecar) -> str:
    reply = sidecar.http("GET", "/v1.0/invoke/app/method/hello")
    assert reply.status == 500
    told = reply.json()
    assert told["errorCode"] == "ERR_DIRECT_INVOKE"
    return str(told["message"]).removeprefix("failed to invoke, id: app, err: ")


def metadata(sidecar: Sidecar) -> Any:
    return sidecar.http("GET", "/v1.0/metadata").json()
