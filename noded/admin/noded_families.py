"""noded's own metrics: what it does for each tenant, and what Dapr has no name for."""

from typing import Final

from noded.admin.exposition import Family

APPS: Final = Family("noded_apps", "gauge", (), "apps", "Attached apps.", "always")
TASKS: Final = Family("noded_tasks", "gauge", (), "tasks", "Living tasks of the daemon.", "always")
COMPONENT_UP: Final = Family(
    "noded_component_up", "gauge", ("component", "type"), "0 or 1", "1 where a component is open.",
    "a component is configured",
)  # fmt: skip
REQUESTS: Final = Family(
    "noded_requests_total", "counter", ("operation",), "requests", "Requests answered.", "an app asks, by any protocol"
)
RESPONSES: Final = Family(
    "noded_responses_total", "counter", ("status",), "responses", "Answers by class of status: 2xx, 4xx ...",
    "an app asks, by any protocol",
)  # fmt: skip
REFUSALS: Final = Family(
    "noded_refusals_total", "counter", ("limit",), "requests", "Refusals by limit.", "a limit is met"
)
BODY_BYTES: Final = Family(
    "noded_body_bytes_total", "counter", ("direction",), "bytes", "Bytes of bodies.", "an app is attached"
)
EVENTS: Final = Family(
    "noded_events_total", "counter", ("outcome",), "events", "Events delivered to the app, or dropped.",
    "an app is attached",
)  # fmt: skip
INTERNAL_ERRORS: Final = Family(
    "noded_internal_errors_total", "counter", (), "requests", "Requests that failed inside the daemon.",
    "an app is attached",
)  # fmt: skip
LOOP_SECONDS: Final = Family(
    "noded_loop_seconds_total", "counter", (), "seconds", "Time of the traffic loop spent on the app.",
    "an app is attached",
)  # fmt: skip
LIMIT_USED: Final = Family(
    "noded_limit_used", "gauge", ("limit",), "as the limit's", "Use of a limit that is set.", "a limit is set"
)
LIMIT_ALLOWED: Final = Family(
    "noded_limit_allowed", "gauge", ("limit",), "as the limit's", "The effective ceiling.", "a limit is set"
)

NODED: Final = tuple(each for each in tuple(globals().values()) if isinstance(each, Family))
"""All of them, in the order they are served. All but the node's have `namespace` and `app_id` too."""

PROCESS: Final = tuple(
    Family(name, kind, (), unit, meaning, "always")
    for name, kind, unit, meaning in (
        ("process_cpu_seconds_total", "counter", "seconds", "Total user and system CPU time spent in seconds."),
        ("process_max_fds", "gauge", "descriptors", "Maximum number of open file descriptors."),
        ("process_open_fds", "gauge", "descriptors", "Number of open file descriptors."),
        ("process_resident_memory_bytes", "gauge", "bytes", "Resident memory size in bytes."),
        ("process_start_time_seconds", "gauge", "seconds", "Start time of the process since unix epoch in seconds."),
        ("process_virtual_memory_bytes", "gauge", "bytes", "Virtual memory size in bytes."),
    )
)
"""prometheus_client's."""
