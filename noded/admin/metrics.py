"""What a scraper gets: noded's own metrics, Dapr's, and the process's, read from plain counters when it asks.

Labels are bounded by construction: attached apps, operations of the route table, fields of Limits, and `Tally`.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from noded.admin import dapr_families as dapr
from noded.admin import noded_families as own
from noded.admin.dapr_metrics import AppSeries
from noded.admin.exposition import render
from noded.admin.series import Owner, Rule, Rules, Series
from noded.config.records import ComponentSpec, MetricsSpec
from noded.routes import FACES
from noded.status import HTTP_BY_GRPC
from tenancy.accounting import STATUS_BITS
from tenancy.tally import LATENCY_BOUNDS_MS

if TYPE_CHECKING:
    from noded.app import App
    from noded.daemon import Daemon

STATUS_CLASSES: Final = ("other", "1xx", "2xx", "3xx", "4xx", "5xx")
"""By HTTP status // 100; "other" where that is outside 1 to 5."""
_FAMILIES: Final = (*own.NODED, *dapr.DAPR)


class DaemonCollector(Collector):
    """Every tenant's counters, and the daemon's."""

    def __init__(self, daemon: "Daemon", sidecar_namespace: str | None) -> None:
        self._daemon = daemon
        self._sidecar_namespace = sidecar_namespace
        self._spec = spec = daemon.settings.metrics
        self._rules = rules_of(spec)
        self._bounds_ms = spec.latency_bounds_ms or LATENCY_BOUNDS_MS

    def collect(self) -> Iterator[Metric]:
        """Give each family that has a series."""
        is_sidecar = self._sidecar_namespace is not None
        series = Series(_FAMILIES, self._bounds_ms, self._rules, namespaced=not is_sidecar)
        apps = [attachment.app for attachment in list(self._daemon.attachments.values())]
        series.node(own.APPS, {}, len(apps))
        series.node(own.TASKS, {}, self._daemon.tasks)
        for app in apps:
            owner = Owner(app.app_id, app.namespace if self._sidecar_namespace is None else self._sidecar_namespace)
            _write_own(series, Owner(app.app_id, app.namespace), app)
            self._limits(series, app)
            self._components(series, owner, app)
            by_path = self._spec.increased_cardinality or bool(self._spec.path_matching)
            AppSeries(series, owner, app, by_verb=not self._spec.exclude_verbs, by_path=by_path).write()
        for backend in self._daemon.backends.listing():
            labels = {"component": backend.spec.name, "type": backend.spec.type}
            series.node(own.COMPONENT_UP, labels, int(backend.instance is not None))
        return series.families()

    def _limits(self, series: Series, app: "App") -> None:
        owner = Owner(app.app_id, app.namespace)
        for limit, use in app.tenant.report(self._daemon.seconds()).limits.items():
            if use.allowed is not None:
                series.own(own.LIMIT_USED, owner, (limit,), use.used)
                series.own(own.LIMIT_ALLOWED, owner, (limit,), use.allowed)

    def _components(self, series: Series, owner: Owner, app: "App") -> None:
        """Say of every component that the app may use whether it is open."""
        loaded = 0
        for spec in self._daemon.resources.components:
            if not _may_use(spec, app):
                continue
            if spec.name in app.state or spec.name in app.pubsub:
                loaded += 1
                series.count(dapr.INITIALIZED, owner, (spec.type,), 1)
            else:
                series.count(dapr.FAILED, owner, (spec.type, spec.name, "init"), 1)
        series.count(dapr.LOADED, owner, (), loaded)


def registry_of(daemon: "Daemon", sidecar_namespace: str | None = None) -> CollectorRegistry:
    """A registry of the daemon's own, to be written by `page_of`.

    sidecar_namespace: of a daemon of one app, what daprd would call its namespace.
    """
    registry = CollectorRegistry()
    registry.register(DaemonCollector(daemon, sidecar_namespace))
    ProcessCollector(registry=registry)
    return registry


def page_of(registry: CollectorRegistry) -> bytes:
    """What a scraper is sent, of type `exposition.CONTENT_TYPE`."""
    return render(registry.collect())


def rules_of(spec: MetricsSpec) -> Rules:
    """The rules as they are applied: by metric and label."""
    rules: dict[tuple[str, str], list[Rule]] = {}
    for rule in spec.rules:
        name = rule.metric if rule.metric.startswith("dapr_") else f"dapr_{rule.metric}"
        rules.setdefault((name, rule.label), []).append(Rule(rule.pattern, rule.replacement))
    return rules


def _write_own(series: Series, owner: Owner, app: "App") -> None:
    """Write noded's own series of one app."""
    usage = app.tenant.usage
    for key, cell in list(usage.answers.items()):
        face, status = FACES[key >> STATUS_BITS], key & ((1 << STATUS_BITS) - 1)
        http = _http_status(status) if face.path else status
        series.own(own.REQUESTS, owner, (face.operation,), cell.count)
        series.own(own.RESPONSES, owner, (_class_of(http),), cell.count)
    for use, cell in list(usage.proxied.cells.items()):
        series.own(own.REQUESTS, owner, ("InvokeService",), cell.count)
        series.own(own.RESPONSES, owner, (_class_of(_http_status(use.status)),), cell.count)
    for limit, count in list(usage.refusals.items()):
        series.own(own.REFUSALS, owner, (limit,), count)
    totals = usage.totals()
    series.own(own.BODY_BYTES, owner, ("in",), totals.bytes_in)
    series.own(own.BODY_BYTES, owner, ("out",), totals.bytes_out)
    series.own(own.EVENTS, owner, ("delivered",), usage.delivered)
    series.own(own.EVENTS, owner, ("dropped",), usage.dropped_events)
    series.own(own.INTERNAL_ERRORS, owner, (), usage.errors)
    series.own(own.LOOP_SECONDS, owner, (), app.turn.served_ns / 1e9)


def _http_status(code: int) -> int:
    return HTTP_BY_GRPC.get(code, 500)  # type: ignore[call-overload, no-any-return]  # an app may send any number


def _class_of(status: int) -> str:
    return STATUS_CLASSES[status // 100 if 100 <= status < 600 else 0]


def _may_use(spec: ComponentSpec, app: "App") -> bool:
    return spec.namespace in (None, app.namespace) and (not spec.scopes or app.app_id in spec.scopes)
