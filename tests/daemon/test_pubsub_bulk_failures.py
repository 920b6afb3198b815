"""Bulk publish to a broker that takes some events and refuses others: the in-memory one, closed while it publishes.

The answers are those of daprd 1.18.0 before a pluggable broker that refused one event of three; its own in-memory
broker refuses none while it is open, and neither does ours (components/pubsub/in_memory.py, _Group.offer).
"""

import asyncio
import json
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest
from google.protobuf.json_format import MessageToDict
from google.rpc.status_pb2 import Status

from components.completion import Completion
from noded.api.pieces import ITEMS
from noded.api.pubsub_bulk import publish_bulk_http
from noded.api.pubsub_grpc import publish_bulk_grpc
from noded.calls import GrpcCall, HttpCall
from noded.errors import ApiError, Grpc
from noded.proto.pubsub_pb2 import BulkPublishRequest, BulkPublishRequestEntry
from noded.status import status_details
from tests.daemon.pubsub_node import next_pass
from tests.daemon.test_pubsub_publish import Publisher

T = TypeVar("T")
IDS = [str(number) for number in range(ITEMS + 2)]
FAILED = IDS[ITEMS:]
"""Those that are not published at one go with the first."""
TOLD = "error when publishing to topic orders in pubsub pubsub: component is closed"


@pytest.fixture
def publisher(tmp_path: Path) -> Publisher:
    return Publisher(tmp_path)


def closed_midway(publisher: Publisher, publishing: Coroutine[Any, Any, T]) -> T:
    """Run it, with the broker closed as soon as that has events."""
    publisher.app.next_turn = next_pass

    async def main() -> T:
        try:
            while True:
                waits_for = publishing.send(None)
                assert isinstance(waits_for, Completion)
                if publisher.kept:
                    await publisher.broker.aclose()
                done = asyncio.Event()
                waits_for.on_done(done.set)
                await done.wait()
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]

    return asyncio.run(main())


def test_over_http_the_failed_entries_are_named(publisher: Publisher) -> None:
    """500 with the ids and errors of those alone, in the body and in headers; the others were published."""
    body = json.dumps([{"entryId": each, "event": each, "contentType": "text/plain"} for each in IDS])
    call = HttpCall(publisher.app, b"POST", b"", b"", (), body.encode(), None)  # type: ignore[arg-type]
    call.params = ("pubsub", "orders")
    reply = closed_midway(publisher, publish_bulk_http(call))

    assert (reply.status, reply.content_type) == (500, b"application/json")
    assert json.loads(reply.body) == {
        "failedEntries": [{"entryId": each, "error": "component is closed"} for each in FAILED],
        "errorCode": "ERR_PUBSUB_PUBLISH_MESSAGE",
    }
    assert dict(reply.headers) == {
        b"metadata.error": f"api error: code = Internal desc = {TOLD}".encode(),
        b"metadata.responsedata": reply.body,
    }
    assert [event["data"] for event in publisher.events] == IDS[:ITEMS]


def test_over_grpc_the_call_fails_and_names_none(publisher: Publisher) -> None:
    """INTERNAL with the first error and its details; daprd has no answer to list the failed entries in."""
    entries = [BulkPublishRequestEntry(entry_id=each, event=each.encode(), content_type="text/plain") for each in IDS]
    request = BulkPublishRequest(pubsub_name="pubsub", topic="orders", entries=entries)
    with pytest.raises(ApiError) as caught:
        closed_midway(publisher, publish_bulk_grpc(GrpcCall(publisher.app, (), None), request))

    assert (caught.value.grpc, caught.value.message) == (Grpc.INTERNAL, TOLD)
    told = Status.FromString(status_details(caught.value) or b"")
    assert [MessageToDict(each) for each in told.details] == [
        {
            "@type": "type.googleapis.com/google.rpc.ResourceInfo",
            "resourceType": "pubsub",
            "resourceName": "pubsub",
            "description": TOLD,
        },
        {
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": "DAPR_PUBSUB_PUBLISH_MESSAGE",
            "domain": "dapr.io",
            "metadata": {"topic": "orders", "error": "component is closed"},
        },
    ]
    assert len(publisher.events) == ITEMS
