"""The daemon's own metrics, read from the tenants' integers when somebody scrapes. Nothing is pushed.

Labels are bounded by construction: attached apps, operations of the route table, fields of Limits.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from noded.routes import OPERATIONS
from tenancy.accounting import STATUS_CLASSES

if TYPE_CHECKING:
    from noded.app import App
    from noded.daemon import Daemon

APP = ("namespace", "app_id")


class TenantCollector(Collector):
    """Every tenant's counters."""

    def __init__(self, daemon: "Daemon") -> None:
        self._daemon = daemon

    def collect(self) -> Iterator[Metric]:
        """Give each family with a sample per tenant."""
        apps = [attachment.app for attachment in tuple(self._daemon.attachments.values())]
        yield GaugeMetricFamily("noded_apps", "Attached apps.", value=len(apps))
        yield from (_requests(apps), _responses(apps), _refusals(apps), _bytes(apps))
        yield from (_events(apps), _errors(apps), _cpu(apps))
        yield from self._limits(apps)
        up = GaugeMetricFamily("noded_component_up", "1 where a component is open.", labels=("component", "type"))
        for backend in self._daemon.backends.listing():
            up.add_metric((backend.spec.name, backend.spec.type), float(backend.instance is not None))
        yield up

    def _limits(self, apps: list["App"]) -> Iterator[Metric]:
        used = GaugeMetricFamily("noded_limit_used", "Use of a limit that is set.", labels=(*APP, "limit"))
        allowed = GaugeMetricFamily("noded_limit_allowed", "The effective ceiling.", labels=(*APP, "limit"))
        now = self._daemon.seconds()
        for app in apps:
            for limit, use in app.tenant.report(now).limits.items():
                if use.allowed is not None:
                    used.add_metric((app.namespace, app.app_id, limit), use.used)
                    allowed.add_metric((app.namespace, app.app_id, limit), use.allowed)
        yield used
        yield allowed


def registry_of(daemon: "Daemon") -> CollectorRegistry:
    """A registry of the daemon's own."""
    registry = CollectorRegistry()
    registry.register(TenantCollector(daemon))
    return registry


def _requests(apps: list["App"]) -> Metric:
    family = CounterMetricFamily("noded_requests", "Requests answered.", labels=(*APP, "operation"))
    for app in apps:
        for operation, count in zip(OPERATIONS, app.tenant.usage.requests, strict=True):
            if count:
                family.add_metric((app.namespace, app.app_id, operation), count)
    return family


def _responses(apps: list["App"]) -> Metric:
    family = CounterMetricFamily("noded_responses", "Answers by class of status.", labels=(*APP, "status"))
    for app in apps:
        for name, count in zip(STATUS_CLASSES, app.tenant.usage.statuses, strict=True):
            if count:
                family.add_metric((app.namespace, app.app_id, name), count)
    return family


def _refusals(apps: list["App"]) -> Metric:
    family = CounterMetricFamily("noded_refusals", "Refusals by limit.", labels=(*APP, "limit"))
    for app in apps:
        for limit, count in app.tenant.usage.refusals.items():
            family.add_metric((app.namespace, app.app_id, limit), count)
    return family


def _bytes(apps: list["App"]) -> Metric:
    family = CounterMetricFamily("noded_body_bytes", "Bytes of bodies.", labels=(*APP, "direction"))
    for app in apps:
        family.add_metric((app.namespace, app.app_id, "in"), app.tenant.usage.bytes_in)
        family.add_metric((app.namespace, app.app_id, "out"), app.tenant.usage.bytes_out)
    return family


def _events(apps: list["App"]) -> Metric:
    family = CounterMetricFamily("noded_events", "Events delivered to the app, or dropped.", labels=(*APP, "outcome"))
    for app in apps:
        family.add_metric((app.namespace, app.app_id, "delivered"), app.tenant.usage.delivered)
        family.add_metric((app.namespace, app.app_id, "dropped"), app.tenant.usage.dropped_events)
    return family


def _errors(apps: list["App"]) -> Metric:
    family = CounterMetricFamily("noded_internal_errors", "Requests that failed inside the daemon.", labels=APP)
    for app in apps:
        family.add_metric((app.namespace, app.app_id), app.tenant.usage.errors)
    return family


def _cpu(apps: list["App"]) -> Metric:
    family = CounterMetricFamily("noded_loop_seconds", "Time of the traffic loop spent on the app.", labels=APP)
    for app in apps:
        family.add_metric((app.namespace, app.app_id), app.turn.served_ns / 1e9)
    return family
