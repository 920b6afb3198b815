"""Use a runtime through the official Python SDK, as its documentation shows; print one JSON line per case.

A program of its own: the SDK's message code and noded's claim the same protobuf names. Where the runtime is comes from
the SDK's own environment variables; the argument makes keys and topics unlike those of another run.
"""

# mypy: allow-untyped-calls

import json
import sys
import time
import traceback
import uuid
from collections.abc import Callable
from typing import Any

import grpc
from dapr.clients import DaprClient
from dapr.clients.grpc._request import TransactionalStateOperation, TransactionOperationType
from dapr.clients.grpc._response import TopicEventResponse
from dapr.clients.grpc._state import Concurrency, Consistency, StateItem, StateOptions

STORE = "statemem"
PUBSUB = "pubsub"
RUN = uuid.uuid4().hex[:8]


def state(client: DaprClient) -> None:
    key = f"{RUN}-state"
    client.save_state(STORE, key, '{"a":1}', state_metadata={"contentType": "application/json"})
    assert client.get_state(STORE, key).json() == {"a": 1}
    client.delete_state(STORE, key)
    assert client.get_state(STORE, key).data == b""


def etag(client: DaprClient) -> None:
    key = f"{RUN}-etag"
    first_write = StateOptions(consistency=Consistency.strong, concurrency=Concurrency.first_write)
    client.save_state(STORE, key, "1")
    held = client.get_state(STORE, key).etag
    client.save_state(STORE, key, "2", etag=held, options=first_write)
    error = refused(lambda: client.save_state(STORE, key, "3", etag=held, options=first_write))
    assert error.code().name == "ABORTED", error
    assert error.get_grpc_status().code == 10
    assert client.get_state(STORE, key).data == b"2"


def transaction(client: DaprClient) -> None:
    one, two = f"{RUN}-one", f"{RUN}-two"
    client.save_state(STORE, two, "old")
    client.execute_state_transaction(
        STORE,
        [
            TransactionalStateOperation(one, "new"),
            TransactionalStateOperation(two, operation_type=TransactionOperationType.delete),
        ],
    )
    assert client.get_state(STORE, one).data == b"new"
    assert client.get_state(STORE, two).data == b""


def bulk(client: DaprClient) -> None:
    keys = [f"{RUN}-bulk-{number}" for number in range(5)]
    client.save_bulk_state(STORE, [StateItem(key, f"v{key}") for key in keys])
    found = {item.key: item.data for item in client.get_bulk_state(STORE, [*keys, f"{RUN}-none"], parallelism=2).items}
    assert found == {**{key: f"v{key}".encode() for key in keys}, f"{RUN}-none": b""}


def unknown_store(client: DaprClient) -> None:
    error = refused(lambda: client.get_state("nostore", "k"))
    assert error.code().name == "INVALID_ARGUMENT"
    assert error.error_code() == "DAPR_STATE_NOT_FOUND", error.error_code()


def publish_and_stream(client: DaprClient) -> None:
    topic = f"{RUN}-stream"
    subscription = client.subscribe(PUBSUB, topic)
    sent = [{"number": number} for number in range(10)]
    for event in sent:
        client.publish_event(PUBSUB, topic, json.dumps(event), data_content_type="application/json")
    received = []
    for message in subscription:
        assert message is not None
        assert message.topic() == topic
        received.append(message.data())
        subscription.respond_success(message)
        if len(received) == len(sent):
            break
    subscription.close()
    assert sorted(received, key=lambda event: event["number"]) == sent


def publish_to_handler(client: DaprClient) -> None:
    topic = f"{RUN}-handler"
    answers = ["first", "second"]
    done = []

    def handle(message: object) -> TopicEventResponse:
        done.append(message.data())  # type: ignore[attr-defined]
        return TopicEventResponse("success")

    close = client.subscribe_with_handler(PUBSUB, topic, handle)
    for answer in answers:
        client.publish_event(PUBSUB, topic, answer, data_content_type="text/plain")
    wait_for(lambda: len(done) == len(answers))
    close()
    assert sorted(done) == answers


def bulk_publish(client: DaprClient) -> None:
    topic = f"{RUN}-bulk"
    subscription = client.subscribe(PUBSUB, topic)
    response = client.publish_events(PUBSUB, topic, ["one", "two"], data_content_type="text/plain")
    assert not response.failed_entries
    received = set()
    for message in subscription:
        received.add(message.data())
        subscription.respond_success(message)
        if len(received) == 2:
            break
    subscription.close()
    assert received == {"one", "two"}


def invoke(client: DaprClient) -> None:
    response = client.invoke_method("kitapp", "echo/there", data="hello", http_verb="POST", content_type="text/plain")
    assert response.content_type == "application/json"
    seen = json.loads(response.data)
    assert (seen["method"], seen["path"], seen["body"]) == ("POST", "/echo/there", "hello")


def invoke_a_missing_method(client: DaprClient) -> None:
    error = refused(lambda: client.invoke_method("kitapp", "status/404", http_verb="GET"))
    assert error.code().name == "NOT_FOUND", error


def metadata(client: DaprClient) -> None:
    client.set_metadata("from-python", "yes")
    told = client.get_metadata()
    assert told.application_id == "kitapp"
    assert told.extended_metadata["from-python"] == "yes"
    assert STORE in {component.name for component in told.registered_components}


CASES: tuple[Callable[[DaprClient], None], ...] = (
    state,
    etag,
    transaction,
    bulk,
    unknown_store,
    publish_and_stream,
    publish_to_handler,
    bulk_publish,
    invoke,
    invoke_a_missing_method,
    metadata,
)


def refused(call: Callable[[], object]) -> Any:
    try:
        call()
    except grpc.RpcError as error:
        return error
    raise AssertionError("the call was not refused")


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "the events did not come"
        time.sleep(0.01)


def main() -> None:
    with DaprClient() as client:
        for case in CASES:
            failure = ""
            try:
                case(client)
            except Exception:  # noqa: BLE001
                failure = traceback.format_exc()
            sys.stdout.write(json.dumps({"case": case.__name__, "failure": failure}) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
