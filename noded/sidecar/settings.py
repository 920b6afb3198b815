"""From daprd's flags and environment to records. What daprd would refuse is refused in its words.

Source: dapr pkg/runtime/config.go, toInternal; pkg/validation.
"""

import json
import logging
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from noded.config.http_settings import NO_LOGGING, ApiLogging, HttpSettings
from noded.config.records import AppProtocol, AppSpec, ChannelSpec, HealthSpec, InitEndpoint, MetricsSpec, Settings
from noded.config.values import parse_quantity
from noded.sidecar.pflag import Parsed

log = logging.getLogger("noded.runtime")

APP_ID = re.compile(r"[^./\x00-\x20\x7f]+")
GO_HEADER_BYTES = 1 << 20
"""What Go's server takes for a limit of 0."""
MAX_THRESHOLD = (1 << 31) - 1
"""Of failed probes; from here on it overflows in daprd, which takes its default instead."""
LEVELS = ("debug", "info", "warn", "error", "fatal")


class Refused(RuntimeError):
    """daprd does not start with this; the message says why, in its words. Exit code 1."""


@dataclass(frozen=True, slots=True)
class Listening:
    """Where the one app reaches its runtime."""

    socket_dir: Path | None
    """Unix sockets in it replace both TCP ports."""
    addresses: tuple[str, ...]
    """Each with both ports; "" is every address."""
    http_port: int
    grpc_port: int
    public: tuple[str, int] | None
    """Address and port for health and metadata alone."""


@dataclass(frozen=True, slots=True)
class SidecarSettings:
    """All that `noded daprd` runs by."""

    app: AppSpec
    listening: Listening
    node: Settings
    metrics: tuple[str, int] | None
    """Address and port; None: not served."""
    block_shutdown_seconds: float | None
    """How long SIGTERM leaves the APIs open."""
    any_namespace: bool
    """Whether resources of every namespace count: NAMESPACE is not set."""


def log_level(flags: Parsed) -> str:
    """The level asked for. Raises Refused."""
    level = flags.text("log-level").lower()
    if level not in LEVELS:
        raise Refused(f"invalid value for --log-level: {level}")
    return level


def settings_of(flags: Parsed, environ: Mapping[str, str]) -> SidecarSettings:
    """Everything the flags and the environment ask for. Raises Refused."""
    if flags.text("mode") != "standalone":
        raise Refused(f"Fatal error from runtime: invalid mode: {flags.text('mode')}: only standalone is served here")
    _check_unserved(flags)
    app = _app(flags, environ)
    listening = _listening(flags)
    _check_conflicts(flags, listening)
    grace = flags.number("dapr-graceful-shutdown-seconds")
    metrics = flags.text("metrics-listen-address"), _port(flags, "metrics-port")
    blocking = "dapr-block-shutdown-duration" in flags.changed
    paths = flags.texts("resources-path") or tuple(filter(None, [flags.text("components-path")]))
    here = Path.cwd()
    node = Settings(
        run_dir=here,
        state_dir=here,
        resources_paths=tuple(map(Path, paths)),
        config_paths=tuple(map(Path, flags.texts("config"))),
        max_body_bytes=_max_body_bytes(flags),
        http=_http(flags),
        drain_seconds=5.0 if grace < 0 else float(grace),
        metrics=MetricsSpec(increased_cardinality=True),  # daprd's default
    )
    return SidecarSettings(
        app=app,
        listening=listening,
        node=node,
        metrics=metrics if flags.on("enable-metrics") else None,
        block_shutdown_seconds=flags.seconds("dapr-block-shutdown-duration") if blocking else None,
        any_namespace=not environ.get("NAMESPACE"),
    )


def _http(flags: Parsed) -> HttpSettings:
    """Heads, origins, the log of calls. Raises Refused."""
    origins = flags.text("allowed-origins")
    logging = ApiLogging(flags.on("enable-api-logging")) if "enable-api-logging" in flags.changed else NO_LOGGING
    return HttpSettings(_read_buffer_bytes(flags), tuple(origins.split(",")) if origins else (), logging=logging)


def _read_buffer_bytes(flags: Parsed) -> int:
    """In bytes; Go takes 0 for its own default."""
    size = _size_bytes(flags, "read-buffer-size", ("dapr-http-read-buffer-size", 10), 4 << 10)
    return size if size > 0 else GO_HEADER_BYTES


def _size_bytes(flags: Parsed, name: str, older: tuple[str, int], usual: int) -> int:
    """A size in bytes by its flag, or by the older one, (name, power of 2 of its unit), whose -1 is the usual size.

    Raises Refused.
    """
    older_name, power = older
    if name in flags.changed:
        try:
            return parse_quantity(flags.text(name))
        except ValueError as error:
            raise Refused(f"Failed to parse flags: invalid value for '{name}' option: {error}") from error
    if older_name not in flags.changed or (units := flags.number(older_name)) == -1:
        return usual
    return units << power


def _check_unserved(flags: Parsed) -> None:
    """What daprd would refuse of flags that nothing comes of here."""
    dissemination = flags.seconds("actors-disseminate-timeout")
    if dissemination <= 0:
        reason = f"must be positive, got {dissemination:g}s"
        raise Refused(f"Failed to parse flags: invalid value for 'actors-disseminate-timeout' option: {reason}")


