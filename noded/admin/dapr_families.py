"""Dapr's metrics, as far as noded serves them: names, types and labels are daprd 1.18's.

`app_id` is on every series and not repeated here; `noded serve` adds `namespace` where daprd has none, since two
namespaces may each have an app of the same id.
"""

from typing import Final

from noded.admin.exposition import Family

MS: Final = "milliseconds"
_COMPONENT: Final = ("component", "namespace")
_REQUEST: Final = ("method", "path", "status")
_TOPIC: Final = (*_COMPONENT, "topic")

HTTP_REQUESTS: Final = Family(
    "dapr_http_server_request_count", "counter", _REQUEST, "requests",
    "Count of HTTP requests processed by the server.", "an app asks over HTTP",
)  # fmt: skip
HTTP_LATENCY: Final = Family(
    "dapr_http_server_latency", "histogram", _REQUEST, MS,
    "HTTP request end-to-end latency in server.", "an app asks over HTTP",
)  # fmt: skip
HTTP_RESPONSES: Final = Family(
    "dapr_http_server_response_count", "counter", _REQUEST, "responses",
    "The number of HTTP responses", "an app asks over HTTP, and `increasedCardinality` is on",
)  # fmt: skip
HTTP_REQUEST_BYTES: Final = Family(
    "dapr_http_server_request_bytes", "histogram", (), "bytes",
    "HTTP request body size (uncompressed) in server.", "an app asks over HTTP",
)  # fmt: skip
HTTP_RESPONSE_BYTES: Final = Family(
    "dapr_http_server_response_bytes", "histogram", (), "bytes",
    "HTTP response body size (uncompressed) in server.", "an app asks over HTTP",
)  # fmt: skip
CALLS: Final = Family(
    "dapr_http_client_completed_count", "counter", _REQUEST, "requests",
    "Count of completed requests", "the app is called over HTTP: events, invocations",
)  # fmt: skip
CALL_LATENCY: Final = Family(
    "dapr_http_client_roundtrip_latency", "histogram", _REQUEST, MS,
    "Time between first byte of request headers sent to last byte of response received, or terminal error",
    "the app is called over HTTP",
)  # fmt: skip
CALL_SENT: Final = Family(
    "dapr_http_client_sent_bytes", "histogram", _REQUEST, "bytes",
    "Total bytes sent in request body (not including headers)", "the app is called over HTTP",
)  # fmt: skip
CALL_RECEIVED: Final = Family(
    "dapr_http_client_received_bytes", "histogram", (), "bytes",
    "Total bytes received in response bodies (not including headers but including error responses with bodies)",
    "the app is called over HTTP",
)  # fmt: skip

PROBES: Final = Family(
    "dapr_http_healthprobes_completed_count", "counter", ("status",), "probes",
    "Count of completed health probes", "the app's health is probed over HTTP",
)  # fmt: skip
PROBE_LATENCY: Final = Family(
    "dapr_http_healthprobes_roundtrip_latency", "histogram", ("status",), MS,
    "Time between first byte of health probes headers sent to last byte of response received, or terminal error",
    "the app's health is probed over HTTP",
)  # fmt: skip

RPCS: Final = Family(
    "dapr_grpc_io_server_completed_rpcs", "counter", ("grpc_server_method", "grpc_server_status"), "calls",
    "Count of RPCs by method and status.", "an app asks over gRPC",
)  # fmt: skip
RPC_LATENCY: Final = Family(
    "dapr_grpc_io_server_server_latency", "histogram", ("grpc_server_method", "grpc_server_status"), MS,
    "Time between first byte of request received to last byte of response sent, or terminal error.",
    "an app asks over gRPC",
)  # fmt: skip
RPC_RECEIVED: Final = Family(
    "dapr_grpc_io_server_received_bytes_per_rpc", "histogram", ("grpc_server_method",), "bytes",
    "Total bytes received across all messages per RPC.", "an app asks over gRPC",
)  # fmt: skip
RPC_SENT: Final = Family(
    "dapr_grpc_io_server_sent_bytes_per_rpc", "histogram", ("grpc_server_method",), "bytes",
    "Total bytes sent in across all response messages per RPC.", "an app asks over gRPC",
)  # fmt: skip
OWN_RPCS: Final = Family(
    "dapr_grpc_io_client_completed_rpcs", "counter", ("grpc_client_method", "grpc_client_status"), "calls",
    "Count of RPCs by method and status.", "the app is called over gRPC: events, invocations, its own services",
)  # fmt: skip
OWN_RPC_LATENCY: Final = Family(
    "dapr_grpc_io_client_roundtrip_latency", "histogram", ("grpc_client_method", "grpc_client_status"), MS,
    "Time between first byte of request sent to last byte of response received, or terminal error.",
    "the app is called over gRPC",
)  # fmt: skip
OWN_RPC_SENT: Final = Family(
    "dapr_grpc_io_client_sent_bytes_per_rpc", "histogram", ("grpc_client_method",), "bytes",
    "Total bytes sent across all request messages per RPC.", "the app is called over gRPC",
)  # fmt: skip
OWN_RPC_RECEIVED: Final = Family(
    "dapr_grpc_io_client_received_bytes_per_rpc", "histogram", ("grpc_client_method",), "bytes",
    "Total bytes received across all response messages per RPC.", "the app is called over gRPC",
)  # fmt: skip

