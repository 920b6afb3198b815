"""Bulk publish: what becomes of each entry, what fails the whole request, and that a large one delays nobody."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from components.completion import Completion
from components.contract import Message, TopicName, Unavailable
from noded.api.pieces import ITEMS
from noded.api.pubsub import Publication
from noded.api.pubsub_bulk import Entry, publish_bulk, publish_bulk_http
from noded.api.pubsub_grpc import publish_bulk_grpc
from noded.calls import GrpcCall, HttpCall, Reply
from noded.errors import ApiError, Grpc
from noded.lanes import in_trio
from noded.proto.pubsub_pb2 import BulkPublishRequest, BulkPublishRequestEntry
from tests.daemon.pubsub_node import ORDERS, PubSubNode, inline, next_pass, with_node
from tests.daemon.test_pubsub_publish import Publisher

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def publisher(tmp_path: Path) -> Publisher:
    return Publisher(tmp_path)


def http(publisher: Publisher, body: object, topic: str = "orders", query: bytes = b"", **more: object) -> Reply:
    """Publish in bulk over HTTP."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = ((b"traceparent", TRACE.encode()), (b"content-type", b"text/plain"))
    call = HttpCall(publisher.app, b"POST", b"", query, headers, data, None)  # type: ignore[arg-type]
    call.params = ("pubsub", topic)
    call.too_large = bool(more.get("too_large"))
    return inline(publish_bulk_http(call))


def entry(event: object = "x", content_type: str = "text/plain", **more: object) -> dict[str, object]:
    return {"entryId": "1", "event": event, "contentType": content_type, **more}


def refused(publisher: Publisher, body: object) -> ApiError:
    with pytest.raises(ApiError) as error:
        http(publisher, body)
    assert publisher.kept == []
    return error.value


@pytest.mark.parametrize(
    ("event", "content_type", "data"),
    [
        ("text", "text/plain", {"data": "text"}),
        ("<a/>", "application/xml; charset=x", {"data": "<a/>"}),
        ({"a": [1]}, "application/json", {"data": {"a": [1]}}),
        (None, "application/json", {"data": None}),
        ("aGk=", "application/octet-stream", {"data_base64": "aGk="}),
        ("", "text/plain", {"data": ""}),
    ],
)
def test_an_event_by_its_content_type(
    publisher: Publisher, event: object, content_type: str, data: Mapping[str, object]
) -> None:
    """Each entry is wrapped as its own content type asks; the request's type and body say nothing of them."""
    assert http(publisher, [entry(event, content_type)]).status == 204

    (carried,) = publisher.events
    assert carried | data == carried
    assert (carried["datacontenttype"], carried["source"], carried["traceparent"]) == (content_type, "app", TRACE)


def test_numbers_keep_their_digits(publisher: Publisher) -> None:
    """JSON goes into the envelope as it came."""
    http(publisher, b'[{"entryId":"1","event":9007199254740993.10,"contentType":"application/json"}]')

    assert b'"data":9007199254740993.10' in publisher.kept[0].message.data


def test_entries_keep_their_order(publisher: Publisher) -> None:
    """What one request holds is published in its order."""
    http(publisher, [entry(number, "application/json", entryId=str(number)) for number in range(ITEMS - 1)])

    assert [event["data"] for event in publisher.events] == list(range(ITEMS - 1))


def test_metadata_of_entries_and_requests(publisher: Publisher) -> None:
    """An entry's metadata beats the request's, which only entries that have metadata are given."""
    both = [entry(metadata={"cloudevent.id": "mine"}), entry(entryId="2", metadata={}), entry(entryId="3")]
    http(publisher, both, query=b"metadata.cloudevent.id=all&metadata.k=v")

    ids = [event["id"] for event in publisher.events]
    assert ids[:2] == ["mine", "all"]
    assert ids[2] != "all"
    assert [kept.message.metadata.get("k") for kept in publisher.kept] == ["v", "v", None]


def test_a_time_to_live_is_an_entry_s_own(publisher: Publisher) -> None:
    """A ttlInSeconds becomes the expiration of the event that says so."""
    http(publisher, [entry(metadata={"ttlInSeconds": "10"}), entry(entryId="2")])

    assert ["expiration" in event for event in publisher.events] == [True, False]


