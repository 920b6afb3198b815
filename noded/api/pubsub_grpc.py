"""Publishing over gRPC, one event and many. What is done with them is in `pubsub.py` and `pubsub_bulk.py`."""

from google.protobuf.empty_pb2 import Empty

from noded import errors, gobool
from noded.api.pieces import each
from noded.api.pubsub import Publication, about_topic, event_headers, publish
from noded.api.pubsub_bulk import Entry, publish_bulk
from noded.calls import GrpcCall
from noded.proto.pubsub_pb2 import (
    BulkPublishRequest,
    BulkPublishRequestEntry,
    BulkPublishResponse,
    PublishEventRequest,
)

_EMPTY = Empty()
_PUBLISHED = BulkPublishResponse()


async def publish_grpc(call: GrpcCall, request: PublishEventRequest) -> Empty:
    """PublishEvent. With rawPayload the trace goes into the broker's metadata, as there is no envelope for it."""
    _, traceparent, tracestate = event_headers(call.metadata)
    metadata = dict(request.metadata)
    if metadata.get("rawPayload", "") in gobool.TRUE:
        metadata |= {"traceid": traceparent, "tracestate": tracestate}
    await publish(
        call.app,
        Publication(
            request.pubsub_name,
            request.topic,
            request.data,
            request.data_content_type,
            metadata,
            traceparent,
            tracestate,
        ),
    )
    return _EMPTY


async def publish_bulk_grpc(call: GrpcCall, request: BulkPublishRequest) -> BulkPublishResponse:
    """BulkPublishEvent and BulkPublishEventAlpha1. A failed entry fails the call, and is not named, as in daprd."""
    _, traceparent, tracestate = event_headers(call.metadata)
    metadata = dict(request.metadata)
    publication = Publication(request.pubsub_name, request.topic, b"", "", metadata, traceparent, tracestate)
    failed = await publish_bulk(call.app, publication, await each(call.app, request.entries, _entry))
    if failed:
        raise about_topic(errors.PUBSUB_PUBLISH, publication, failed[0].error)
    return _PUBLISHED


def _entry(item: BulkPublishRequestEntry) -> Entry:
    return Entry(item.entry_id, item.event, item.content_type, dict(item.metadata) if item.metadata else None)
