"""Be an app and its client through the official Python SDK, as its documentation shows; print one JSON line per case.

A program of its own, as python_program.py is. APP_PROTOCOL says which of the SDK's servers it is: its Flask extension,
or its gRPC extension; APP_ID and APP_PORT say who and where.
"""

# mypy: allow-untyped-calls, allow-untyped-decorators, allow-subclassing-any

import json
import os
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.request import Request, urlopen

import grpc
from dapr.clients import DaprClient
from dapr.clients.grpc._request import BulkPublishEntry
from dapr.clients.grpc._response import TopicEventResponse
from dapr.ext.flask import DaprApp
from dapr.ext.grpc import App, InvokeMethodRequest, InvokeMethodResponse, Rule, SubscriptionMessage
from flask import Flask, request

PUBSUB = "pubsub"
APP_ID = os.environ["APP_ID"]
APP_PORT = int(os.environ["APP_PORT"])
GRPC = os.environ["APP_PROTOCOL"] == "grpc"
RUN = f"{APP_ID}-{os.getpid()}"
SECONDS = 20
received: "queue.Queue[tuple[str, object]]" = queue.Queue()
seen: set[tuple[str, object]] = set()
"""Events of batches."""
batches: list[int] = []
"""How many events each had."""


# What the app serves.


def judged(topic_name: str, content: object) -> str:
    """What the app answers for one event of a batch; "once" is taken the second time it comes."""
    first = (topic_name, content) not in seen
    seen.add((topic_name, content))
    received.put((topic_name, content))
    return {"bad": "DROP", "later": "RETRY", "once": "RETRY" if first else "SUCCESS"}.get(str(content), "SUCCESS")


def flask_app() -> Flask:
    app = Flask("sdk")
    dapr = DaprApp(app)
    dead = f"{RUN}-dead"

    def keep(name: str, status: str, topic: str = "", **options: Any) -> None:
        def handler() -> dict[str, str]:
            event = request.get_json(force=True)
            received.put((name, event.get("data", event.get("data_base64"))))
            return {"status": status}

        dapr.subscribe(pubsub=PUBSUB, topic=topic or f"{RUN}-{name}", route=f"/{name}", **options)(handler)

    keep("plain", "SUCCESS")
    keep("dropped", "DROP", dead_letter_topic=dead)
    keep("retried", "RETRY", dead_letter_topic=dead)
    keep("dead", "SUCCESS")
    keep("raw", "SUCCESS", metadata={"rawPayload": "true"})
    keep("letter", "SUCCESS", f"{APP_ID}-bulk-dead")

    @app.post("/<any(bulk, again):name>")
    def batch(name: str) -> dict[str, object]:
        entries = request.get_json(force=True)["entries"]
        batches.append(len(entries))
        return {
            "statuses": [
                {"entryId": entry["entryId"], "status": judged(name, entry["event"]["data"])} for entry in entries
            ]
        }

    @app.post("/greet")
    def greet() -> dict[str, str]:
        return {"body": request.get_data(as_text=True), "query": request.query_string.decode()}

    return app


class Batches(grpc.ServerInterceptor):  # type: ignore[type-arg]  # its arguments are mypy's alone
    """Notes how many events each bulk call brings: the SDK hands them to the topic's handler one by one."""

    def intercept_service(self, continuation: Any, details: Any) -> Any:
        handler = continuation(details)
        if not details.method.endswith("/OnBulkTopicEvent"):
            return handler

        def noted(asked: Any, context: Any) -> Any:
            batches.append(len(asked.entries))
            return handler.unary_unary(asked, context)

        return grpc.unary_unary_rpc_method_handler(noted, handler.request_deserializer, handler.response_serializer)


def grpc_app() -> App:
    app = App(thread_pool=ThreadPoolExecutor(10), interceptors=[Batches()])
    dead = f"{RUN}-dead"

    def keep(name: str, status: str, topic: str = "", **options: Any) -> None:
        def handler(event: SubscriptionMessage) -> TopicEventResponse:
            received.put((name, event.raw_data() if event.data() is None else event.data()))
            return TopicEventResponse(status)

        handler.__name__ = name  # the SDK makes a rule's path of it
        app.subscribe(PUBSUB, topic or f"{RUN}-{name}", **options)(handler)

    keep("plain", "success")
    keep("red", "success", f"{RUN}-ruled", rule=Rule('event.type == "red"', 1))
    keep("other", "success", f"{RUN}-ruled", rule=Rule("true", 2))
    keep("dropped", "drop", dead_letter_topic=dead)
    keep("retried", "retry", dead_letter_topic=dead)
    keep("dead", "success")
    keep("raw", "success", metadata={"rawPayload": "true"})
    keep("letter", "success", f"{APP_ID}-bulk-dead")

    def batched(name: str) -> None:
        def handler(event: SubscriptionMessage) -> TopicEventResponse:
            return TopicEventResponse(judged(name, event.data()).lower())

        handler.__name__ = f"/{name}"  # the SDK finds a rule's handler by its path, whatever the topic
        app.subscribe(PUBSUB, f"{RUN}-ruled", rule=Rule("false", 3))(handler)

    batched("bulk")
    batched("again")

    @app.method("greet")
    def greet(asked: InvokeMethodRequest) -> InvokeMethodResponse:
        return InvokeMethodResponse(json.dumps({"body": asked.text(), "query": ""}), "application/json")

    return app


def serve() -> None:
    if GRPC:
        grpc_app().run(APP_PORT, "127.0.0.1")
    else:
        flask_app().run("127.0.0.1", APP_PORT, threaded=True)


