"""What one tenant did and holds, as plain integers; prometheus and `noded usage` read them, nothing pushes them.

Bounded by construction: operations by index of the route table, statuses by class, refusals by field of Limits.
Called from the loop's thread only.
"""

from collections.abc import Mapping

from msgspec import Struct

STATUS_CLASSES = ("other", "1xx", "2xx", "3xx", "4xx", "5xx")
"""What `Usage.statuses` counts, by index: HTTP status // 100; "other" where that is outside 1 to 5."""


class LimitUse(Struct, frozen=True):
    """One limit of one tenant."""

    used: float
    """In use now; of a rate, what of the burst is spent (0 where no rate is set)."""
    allowed: float | None
    """The effective ceiling; None: no limit."""
    refused: int
    """Requests refused for it since the tenant was attached."""


class UsageReport(Struct, frozen=True):
    """A tenant's, a namespace's or the node's use of its limits at one moment."""

    subject: str
    """`<namespace>/<app id>`, a namespace, or "node"."""
    limits: Mapping[str, LimitUse]
    """{field of Limits: its use}"""


class Usage:
    """One tenant's counters since it was attached."""

    __slots__ = (
        "bytes_in",
        "bytes_out",
        "delivered",
        "dropped_events",
        "errors",
        "refusals",
        "requests",
        "statuses",
    )

    def __init__(self, operations: int) -> None:
        self.requests = [0] * operations
        """By index of the operation in the daemon's table."""
        self.statuses = [0] * len(STATUS_CLASSES)
        self.refusals: dict[str, int] = {}
        """{limit: times refused}; a limit never met has no entry."""
        self.bytes_in = 0
        """Bytes of request bodies."""
        self.bytes_out = 0
        """Bytes of reply bodies."""
        self.delivered = 0
        """Messages handed to the app."""
        self.dropped_events = 0
        """Messages that found no room in the app's queues."""
        self.errors = 0
        """Requests that failed inside the daemon."""

    def served(self, operation: int, status: int, bytes_in: int, bytes_out: int) -> None:
        """Count one answered request."""
        self.requests[operation] += 1
        self.statuses[status // 100 if 100 <= status < 600 else 0] += 1
        self.bytes_in += bytes_in
        self.bytes_out += bytes_out

    def refused(self, limit: str) -> None:
        """Count one refusal."""
        self.refusals[limit] = self.refusals.get(limit, 0) + 1
