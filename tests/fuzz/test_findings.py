"""What fuzzing found, told as rules: FINDINGS.md has the inputs."""

import json

import pytest

from components.contract import Message
from noded.api.cloudevents import CLOUDEVENTS_JSON
from noded.api.pubsub_bulk import _items
from noded.channel_contract import AppResponse
from noded.config.document import split
from noded.runtime import deliver, events, subscription_list
from noded.runtime.dead_letter import Outcome
from noded.runtime.events import NotAnEvent
from noded.wire.hpack import encode_block
from noded.wire.http2_frames import RST_STREAM
from tests.daemon.pubsub_node import inline
from tests.fuzz.lone_node import LoneNode, carry
from tests.wire.http2_peer import REQUEST, frames, open_server, request
from tests.wire.recording_link import PIECES, Answer, Rig, echo, make_app, pieces, read_answers

BROKEN = b"\xff"


@pytest.mark.parametrize(("word", "outcome"), [(b"SUCCESS", Outcome.DONE), (b"DROP", Outcome.DROPPED)])
def test_an_answer_with_text_that_is_no_utf8_settles_its_event(word: bytes, outcome: Outcome) -> None:
    """As in Go's decoder such text is mended, and the status counts."""
    assert deliver.judge(AppResponse(200, (), b'{"x":"%b","status":"%b"}' % (BROKEN, word))) is outcome


def test_an_event_with_a_name_that_is_no_utf8_is_read() -> None:
    """It is delivered as it came, and its trace is told."""
    event = events.read(Message(b'{"%b":1,"traceparent":"","expiration":"x"}' % BROKEN, {}, CLOUDEVENTS_JSON))
    assert (event.traceparent, event.expiration) == ("", "x")


def test_bytes_that_are_neither_utf8_nor_json_are_no_event() -> None:
    """Mending text does not make JSON of it."""
    with pytest.raises(NotAnEvent):
        events.read(Message(b'{"%b' % BROKEN, {}, CLOUDEVENTS_JSON))


def test_subscriptions_with_text_that_is_no_utf8_are_read() -> None:
    """One broken name costs an app none of its topics."""
    (spec,) = subscription_list.parse(b'[{"pubsubname":"p","topic":"t","route":"/r","%b":1}]' % BROKEN)
    assert (spec.pubsub_name, spec.topic) == ("p", "t")


def test_bulk_entries_with_a_name_that_is_no_utf8_are_read() -> None:
    """The entry is read without it."""
    (item,) = inline(_items(make_app(), b'[{"entryId":"1","event":1,"%b":1}]' % BROKEN))
    assert item.entry_id == "1"


@pytest.mark.parametrize("last", [b"GET / HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"])
def test_nothing_is_served_behind_the_last_request(last: bytes) -> None:
    """A request that was refused, or asked for the close, is the last: half of one in the same read is not begun."""
    rig = Rig(echo, streams=lambda _: True)
    rig.feed(last + b"POST /v1.0/invoke/b/method/m HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nhalf")
    assert b"POST" not in [call.method for call in rig.calls]
    assert rig.link.shut_down


@pytest.mark.parametrize("how", PIECES)
def test_of_two_faults_the_first_is_told_however_the_request_is_cut(how: str) -> None:
    """A head without Host and a body that is none: what is told is the missing Host."""
    for way in pieces(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nGET ", how):
        rig = Rig(echo)
        for piece in way:
            rig.feed(piece)
        assert rig.out.endswith(b"missing required Host header")


def test_blank_lines_cost_a_resource_file_nothing() -> None:
    """Before the first document, or at the end of one, however many: each is looked at once."""
    blank = "\n \n# note\n" * 1000
    assert list(split(f"{blank}a: b\n---\nc: d")) == [(1, f"{blank}a: b\n"), (3002, "---\nc: d")]
    assert list(split(f"{blank}---\nc: d")) == [(1, f"{blank}---\nc: d")]


def test_a_note_whose_name_is_no_utf8_leaves_the_metadata_readable() -> None:
    """Its name is mended as it is noted: the listing is JSON, and is told."""
    node = LoneNode()
    wire, link = node.http1()
    put = b"PUT /v1.0/metadata/%ff HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx"
    carry(wire, link, [put, b"GET /v1.0/metadata HTTP/1.1\r\nHost: h\r\n\r\n"])
    assert '"\ufffd":"x"'.encode() in bytes(link.sent)


def test_a_length_that_is_none_beside_one_that_is_breaks_off_its_stream() -> None:
    """Two content-lengths, of which one is no number: the request is malformed, and `feed` raises nothing."""
    server, recorder = open_server()
    server.feed(request(1, block=encode_block((*REQUEST, (b"content-length", b"1"), (b"content-length", b"1x")))))
    assert [(frame.kind, frame.stream_id) for frame in frames(server.take_output())] == [(RST_STREAM, 1)]
    assert not recorder.events
    assert not server.closed


def state(path: bytes, body: bytes) -> Answer:
    """What a node answers to a body sent to its one store."""
    node = LoneNode()
    wire, link = node.http1()
    head = b"POST /v1.0/state/s%b HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n"
    saved = b'[{"key":"k","value":{"%b":1}}]' % BROKEN
    carry(wire, link, [head % (b"", len(saved)) + saved, head % (path, len(body)) + body])
    return read_answers(bytes(link.sent), ended=link.shut_down)[1]


@pytest.mark.parametrize("path", [b"", b"/transaction", b"/bulk"])
def test_a_state_body_nested_too_deep_is_malformed(path: bytes) -> None:
    """It is the caller's fault, not the daemon's."""
    answer = state(path, b'{"keys":' + b"[" * 5000 + b"]" * 5000 + b"}" if path else b"[" * 5000 + b"]" * 5000)
    assert (answer.status, json.loads(answer.body)["errorCode"][:13]) == (400, "ERR_MALFORMED")


def test_a_bulk_answer_is_utf8_whatever_is_stored() -> None:
    """Of a value that is no JSON in UTF-8 it says so, and leaves it out."""
    answer = state(b"/bulk", b'{"keys":["k"]}')
    (entry,) = json.loads(answer.body.decode())
    assert "no JSON" in entry["error"]