RPC_PROBES: Final = Family(
    "dapr_grpc_io_healthprobes_completed_count", "counter", ("grpc_client_status",), "probes",
    "Count of completed health probes", "the app's health is probed over gRPC",
)  # fmt: skip
RPC_PROBE_LATENCY: Final = Family(
    "dapr_grpc_io_healthprobes_roundtrip_latency", "histogram", ("grpc_client_status",), MS,
    "Time between first byte of health probes sent to last byte of response received, or terminal error",
    "the app's health is probed over gRPC",
)  # fmt: skip

STATE: Final = Family(
    "dapr_component_state_count", "counter", (*_COMPONENT, "operation", "success"), "operations",
    "The number of operations performed on the state component.", "an app uses a state store",
)  # fmt: skip
STATE_LATENCY: Final = Family(
    "dapr_component_state_latencies", "histogram", (*_COMPONENT, "operation", "success"), MS,
    "The latency of the response from the state component.", "an app uses a state store",
)  # fmt: skip
PUBLISHED: Final = Family(
    "dapr_component_pubsub_egress_count", "counter", (*_TOPIC, "success"), "events",
    "The number of outgoing messages published to the pub/sub component.", "an app publishes",
)  # fmt: skip
PUBLISH_LATENCY: Final = Family(
    "dapr_component_pubsub_egress_latencies", "histogram", (*_TOPIC, "success"), MS,
    "The latency of the response from the pub/sub component.", "an app publishes",
)  # fmt: skip
BULK_PUBLISHED: Final = Family(
    "dapr_component_pubsub_egress_bulk_count", "counter", (*_TOPIC, "success"), "calls",
    "The number of bulk publish calls to the pub/sub component.", "an app publishes in bulk",
)  # fmt: skip
BULK_PUBLISH_LATENCY: Final = Family(
    "dapr_component_pubsub_egress_bulk_latencies", "histogram", (*_TOPIC, "success"), MS,
    "The latency of the response for the bulk publish call from the pub/sub component.",
    "an app publishes in bulk",
)  # fmt: skip
RECEIVED: Final = Family(
    "dapr_component_pubsub_ingress_count", "counter", (*_TOPIC, "process_status", "status"), "events",
    "The number of incoming messages arriving from the pub/sub component.", "an event is delivered, or is not",
)  # fmt: skip
RECEIVED_LATENCY: Final = Family(
    "dapr_component_pubsub_ingress_latencies", "histogram", (*_TOPIC, "process_status", "status"), MS,
    "The consuming app event processing latency.", "an event is delivered, or is not",
)  # fmt: skip
BULK_RECEIVED: Final = Family(
    "dapr_component_pubsub_ingress_bulk_count", "counter", (*_TOPIC, "process_status"), "batches",
    "The number of incoming bulk subscribe calls arriving from the bulk pub/sub component.",
    "a batch is delivered",
)  # fmt: skip
BULK_EVENTS: Final = Family(
    "dapr_component_pubsub_ingress_bulk_event_count", "counter", (*_TOPIC, "process_status"), "events",
    "Total number of incoming messages arriving from the bulk pub/sub component via Bulk Subscribe.",
    "a batch is delivered",
)  # fmt: skip
BULK_RECEIVED_LATENCY: Final = Family(
    "dapr_component_pubsub_ingress_bulk_latencies", "histogram", (*_TOPIC, "process_status"), MS,
    "The consuming app event processing latency for the bulk pub/sub component.",
    "a batch is delivered",
)  # fmt: skip

REQUESTS_SENT: Final = Family(
    "dapr_runtime_service_invocation_req_sent_total", "counter", ("dst_app_id", "type"), "requests",
    "The number of requests sent via service invocation.", "the app invokes another",
)  # fmt: skip
REQUESTS_RECEIVED: Final = Family(
    "dapr_runtime_service_invocation_req_recv_total", "counter", ("src_app_id",), "requests",
    "The number of requests received via service invocation.", "another app invokes it",
)  # fmt: skip
RESPONSES_SENT: Final = Family(
    "dapr_runtime_service_invocation_res_sent_total", "counter", ("dst_app_id", "status"), "responses",
    "The number of responses sent via service invocation.", "it answers another app",
)  # fmt: skip
RESPONSES_RECEIVED: Final = Family(
    "dapr_runtime_service_invocation_res_recv_total", "counter", ("src_app_id", "status", "type"), "responses",
    "The number of responses received via service invocation.", "another app answers it",
)  # fmt: skip
RESPONSE_LATENCY: Final = Family(
    "dapr_runtime_service_invocation_res_recv_latency_ms", "histogram", ("src_app_id", "status"), MS,
    "The latency of service invocation response.", "another app answers it",
)  # fmt: skip

LOADED: Final = Family(
    "dapr_runtime_component_loaded", "counter", (), "components",
    "The number of successfully loaded components.", "always",
)  # fmt: skip
INITIALIZED: Final = Family(
    "dapr_runtime_component_init_total", "counter", ("component",), "components",
    "The number of initialized components.", "a component of that type is open",
)  # fmt: skip
FAILED: Final = Family(
    "dapr_runtime_component_init_fail_total", "counter", ("component", "componentName", "reason"), "components",
    "The number of component initialization failures.", "a component does not open",
)  # fmt: skip

DAPR: Final = tuple(each for each in tuple(globals().values()) if isinstance(each, Family))
"""All of them, in the order they are served."""