def test_raw_payload(publisher: Publisher) -> None:
    """With rawPayload on the request no event gets an envelope; on an entry alone it means nothing."""
    http(publisher, [entry("plain")], query=b"metadata.rawPayload=true")
    http(publisher, [entry("wrapped", metadata={"rawPayload": "true"})])

    assert publisher.kept[0].message.data == b"plain"
    assert json.loads(publisher.kept[1].message.data)["data"] == "wrapped"


@pytest.mark.parametrize("body", [b"[]", b"null", b" [] trailing"])
def test_nothing_to_publish(publisher: Publisher, body: bytes) -> None:
    """An empty list is done at once."""
    assert http(publisher, body).status == 204


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b"[1]", b'["a"]', b'[{"entryId":1}]', b'[{"entryId":"1","metadata":{"a":1}}]', b"[", b"[" * 100_000],
)
def test_a_body_that_is_no_list_of_entries(publisher: Publisher, body: bytes) -> None:
    """400, and nothing is published."""
    error = refused(publisher, body)

    assert (error.row.reason, error.http, error.grpc) == ("DAPR_PUBSUB_UNMARSHAL_EVENTS", 400, Grpc.INVALID_ARGUMENT)


def test_a_body_over_the_limit(publisher: Publisher) -> None:
    """It cannot be read whole: 400, as any body that cannot be read."""
    with pytest.raises(ApiError, match="pubsub pubsub: stream too large"):
        http(publisher, b"", too_large=True)


@pytest.mark.parametrize(
    "wrong",
    [
        entry(1),
        entry({"a": 1}),
        entry("!", "application/octet-stream"),
        entry("aGk", "application/octet-stream"),
        entry(5, "application/octet-stream"),
        entry("x", "image/png"),
        entry("x", ""),
        {"entryId": "1"},
    ],
)
def test_an_event_that_is_not_what_its_type_says(publisher: Publisher, wrong: object) -> None:
    """One wrong entry fails the request before anything is published."""
    error = refused(publisher, [entry(entryId="0"), wrong])

    assert (error.row.reason, error.http) == ("DAPR_PUBSUB_MARSHAL_ENVELOPE", 400)


@pytest.mark.parametrize("ids", [["1", "1"], [""], ["1", ""], ["1", "2", "1"]])
def test_entry_ids(publisher: Publisher, ids: Sequence[str]) -> None:
    """Every entry has an id of its own, so that a failure can name it."""
    error = refused(publisher, [entry(entryId=each) for each in ids])

    assert (error.row.reason, error.http) == ("DAPR_PUBSUB_MARSHAL_EVENTS", 400)


def test_a_cloud_event_that_is_none(publisher: Publisher) -> None:
    """500, and nothing is published, the entries before it included."""
    error = refused(publisher, [entry(), entry(1, "application/cloudevents+json", entryId="2")])

    assert (error.row.reason, error.http) == ("DAPR_PUBSUB_CLOUD_EVENT_CREATION", 500)


def test_names_are_read_in_any_case(publisher: Publisher) -> None:
    """As Go's decoder does; members it does not know are ignored."""
    http(
        publisher,
        [{"ENTRYID": "1", "Event": "x", "contenttype": "text/plain", "MetaData": {"cloudevent.id": "i"}, "o": 1}],
    )

    assert [(event["id"], event["data"]) for event in publisher.events] == [("i", "x")]


def test_topic_scopes(tmp_path: Path) -> None:
    """A topic that the app may not publish to is refused as a whole."""
    error = refused(Publisher(tmp_path, {"publishingScopes": "app=other"}), [entry()])

    assert (error.row.code, error.http, error.grpc) == ("ERR_PUBSUB_FORBIDDEN", 403, Grpc.PERMISSION_DENIED)


def break_broker(publisher: Publisher, monkeypatch: pytest.MonkeyPatch, poison: bytes) -> None:
    """Let the broker refuse messages that contain `poison`."""
    publish = type(publisher.broker).publish

    async def refuse(self: Any, topic: TopicName, message: Message) -> None:
        if poison in message.data:
            raise Unavailable("disk\nfull")
        await publish(self, topic, message)

    monkeypatch.setattr(type(publisher.broker), "publish", refuse)


