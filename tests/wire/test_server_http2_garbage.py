"""What answered requests over HTTP/2 leave behind: nothing that only the collector of cycles could free."""

import gc
import weakref
from collections.abc import Iterator

import pytest

from noded.calls import HttpCall, Reply
from noded.server_http2 import LIMITS, Http2Wire
from noded.wire.http2 import ErrorCode, HeaderBlock, Http2Connection, encode_block
from tests.wire.http2_peer import OPENING, open_client, request
from tests.wire.recording_link import RecordingLink

REQUESTS = 100


@pytest.fixture
def collected_by_hand() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("body", [None, b"body"])
@pytest.mark.parametrize("answered", [True, False], ids=["answered", "broken off"])
@pytest.mark.usefixtures("collected_by_hand")
def test_a_request_that_is_over_is_freed_at_once(body: bytes | None, *, answered: bool) -> None:
    """Objects that wait for the collector are memory gone cold, and its work is charged to whoever is served then."""
    calls: list[HttpCall] = []
    wire = Http2Wire(RecordingLink(), calls.append, lambda _: False, lambda *_: None, lambda: 0.0)
    client, heard = open_client(LIMITS)
    opening = Http2Connection(heard, client=True)
    opening.start()
    wire.feed(opening.take_output())
    fields = [(b":method", b"POST"), (b":scheme", b"http"), (b":authority", b"h"), (b":path", b"/x")]
    for _ in range(REQUESTS):
        stream_id = client.open_stream()
        client.send_headers(stream_id, encode_block(fields), end_stream=body is None)
        if body is not None:
            client.send_data(stream_id, body, end_stream=True)
        wire.feed(client.take_output())
        call = calls.pop()
        if answered:
            call.exchange.reply(Reply(200, b"answer"))
        else:
            client.reset(stream_id, ErrorCode.CANCEL)
            wire.feed(client.take_output())
        del call
    assert gc.collect() < REQUESTS


@pytest.mark.usefixtures("collected_by_hand")
def test_a_connection_that_is_gone_is_freed_at_once() -> None:
    """Peers that come and go would else leave the collector tens of megabytes."""
    link = RecordingLink()
    wire = Http2Wire(link, lambda call: call.exchange.reply(Reply(200)), lambda _: False, _opened_by, lambda: 0.0)
    wire.feed(OPENING + request(1) + request(3, b"body"))
    alive = weakref.ref(wire)
    wire.lost()
    del wire
    assert alive() is None


def _opened_by(wire: Http2Wire, _: int, block: HeaderBlock) -> None:
    """Leave requests to plain HTTP, but something with what their heads are known by."""

    def take(block: HeaderBlock, stream_id: int, data: bytes, start: int, stop: int) -> None:
        wire.codec.open_received(stream_id)
        wire.on_headers(stream_id, block, end_stream=False)
        wire.on_data(stream_id, data[start:stop], end_stream=True)

    block.take = take


def test_an_answer_to_a_connection_that_is_gone_goes_nowhere() -> None:
    """Handlers end in their own time."""
    calls: list[HttpCall] = []
    link = RecordingLink()
    wire = Http2Wire(link, calls.append, lambda _: False, lambda *_: None, lambda: 0.0)
    wire.feed(OPENING + request(1))
    sent = len(link.sent)
    wire.lost()
    for call in calls:
        call.exchange.reply(Reply(200, b"late"))
    assert len(calls) == 1
    assert len(link.sent) == sent
