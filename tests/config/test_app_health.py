"""How an App resource says that it is probed, and what it is not asked."""

from pathlib import Path

import pytest

from noded.config.load import Loaded, load_resources
from noded.config.records import HealthSpec, InitEndpoint
from noded.goduration import go_duration

APP = "apiVersion: noded.io/v1alpha1\nkind: App\nmetadata: {name: orders}\nspec: {%s}\n"
CHANNEL = 'channel: {address: "127.0.0.1:1"}'


def load(directory: Path, spec: str) -> Loaded:
    (directory / "a.yaml").write_text(APP % spec)
    return load_resources([directory], {})


@pytest.mark.parametrize(
    ("fields", "health"),
    [
        ("", None),
        ("enableAppHealthCheck: false", None),
        ("enableAppHealthCheck: true", HealthSpec()),
        ("enableAppHealthCheck: true, appHealthCheckPath: well?deep=1", HealthSpec(path="/well?deep=1")),
        (
            "enableAppHealthCheck: true, appHealthProbeInterval: 2, appHealthProbeTimeout: 1500, appHealthThreshold: 1",
            HealthSpec(interval_seconds=2.0, timeout_seconds=1.5, threshold=1),
        ),
        (
            "enableAppHealthCheck: true, appHealthProbeInterval: 1m, appHealthProbeTimeout: 250ms",
            HealthSpec(interval_seconds=60.0, timeout_seconds=0.25),
        ),
    ],
)
def test_health_of_an_app(tmp_path: Path, fields: str, health: HealthSpec | None) -> None:
    """Named and counted as Dapr's annotations, seconds and milliseconds; durations do as well."""
    loaded = load(tmp_path, f"{CHANNEL}, {fields}")

    assert (loaded.problems, loaded.warnings) == ((), ())
    assert loaded.resources.apps[0].health == health


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        (f"{CHANNEL}, enableAppHealthCheck: true, appHealthProbeInterval: 0", "spec.appHealthProbeInterval"),
        (f"{CHANNEL}, enableAppHealthCheck: true, appHealthProbeInterval: 25h", "spec.appHealthProbeInterval"),
        (f"{CHANNEL}, enableAppHealthCheck: true, appHealthProbeTimeout: -1", "spec.appHealthProbeTimeout"),
        (f"{CHANNEL}, enableAppHealthCheck: true, appHealthProbeTimeout: 6s", "spec.appHealthProbeTimeout"),
        (f"{CHANNEL}, enableAppHealthCheck: true, appHealthThreshold: 0", "spec.appHealthThreshold"),
        (f"{CHANNEL}, enableAppHealthCheck: true, appHealthCheckPath: a b", "spec.appHealthCheckPath"),
        ("enableAppHealthCheck: true", "spec.enableAppHealthCheck"),
        (f"{CHANNEL}, disableInitEndpoints: [bindings]", "spec.disableInitEndpoints[0]"),
    ],
)
def test_what_is_wrong_is_told_with_its_field(tmp_path: Path, fields: str, field: str) -> None:
    """The app is not taken."""
    loaded = load(tmp_path, fields)

    assert [problem.field for problem in loaded.problems] == [field]
    assert loaded.resources.apps == ()


def test_fields_without_effect_are_warned_of(tmp_path: Path) -> None:
    """What says how to probe does not say to probe."""
    loaded = load(tmp_path, f"{CHANNEL}, appHealthThreshold: 1")

    assert "no effect without enableAppHealthCheck" in str(loaded.warnings[0])
    assert loaded.resources.apps[0].health is None


def test_init_endpoints_that_are_not_asked(tmp_path: Path) -> None:
    """Both may be named."""
    (app,) = load(tmp_path, "disableInitEndpoints: [subscribe, config]").resources.apps

    assert app.disable_init_endpoints == (InitEndpoint.SUBSCRIBE, InitEndpoint.CONFIG)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"), (1e-9, "1ns"), (1.5e-6, "1.5µs"), (0.0004, "400µs"), (0.4, "400ms"), (0.0015, "1.5ms"), (1, "1s"),
        (1.5, "1.5s"), (60, "1m0s"), (90.25, "1m30.25s"), (3600, "1h0m0s"), (86399.999, "23h59m59.999s"),
    ],
)  # fmt: skip
def test_durations_as_go_writes_them(seconds: float, text: str) -> None:
    """Whole units from the largest that counts; below a second one unit with a fraction."""
    assert go_duration(seconds) == text