def arrives(*expected: tuple[str, object]) -> None:
    found: list[tuple[str, object]] = []
    deadline = time.monotonic() + SECONDS
    while len(found) < len(expected):
        try:
            found.append(received.get(timeout=max(0, deadline - time.monotonic())))
        except queue.Empty:
            raise AssertionError(f"only {found} came") from None
    assert sorted(found, key=str) == sorted(expected, key=str), found


def came_in_bulk(count: int) -> None:
    told = batches[:]
    batches.clear()
    assert sum(told) == count, told
    assert max(told) > 1, told


def subscribed(client: DaprClient, count: int) -> None:
    headers = {"dapr-api-token": os.environ["DAPR_API_TOKEN"]}
    asked = Request(os.environ["DAPR_HTTP_ENDPOINT"] + "/v1.0/metadata", headers=headers)
    deadline = time.monotonic() + SECONDS
    while True:
        with urlopen(asked) as answer:
            told = json.load(answer).get("subscriptions") or []
        if len([each for each in told if each["topic"].startswith(RUN)]) == count:
            return
        assert time.monotonic() < deadline, told
        time.sleep(0.02)


def publish(client: DaprClient, name: str, content: str, kind: str = "application/json", **metadata: str) -> None:
    client.publish_event(PUBSUB, f"{RUN}-{name}", content, data_content_type=kind, publish_metadata=metadata)


def topic(client: DaprClient) -> None:
    publish(client, "plain", '{"n": 1}')
    publish(client, "plain", "text", "text/plain")
    arrives(("plain", {"n": 1}), ("plain", "text"))


def topic_of_a_cloud_event(client: DaprClient) -> None:
    event = {"specversion": "1.0", "id": "1", "type": "mine", "source": "me", "datacontenttype": "application/json"}
    publish(client, "plain", json.dumps({**event, "data": {"n": 2}}), "application/cloudevents+json")
    arrives(("plain", {"n": 2}))


def topics_by_rule(client: DaprClient) -> None:
    publish(client, "ruled", "1", **{"cloudevent.type": "red"})
    publish(client, "ruled", "2")
    arrives(("red", 1), ("other", 2))


def drop_to_dead_letter(client: DaprClient) -> None:
    publish(client, "dropped", '{"n": 3}')
    arrives(("dropped", {"n": 3}), ("dead", {"n": 3}))


def retry_to_dead_letter(client: DaprClient) -> None:
    publish(client, "retried", '{"n": 4}')
    arrives(("retried", {"n": 4}), ("dead", {"n": 4}))


def raw_payload(client: DaprClient) -> None:
    publish(client, "raw", "octets", "text/plain", rawPayload="true")
    arrives(("raw", b"octets" if GRPC else "b2N0ZXRz"))


def bulk_publish(client: DaprClient) -> None:
    entries = [
        BulkPublishEntry(event='{"n": 5}', content_type="application/json"),
        BulkPublishEntry(event="six", content_type="text/plain"),
    ]
    answer = client.publish_events(PUBSUB, f"{RUN}-plain", entries)
    assert not answer.failed_entries
    arrives(("plain", {"n": 5}), ("plain", "six"))


def bulk_subscription(client: DaprClient) -> None:
    client.publish_events(PUBSUB, f"{APP_ID}-bulk", ["good", "later", "bad"], data_content_type="text/plain")
    events = [("bulk", "good"), ("bulk", "later"), ("bulk", "bad")]
    arrives(*events, ("letter", "later"), ("letter", "bad"))
    came_in_bulk(3)


def bulk_subscription_with_retry(client: DaprClient) -> None:
    client.publish_events(PUBSUB, f"{APP_ID}-again", ["good", "once", "bad"], data_content_type="text/plain")
    events = [("again", "good"), ("again", "once"), ("again", "bad")]
    arrives(*events, ("again", "once"))
    came_in_bulk(4)


def stream_with_dead_letter(client: DaprClient) -> None:
    topic_name = f"{RUN}-stream"

    def handle(message: Any) -> TopicEventResponse:
        received.put(("stream", message.data()))
        return TopicEventResponse("drop")

    close = client.subscribe_with_handler(PUBSUB, topic_name, handle, dead_letter_topic=f"{RUN}-dead")
    publish(client, "stream", '{"n": 7}')
    arrives(("stream", {"n": 7}), ("dead", {"n": 7}))
    close()


def invoke_itself(client: DaprClient) -> None:
    query = () if GRPC else (("a", "1"),)
    answer = client.invoke_method(
        APP_ID, "greet", data="hello", http_verb="POST", content_type="text/plain", http_querystring=query
    )
    assert json.loads(answer.data) == {"body": "hello", "query": "" if GRPC else "a=1"}


CASES: tuple[Callable[[DaprClient], None], ...] = (
    topic,
    topic_of_a_cloud_event,
    topics_by_rule,
    drop_to_dead_letter,
    retry_to_dead_letter,
    raw_payload,
    bulk_publish,
    bulk_subscription,
    bulk_subscription_with_retry,
    stream_with_dead_letter,
    invoke_itself,
)


def main() -> None:
    threading.Thread(target=serve, daemon=True).start()
    with DaprClient() as client:
        subscribed(client, 6 if GRPC else 5)
        for case in CASES:
            if case is topics_by_rule and not GRPC:
                continue  # the Flask extension has no rules
            failure = ""
            try:
                case(client)
            except Exception:  # noqa: BLE001
                failure = traceback.format_exc()
            sys.stdout.write(json.dumps({"case": case.__name__, "failure": failure}) + "\n")
            sys.stdout.flush()
    os._exit(0)  # the servers' threads have nothing left to do


if __name__ == "__main__":
    main()
