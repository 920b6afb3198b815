"""Tenants and the registry that owns their namespace and node levels.

Ceilings of an app are the smallest of its own and of every `perApp`; a request must fit the app's, the namespace's
and the node's together. Any of them may change at any time; counts stay. Called from the loop's thread only.
"""

from collections.abc import Callable, Iterator, Sequence

from msgspec import Struct

from tenancy.accounting import LimitUse, Time, Usage, UsageReport
from tenancy.admission import COUNTED, Gate, Level, Refusal
from tenancy.events import EventLog
from tenancy.ledger import Books, Totals
from tenancy.limits import FIELDS, Limits, app_limits, smallest
from tenancy.namespacing import check_app_id, check_namespace
from tenancy.tally import LATENCY_BOUNDS_MS

NO_LIMITS = Limits()


class Quota(Struct, frozen=True):
    """Ceilings of a namespace or of the node: for each app in it, and for all together."""

    per_app: Limits = NO_LIMITS
    total: Limits = NO_LIMITS


NO_QUOTA = Quota()


class Tenant:
    """One attached app as far as names, limits and counts go."""

    __slots__ = (
        "_clock",
        "_events",
        "app_id",
        "gate",
        "id",
        "limits",
        "namespace",
        "own_limits",
        "queue",
        "stored",
        "usage",
    )

    def __init__(self, gate: Gate, stored: Totals, usage: Usage, events: EventLog, clock: Callable[[], float]) -> None:
        self.id = gate.app.subject
        """`<namespace>/<app id>`."""
        self.namespace, _, self.app_id = self.id.partition("/")
        self.gate = gate
        self.usage = usage
        self.stored = stored
        """What it keeps in the local state stores; counts of the name, not of this attachment."""
        self.own_limits = NO_LIMITS
        """As its App resource says."""
        self.limits = NO_LIMITS
        """Effective: the smallest of app, namespace and node."""
        self.queue = QueueRoom(self)
        """What its subscriptions may hold at the daemon's own brokers."""
        self._events = events
        self._clock = clock

    def refused(self, refusal: Refusal, what: str = "refused") -> None:
        """Count a refusal and note it among the events. Called once, by whoever answers with it."""
        self.usage.refused(refusal.limit)
        for level in self.gate.levels:
            if level.scope == refusal.scope:
                level.refused[refusal.limit] = level.refused.get(refusal.limit, 0) + 1
        self._events.record(self._clock(), self.id, what, refusal)

    def report(self, now: float) -> UsageReport:
        """Its use of every limit; `now` as for the gate."""
        use = {
            limit: LimitUse(used, getattr(self.limits, limit), self.usage.refusals.get(limit, 0))
            for limit, used in _used(self.gate.app, self.stored, now).items()
        }
        return UsageReport(self.id, use)


class QueueRoom:
    """What one tenant's subscriptions may keep waiting (components.contract.QueueBounds). A full queue drops."""

    __slots__ = ("_gate", "_refusal", "_tenant")

    def __init__(self, tenant: Tenant) -> None:
        self._tenant = tenant
        self._gate = tenant.gate
        self._refusal: Refusal | None = None

    def take(self, messages: int, size_bytes: int) -> bool:
        """Reserve room for both or for none; negative numbers free."""
        if messages < 0 or size_bytes < 0:
            self._gate.free_queued(-messages, -size_bytes)
            return True
        self._refusal = refusal = self._gate.acquire_queued(messages, size_bytes)
        return refusal is None

    def dropped(self, messages: int) -> None:
        """Count messages that found no room, and note why."""
        self._tenant.usage.dropped_events += messages
        if self._refusal is not None:
            self._tenant.refused(self._refusal, "dropped")


