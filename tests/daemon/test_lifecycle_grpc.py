"""The life of an app that speaks gRPC, at a real daemon: probed by HealthCheck; unwell, it is refused and rests."""

import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message

from noded.proto import appcallback_pb2, common_pb2, events_pb2, invoke_pb2
from tests.daemon.server_clients import PUBSUB, GrpcClient, app, eventually, grpc_client, http, resources
from tests.daemon_process import running_daemon

UNHEALTHY = "rpc error: code = Internal desc = app is not in a healthy state"
HEALTH: dict[str, Any] = {
    "enableAppHealthCheck": True,
    "appHealthProbeInterval": "200ms",
    "appHealthProbeTimeout": "200ms",
}
TOPIC = appcallback_pb2.TopicSubscription(pubsub_name="pubsub", topic="orders")
ANSWERS: dict[str, Message] = {
    "ListTopicSubscriptions": appcallback_pb2.ListTopicSubscriptionsResponse(subscriptions=[TOPIC]),
    "OnInvoke": common_pb2.InvokeResponse(),
}


class ProbedApp(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # only its stubs are generic
    """Well while `well`; every method is answered, and noted in `called`."""

    def __init__(self) -> None:
        self.well = False
        self.called: list[str] = []
        self.events: list[bytes] = []

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        name = handler_call_details.method.rpartition("/")[2]

        def answer(request: bytes, context: grpc.ServicerContext) -> bytes:
            self.called.append(name)
            if name == "HealthCheck" and not self.well:
                context.abort(grpc.StatusCode.UNAVAILABLE, "unwell")
            if name == "OnTopicEvent":
                self.events.append(events_pb2.TopicEventRequest.FromString(request).data)
            return ANSWERS.get(name, Empty()).SerializeToString()

        return grpc.unary_unary_rpc_method_handler(answer)

    def probes(self) -> int:
        return self.called.count("HealthCheck")


@contextmanager
def probed_app() -> Iterator[tuple[ProbedApp, dict[str, str]]]:
    """The app, and the App resource's channel to it."""
    with tempfile.TemporaryDirectory(prefix="app-") as directory:
        path = Path(directory) / "s"
        served = ProbedApp()
        server = grpc.server(ThreadPoolExecutor(8))
        server.add_generic_rpc_handlers((served,))
        server.add_insecure_port(f"unix:{path}")
        server.start()
        yield served, {"protocol": "grpc", "address": f"unix:{path}"}
        server.stop(None).wait()


def invoked(client: GrpcClient) -> str:
    """What InvokeService comes to: "" or the code and the error."""
    asked = invoke_pb2.InvokeServiceRequest(id="app")
    asked.message.method = "hello"
    try:
        client("InvokeService", asked)
    except grpc.RpcError as error:
        return f"{error.code().name} {error.details()}"
    return ""


def test_a_grpc_app_is_probed_refused_and_rests_as_an_http_app_does() -> None:
    """Asked for its topics once it is well; unwell, only gRPC calls proxied to its services go through."""
    with probed_app() as (served, channel):
        described = resources(PUBSUB, app("app", channel=channel, **HEALTH), app("other"))
        with (
            running_daemon(described, {"app": "default", "other": "default"}) as daemon,
            grpc_client(daemon, "app") as mine,
            grpc_client(daemon, "other") as others,
            http(daemon, "other") as by_http,
        ):
            eventually(lambda: served.probes() > 2)
            assert set(served.called) == {"HealthCheck"}
            assert invoked(mine) == f"INTERNAL failed to invoke, id: app, err: {UNHEALTHY}"
            told = f"rpc error: code = Internal desc = error invoking app channel: {UNHEALTHY}"
            assert invoked(others) == f"INTERNAL failed to invoke, id: app, err: {told}"
            refused = by_http("GET", "/v1.0/invoke/app/method/hello")
            assert (refused.status, refused.json["message"]) == (500, f"failed to invoke, id: app, err: {told}")
            assert others("/own.Service/Method", Empty(), metadata=(("dapr-app-id", "app"),)) == Empty()

            served.well = True
            eventually(lambda: mine("GetMetadata", Empty()).subscriptions)  # type: ignore[attr-defined]
            assert served.called.count("ListTopicSubscriptions") == 1
            assert invoked(others) == ""
            health = mine("GetMetadata", Empty()).app_connection_properties.health  # type: ignore[attr-defined]
            assert (health.health_probe_interval, health.health_threshold) == ("200ms", 3)
            assert health.health_check_path == ""

            served.well = False
            eventually(lambda: invoked(others) != "")
            sent = by_http("POST", "/v1.0/publish/pubsub/orders", 1, {"content-type": "application/json"})
            assert sent.status == 204
            before = served.probes()
            eventually(lambda: served.probes() > before + 1)
            assert served.events == []
            served.well = True
            eventually(lambda: served.events)
            assert served.events == [b"1"]
            assert served.called.count("ListTopicSubscriptions") == 1