def _app(flags: Parsed, environ: Mapping[str, str]) -> AppSpec:
    app_id = flags.text("app-id")
    if not app_id:
        raise Refused("Fatal error from runtime: parameter app-id cannot be empty")
    if "." in app_id:
        raise Refused("Fatal error from runtime: parameter app-id cannot contain dots")
    if not APP_ID.fullmatch(app_id):
        raise Refused("Fatal error from runtime: parameter app-id cannot contain slashes, spaces or control characters")
    return AppSpec(
        app_id=app_id,
        namespace=environ.get("NAMESPACE") or "default",
        channel=_channel(flags),
        api_token=environ.get("DAPR_API_TOKEN") or None,
        app_token=environ.get("APP_API_TOKEN") or None,
        health=_health(flags),
        disable_init_endpoints=tuple(map(InitEndpoint, _init_endpoints(flags))),
    )


def _health(flags: Parsed) -> HealthSpec | None:
    """How the app is probed; a number that makes no sense means the default. Raises Refused."""
    usual = HealthSpec()
    interval, timeout = flags.number("app-health-probe-interval"), flags.number("app-health-probe-timeout")
    threshold = flags.number("app-health-threshold")
    health = HealthSpec(
        path=flags.text("app-health-check-path"),
        interval_seconds=float(interval) if interval > 0 else usual.interval_seconds,
        timeout_seconds=timeout / 1000 if timeout > 0 else usual.timeout_seconds,
        threshold=threshold if 1 <= threshold < MAX_THRESHOLD else usual.threshold,
    )
    if health.timeout_seconds > health.interval_seconds:
        problem = "value for 'health-probe-timeout' must be smaller than 'health-probe-interval'"
        raise Refused(f"Fatal error from runtime: {problem}")
    return health if flags.on("enable-app-health-check") else None


def _init_endpoints(flags: Parsed) -> list[str]:
    """Which are not to be asked. Raises Refused."""
    named = [each.strip().lower() for each in flags.texts("disable-init-endpoints")]
    for each in named:
        if each and each not in set(InitEndpoint):
            raise Refused(f"Fatal error from runtime: invalid value for 'disable-init-endpoints': {each}")
    return [each for each in named if each]


def _channel(flags: Parsed) -> ChannelSpec | None:
    protocol = _protocol(flags)
    port = _port(flags, "app-port") if flags.text("app-port") else 0
    if port <= 0:
        return None
    host = flags.text("app-channel-address")
    most = flags.number("app-max-concurrency")
    return ChannelSpec(f"{host}:{port}", protocol, most if most > 0 else None)


def _protocol(flags: Parsed) -> AppProtocol:
    """What the app speaks; --app-ssl is the old way to ask for TLS. Raises Refused."""
    given = flags.text("app-protocol")
    protocol = given.lower() or "http"
    if protocol not in set(AppProtocol):
        raise Refused(f"Fatal error from runtime: invalid value for 'app-protocol': {given}")
    if not flags.on("app-ssl") or given.lower() not in {"http", "grpc"}:
        return AppProtocol(protocol)
    log.warning("The 'app-ssl' flag is deprecated; use 'app-protocol=%ss' instead", protocol)
    return AppProtocol(f"{protocol}s")


def _listening(flags: Parsed) -> Listening:
    directory = flags.text("unix-domain-socket")
    public = flags.text("dapr-public-port")
    return Listening(
        socket_dir=Path(directory).absolute() if directory else None,
        addresses=tuple(flags.text("dapr-listen-addresses").split(",")),
        http_port=_port(flags, "dapr-http-port", " flag"),
        grpc_port=_port(flags, "dapr-grpc-port", " flag"),
        public=(flags.text("dapr-public-listen-address"), _port(flags, "dapr-public-port")) if public else None,
    )


def _check_conflicts(flags: Parsed, listening: Listening) -> None:
    app_port = _port(flags, "app-port") if flags.text("app-port") else 0
    for name, port in (("dapr-http-port", listening.http_port), ("dapr-grpc-port", listening.grpc_port)):
        if app_port == port:
            raise Refused(f"Fatal error from runtime: the '{name}' argument value {port} conflicts with 'app-port'")


def _port(flags: Parsed, name: str, suffix: str = "") -> int:
    text = flags.text(name)
    if not re.fullmatch(r"[+-]?[0-9]+", text):
        reason = f"strconv.Atoi: parsing {json.dumps(text)}: invalid syntax"
        raise Refused(f"Fatal error from runtime: error parsing {name}{suffix}: {reason}")
    if not 0 <= int(text) < 65536:
        raise Refused(f"Fatal error from runtime: error parsing {name}{suffix}: {text} is no port: 0 to 65535")
    return int(text)


def _max_body_bytes(flags: Parsed) -> int:
    """In bytes; what is not above 0 is no limit, but for -1, which is the default."""
    size = _size_bytes(flags, "max-body-size", ("dapr-http-max-request-size", 20), 4 << 20)
    return size if size > 0 else sys.maxsize