class Tenants:
    """Every attached tenant, with the levels they share."""

    def __init__(
        self,
        *,
        clock: Callable[[], float],
        time: Time | None = None,
        bounds_ms: Sequence[float] = LATENCY_BOUNDS_MS,
    ) -> None:
        """Begin with nobody.

        clock: what events are stamped with, in seconds.
        time: what is measured with.
        bounds_ms: between which measured times are counted, in milliseconds.
        """
        self.events = EventLog()
        self.books = Books()
        self.node = Level("node", "node", NO_LIMITS)
        self._time = time
        self._bounds_ms = bounds_ms
        self._clock = clock
        self._quotas: dict[str | None, Quota] = {}  # {namespace, None for the node: quota}
        self._namespaces: dict[str, Level] = {}  # {namespace: level}, while it has tenants or a quota
        self._tenants: dict[tuple[str, str], Tenant] = {}  # {(namespace, app id): tenant}

    def attach(self, namespace: str, app_id: str, limits: Limits = NO_LIMITS) -> Tenant:
        """Admit an app. What its name keeps in the stores counts on; its other counts begin at zero.

        Raises ValueError when a name is malformed, or attached already: detach it first.
        """
        if problem := check_namespace(namespace) or check_app_id(app_id):
            raise ValueError(problem)
        if (namespace, app_id) in self._tenants:
            raise ValueError(
                f"app {app_id} of namespace {namespace} is attached already: detach it first, or take another app id"
            )
        own = self._own(namespace, limits)
        gate = Gate(Level("app", f"{namespace}/{app_id}", own), self._level(namespace), self.node)
        tenant = Tenant(
            gate, self.books.app(namespace, app_id), Usage(self._time, self._bounds_ms), self.events, self._clock
        )
        self._tenants[namespace, app_id] = tenant
        tenant.own_limits = limits
        self._spread(tenant, own)
        return tenant

    def detach(self, tenant: Tenant) -> None:
        """Let an app go: whatever it still held no longer counts for its namespace and the node. Idempotent.

        Its ceilings on stored data stay with the name, for writes still under way.
        """
        if self._tenants.get((tenant.namespace, tenant.app_id)) is not tenant:
            return
        del self._tenants[tenant.namespace, tenant.app_id]
        tenant.gate.close()
        self._forget_if_idle(tenant.namespace)

    def set_limits(self, tenant: Tenant, limits: Limits, now: float) -> None:
        """Change an app's own ceilings from `now` on."""
        tenant.own_limits = limits
        self._apply(tenant, now)

    def set_quota(self, namespace: str | None, quota: Quota, now: float) -> None:
        """Change the ceilings of a namespace, or of the node (None), from `now` on; NO_QUOTA takes them away."""
        if self._quotas.get(namespace, NO_QUOTA) == quota:
            return
        self._quotas[namespace] = quota
        level, totals = self.node, self.books.node
        if namespace is not None:
            level, totals = self._level(namespace), self.books.namespace(namespace)
        level.set_limits(quota.total, now)
        totals.set_limits(quota.total)
        for tenant in self:
            if namespace in {None, tenant.namespace}:
                self._apply(tenant, now)
        if quota == NO_QUOTA:
            del self._quotas[namespace]
            self._forget_if_idle(namespace)

    def quota_namespaces(self) -> set[str | None]:
        """Whose ceilings are set: namespaces, and None for the node."""
        return set(self._quotas)

    def get(self, namespace: str, app_id: str) -> Tenant | None:
        """The attached tenant of that name, or None."""
        return self._tenants.get((namespace, app_id))

    def reports(self, now: float) -> list[UsageReport]:
        """The use of the node, then of each namespace, of their total ceilings."""
        shared = [(self.node, self.books.node)]
        shared += [(level, self.books.namespace(name)) for name, level in sorted(self._namespaces.items())]
        return [_report(level, totals, now) for level, totals in shared]

    def __iter__(self) -> Iterator[Tenant]:
        return iter(tuple(self._tenants.values()))

    def __len__(self) -> int:
        return len(self._tenants)

    def _level(self, namespace: str) -> Level:
        found = self._namespaces.get(namespace)
        return found or self._namespaces.setdefault(namespace, Level("namespace", namespace, NO_LIMITS))

    def _quota(self, namespace: str | None) -> Quota:
        return self._quotas.get(namespace, NO_QUOTA)

    def _own(self, namespace: str, limits: Limits) -> Limits:
        return app_limits(limits, self._quota(namespace).per_app, self._quota(None).per_app)

    def _apply(self, tenant: Tenant, now: float) -> None:
        own = self._own(tenant.namespace, tenant.own_limits)
        tenant.gate.app.set_limits(own, now)
        self._spread(tenant, own)

    def _spread(self, tenant: Tenant, own: Limits) -> None:
        tenant.stored.set_limits(own)
        tenant.limits = smallest(own, self._quota(tenant.namespace).total, self._quota(None).total)

    def _forget_if_idle(self, namespace: str | None) -> None:
        if namespace is None or namespace in self._quotas:
            return
        level = self._namespaces.get(namespace)
        if level is not None and not level.gates:
            del self._namespaces[namespace]


def _used(level: Level, stored: Totals, now: float) -> dict[str, float]:
    use: dict[str, float] = dict.fromkeys(FIELDS, 0)
    use["requests_per_second"] = level.requests.used(now) if level.requests else 0
    use["bytes_per_second"] = level.bytes.used(now) if level.bytes else 0
    use["concurrent_requests"] = level.in_flight
    use["state_keys"] = stored.keys
    use["state_bytes"] = stored.size_bytes
    for limit in COUNTED:
        use[limit] = level.held(limit)
    return use


def _report(level: Level, stored: Totals, now: float) -> UsageReport:
    use = {
        limit: LimitUse(used, getattr(level.limits, limit), level.refused.get(limit, 0))
        for limit, used in _used(level, stored, now).items()
    }
    return UsageReport(level.subject, use)