def test_entries_that_fail_are_named(publisher: Publisher, monkeypatch: pytest.MonkeyPatch) -> None:
    """500 with the failed entries; the others were published. Headers repeat it, on one line each."""
    break_broker(publisher, monkeypatch, b"wrong")
    reply = http(publisher, [entry("good"), entry("wrong", entryId="2")])

    assert (reply.status, json.loads(reply.body)) == (
        500,
        {"failedEntries": [{"entryId": "2", "error": "disk\nfull"}], "errorCode": "ERR_PUBSUB_PUBLISH_MESSAGE"},
    )
    assert [event["data"] for event in publisher.events] == ["good"]
    headers = dict(reply.headers)
    assert headers[b"metadata.responsedata"] == reply.body
    assert headers[b"metadata.error"].startswith(
        b"api error: code = Internal desc = error when publishing to topic orders"
    )
    assert not any(b"\n" in value or b"\r" in value for value in headers.values())


def test_a_long_list_of_failures_is_in_the_body_only(publisher: Publisher, monkeypatch: pytest.MonkeyPatch) -> None:
    """A header longer than clients take would cost them the whole answer."""
    break_broker(publisher, monkeypatch, b"x")
    reply = http(publisher, [entry(entryId=f"{number:0500}") for number in range(20)])

    assert len(json.loads(reply.body)["failedEntries"]) == 20
    assert b"metadata.responsedata" not in dict(reply.headers)


def grpc(publisher: Publisher, *entries: BulkPublishRequestEntry, **request: Any) -> None:
    """Publish in bulk over gRPC."""
    message = BulkPublishRequest(pubsub_name="pubsub", topic="orders", entries=entries, **request)
    reply = inline(publish_bulk_grpc(GrpcCall(publisher.app, (), None), message))
    assert list(reply.failedEntries) == []


def test_over_grpc_any_type_is_taken(publisher: Publisher) -> None:
    """Events are bytes there, so no content type is refused and none is needed."""
    grpc(
        publisher,
        BulkPublishRequestEntry(entry_id="1", event=b"a", content_type="image/png"),
        BulkPublishRequestEntry(entry_id="2", event=b"b", metadata={"cloudevent.type": "t"}),
        metadata={"cloudevent.source": "s"},
    )

    assert [(event["data"], event["type"], event["source"]) for event in publisher.events] == [
        ("a", "com.dapr.event.sent", "app"),
        ("b", "t", "s"),
    ]


def test_over_grpc_a_failed_entry_fails_the_call(publisher: Publisher, monkeypatch: pytest.MonkeyPatch) -> None:
    """INTERNAL; which entry failed is not told, as with daprd."""
    break_broker(publisher, monkeypatch, b"wrong")
    with pytest.raises(ApiError) as error:
        grpc(publisher, BulkPublishRequestEntry(entry_id="1", event=b"wrong"))

    assert (error.value.grpc, error.value.row.code) == (Grpc.INTERNAL, "ERR_PUBSUB_PUBLISH_MESSAGE")


def test_a_large_request_gives_the_loop_back(publisher: Publisher) -> None:
    """Between every few events it waits for its turn: while they are wrapped, and while they are published."""
    publisher.app.next_turn = next_pass
    turns = []

    async def other() -> None:
        while True:
            turns.append(len(publisher.kept))
            await asyncio.sleep(0)

    async def main() -> None:
        beside = asyncio.ensure_future(other())
        entries = [Entry(str(number), b"x", "text/plain") for number in range(4 * ITEMS)]
        coroutine = publish_bulk(publisher.app, Publication("pubsub", "orders", b""), entries)
        try:
            while True:
                waits_for = coroutine.send(None)
                assert isinstance(waits_for, Completion)
                done = asyncio.Event()
                waits_for.on_done(done.set)
                await done.wait()
        except StopIteration:
            beside.cancel()

    asyncio.run(main())

    assert {0, ITEMS, 2 * ITEMS, 3 * ITEMS} <= set(turns)


def test_events_reach_an_app(tmp_path: Path) -> None:
    """Every entry is an event of its own to a subscriber that takes one at a time."""

    async def scenario(node: PubSubNode) -> None:
        app = await node.attach("app", ORDERS)
        await app.subscribed()
        entries = [Entry(str(number), b"%d" % number, "application/json") for number in range(3 * ITEMS)]

        await in_trio(publish_bulk(app.app, Publication("pubsub", "orders", b""), entries))
        await app.server.wait_for(len(entries))

        assert sorted(event.json["data"] for event in app.server.events) == list(range(3 * ITEMS))

    with_node(tmp_path, scenario)
