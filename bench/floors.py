"""The least noded must reach, as a ratio to daprd 1.18 measured in the same run."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal


@dataclass(frozen=True, slots=True)
class Floor:
    """A ratio noded/daprd, and of what."""

    ratio: float
    basis: Literal["rate", "per_core"] = "rate"
    """per_core where the load generator, not the server, is the limit: operations per second of server time."""


FLOORS: Mapping[str, Floor] = MappingProxyType(
    {
        "http_get_memory": Floor(4.5),
        "http_save_memory": Floor(4.5),
        "http_get_sqlite": Floor(8),
        "http_save_sqlite": Floor(25),
        "grpc_get": Floor(2.8),
        "grpc_get_ghz": Floor(3, "per_core"),
        "grpc_get_traced": Floor(2, "per_core"),
        "invoke": Floor(11.5),
        "pubsub": Floor(6.5),
    }
)

PSS_CEILING_MB = 60.0
"""Idle daemon with two apps and the operator's side loaded, MB of 10^6 bytes."""

NEIGHBOUR_P50 = 4.0
"""Beside a flood, the median of another tenant's requests, as a multiple of its quiet value: at most."""
NEIGHBOUR_P99 = 10.0
"""The same for the 99th percentile."""
SHARES_APART = 0.05
"""Of two flooding tenants: the difference of what they got, as a share of their mean, at most."""
