"""Whether an app is well, decided from its probes alone: no IO, no clock.

    state       probe succeeds           probe fails
    unhealthy   healthy, failures 0      unhealthy
    healthy     healthy                  failures + 1; at the threshold unhealthy

An app is unhealthy until its first success. A success among failures below the threshold takes none of them back: they
count since the app last became healthy. Source: daprd 1.18 pkg/apphealth/health.go, and 1.18.0 as observed.
"""

from dataclasses import dataclass, field
from enum import Enum


class Change(Enum):
    """What a probe brought about."""

    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"


@dataclass(slots=True)
class Health:
    """One app's health."""

    threshold: int
    """Failed probes that make it unhealthy, from 1."""
    failures: int = field(init=False)

    def __post_init__(self) -> None:
        self.failures = self.threshold

    @property
    def healthy(self) -> bool:
        """Whether the app may be called."""
        return self.failures < self.threshold

    def succeeded(self) -> Change | None:
        """Note a probe that succeeded, and say what it changed."""
        if self.healthy:
            return None
        self.failures = 0
        return Change.HEALTHY

    def failed(self) -> Change | None:
        """Note a probe that failed, and say what it changed."""
        if not self.healthy:
            return None
        self.failures += 1
        return None if self.healthy else Change.UNHEALTHY
