"""How the APIs are offered: limits of heads, origins, which APIs there are, what is logged of calls."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ApiRule:
    """One API that is allowed or denied (spec.api of a Configuration)."""

    name: str
    """As `state`, `publish`, `invoke`."""
    version: str
    """As `v1`, `v1alpha1`; on HTTP also as paths have it, `v1.0`."""
    protocol: str
    """`http` or `grpc`."""


@dataclass(frozen=True, slots=True)
class ApiRules:
    """Which APIs there are. Denied beats allowed; where nothing is allowed by name, all is that is not denied."""

    allowed: tuple[ApiRule, ...] = ()
    denied: tuple[ApiRule, ...] = ()


@dataclass(frozen=True, slots=True)
class ApiLogging:
    """What is logged of calls (spec.logging.apiLogging of a Configuration); None: not given."""

    enabled: bool | None = None
    obfuscate_urls: bool | None = None
    """Whether an operation's name stands for the path."""
    omit_health_checks: bool | None = None


ALL_APIS = ApiRules()
NO_LOGGING = ApiLogging()


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """What a daemon's command line and Configuration say of its APIs' servers."""

    read_buffer_bytes: int = 4 << 10
    """Of a request's head; some slack is let pass."""
    allowed_origins: tuple[str, ...] = ()
    """Of pages in browsers; none: CORS is off."""
    rules: ApiRules = ALL_APIS
    logging: ApiLogging = NO_LOGGING


NO_HTTP_SETTINGS = HttpSettings()
"""Everything as it is shipped."""
