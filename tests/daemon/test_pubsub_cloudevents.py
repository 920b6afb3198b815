"""CloudEvents as publishers and subscribers see them: content types x payloads, completing, overrides."""

import base64
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noded.api.cloudevents import Draft, Overrides, complete, wrap, wrap_raw, wrap_with
from noded.api.lenient_json import NotJson, first_value

UUID4 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def draft(data: bytes, content_type: str = "", **more: str) -> Draft:
    return Draft(data, content_type, "checkout", "orders", "pubsub", **more)


def read(envelope: bytes) -> dict[str, Any]:
    event = json.loads(envelope)
    assert isinstance(event, dict)
    return event


def test_an_envelope_says_who_what_where_and_when() -> None:
    """A wrapped payload has every attribute Dapr documents, trace fields empty while there is no trace."""
    event = read(wrap(draft(b'{"id":7}', "application/json")))

    assert UUID4.fullmatch(event.pop("id"))
    assert RFC3339.fullmatch(event.pop("time"))
    assert event == {
        "specversion": "1.0",
        "type": "com.dapr.event.sent",
        "source": "checkout",
        "topic": "orders",
        "pubsubname": "pubsub",
        "datacontenttype": "application/json",
        "traceid": "",
        "traceparent": "",
        "tracestate": "",
        "data": {"id": 7},
    }


@pytest.mark.parametrize(
    ("content_type", "data", "field", "value"),
    [
        ("application/json", b'{"a":[1,null]}', "data", {"a": [1, None]}),
        ("Application/JSON; charset=utf-8", b"1", "data", 1),
        ("application/json", b' "text" ', "data", "text"),
        ("application/json", b"not json", "data", "not json"),
        ("application/json", b"", "data", ""),
        ("application/json", b'{"a":1} {"b":2}', "data", {"a": 1}),
        ("application/json", b"NaN", "data", "NaN"),
        ("application/json", b'{"a":1', "data", '{"a":1'),
        ("application/json", b'"\\ud800!"', "data", "\ufffd!"),
        ("application/json", b'"\\\\ud800 \\ud83d\\ude00 \\ud800"', "data", "\\ud800 \U0001f600 \ufffd"),
        ("application/json", b'"\xff"', "data", "\ufffd"),
        ("application/vnd.x+json", b'{"a":1}', "data", '{"a":1}'),
        ("application/json ; a=b", b"1", "data", "1"),
        ("", b'{"a":1}', "data", '{"a":1}'),
        ("text/plain", b'quote " and \n line', "data", 'quote " and \n line'),
        ("text/plain", b"\xff\x00", "data", "\ufffd\x00"),
        ("application/xml", b"<a/>", "data", "<a/>"),
        ("image/png", b"png", "data", "png"),
        ("application/octet-stream", b"\x00\xff", "data_base64", "AP8="),
        ("application/octet-stream", b"", "data_base64", ""),
        ("application/cloudevents+protobuf", b"xyz", "data_base64", "eHl6"),
        ("application/x-protobuf", b"\x0a\x01i", "data_base64", "CgFp"),
        ("application/x-protobuf", b"xyz", "data", "xyz"),
    ],
)
def test_the_content_type_decides_how_data_travels(content_type: str, data: bytes, field: str, value: object) -> None:
    """JSON as JSON, octets and CloudEvents in protobuf as base64, all else (broken JSON too) as a string."""
    event = read(wrap(draft(data, content_type)))

    assert event[field] == value
    assert len({"data", "data_base64"} & event.keys()) == 1
    assert event["datacontenttype"] == (content_type or "text/plain")


def test_numbers_keep_every_digit() -> None:
    """JSON data is embedded as it came, so no number is rounded and no key reordered."""
    data = b'{"n":12345678901234567890.10,"f":1.50,"n":1e400}'

    assert wrap(draft(data, "application/json")).endswith(b',"data":' + data + b"}")


TEXT = st.text(st.characters(codec="utf-8"))
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner), max_leaves=10)


@given(JSON, st.sampled_from(["", " ", "\n\t"]), st.sampled_from([True, False]))
def test_any_json_arrives_equal(value: object, space: str, ensure_ascii: object) -> None:
    """Whatever the JSON, whitespace and escapes included, the subscriber reads the same value."""
    text = space + json.dumps(value, ensure_ascii=bool(ensure_ascii)) + space

    assert read(wrap(draft(text.encode(), "application/json")))["data"] == value


@given(st.binary(), st.sampled_from(["application/json", "text/plain", "application/octet-stream", "a/b", ""]))
def test_any_bytes_make_a_valid_envelope(data: bytes, content_type: str) -> None:
    """No payload can break the envelope: it is JSON in UTF-8, with the data in it, for any bytes at all."""
    event = read(wrap(draft(data, content_type)))

    assert event["topic"] == "orders"
    if "data_base64" in event:
        assert base64.b64decode(event["data_base64"]) == data


@given(TEXT)
def test_any_names_make_a_valid_envelope(name: str) -> None:
    """Topics and content types are escaped, whatever is in them."""
    event = read(wrap(Draft(b"1", name, name, name, name)))

    assert (event["topic"], event["source"], event["pubsubname"]) == (name, name, name)


def test_ids_are_unique() -> None:
    """Each event has an id of its own."""
    ids = {read(wrap(draft(b"")))["id"] for _ in range(1000)}

    assert len(ids) == 1000
    assert all(map(UUID4.fullmatch, ids))


def test_trace_and_expiry_stand_in_the_envelope() -> None:
    """Both trace fields are the same W3C string; an expiry is only there when asked for."""
    event = read(wrap(draft(b"", traceparent=TRACE, tracestate="a=b", expiration="2031-01-01T00:00:00Z")))

    assert (event["traceid"], event["traceparent"], event["tracestate"]) == (TRACE, TRACE, "a=b")
    assert event["expiration"] == "2031-01-01T00:00:00Z"


class TestOverrides:
    """`cloudevent.*` metadata replaces attributes of an envelope."""

    def test_attributes_are_replaced(self) -> None:
        """id, source, type and subject are the publisher's to choose; the rest stays."""
        event = read(wrap_with(draft(b"1", "application/json"), Overrides("my-id", "src", "typ", "sub")))

        assert [event[name] for name in ("id", "source", "type", "subject", "data")] == [
            "my-id",
            "src",
            "typ",
            "sub",
            1,
        ]
        assert (event["topic"], event["traceid"]) == ("orders", "")

    @pytest.mark.parametrize(
        ("overrides", "trace"),
        [
            (Overrides(traceid="tid"), "tid"),
            (Overrides(traceparent="tp"), "tp"),
            (Overrides(traceid="tid", traceparent="tp"), "tp"),
            (Overrides(subject="s"), TRACE),
        ],
    )
    def test_traceparent_beats_traceid_beats_the_request(self, overrides: Overrides, trace: str) -> None:
        """Both trace fields of the envelope take the strongest of the three."""
        event = read(wrap_with(draft(b"", traceparent=TRACE), overrides))

        assert (event["traceid"], event["traceparent"]) == (trace, trace)


class TestCompleting:
    """A body that is a CloudEvent is kept and completed."""

    def test_what_it_says_stays_but_topic_and_pubsub(self) -> None:
        """Extensions, data and big numbers are untouched; topic and pubsubname are the daemon's to say."""
        body = (
            b'{"id":"i","source":"me","type":"t","specversion":"0.3","time":"then","topic":"lie","ext":1.10,"data":[]}'
        )
        event = read(complete(draft(body)))

        assert event == {
            "id": "i", "source": "me", "type": "t", "specversion": "0.3", "time": "then", "ext": 1.1, "data": [],
            "topic": "orders", "pubsubname": "pubsub", "traceid": "", "traceparent": "", "tracestate": "",
        }  # fmt: skip
        assert b'"ext":1.10' in complete(draft(body))

    def test_what_is_missing_or_null_is_filled_in_except_the_id(self) -> None:
        """source, type, specversion and time have defaults; an id is not invented."""
        event = read(complete(draft(b'{"source":null,"data":1} and more')))

        assert (event["source"], event["type"], event["specversion"]) == ("Dapr", "com.dapr.event.sent", "1.0")
        assert RFC3339.fullmatch(event["time"])
        assert "id" not in event

    @pytest.mark.parametrize(
        ("body", "traceid", "traceparent"),
        [(b'{"traceid":"own"}', "own", None), (b'{"traceparent":"lost"}', TRACE, TRACE), (b"{}", TRACE, TRACE)],
    )
    def test_the_request_s_trace_fills_a_missing_traceid(self, body: bytes, traceid: str, traceparent: str) -> None:
        """Without traceid both fields are the request's, as in daprd, even over a traceparent of its own."""
        event = read(complete(draft(body, traceparent=TRACE)))

        assert (event["traceid"], event.get("traceparent")) == (traceid, traceparent)

    @pytest.mark.parametrize(
        ("body", "problem"),
        [
            (b"bad", "invalid character 'b' looking for beginning of value"),
            (b"", "EOF"),
            (b"[]", "json: cannot unmarshal array into Go value of type map[string]interface {}"),
            (b'"x"', "json: cannot unmarshal string into Go value of type map[string]interface {}"),
            (b" 1", "json: cannot unmarshal number into Go value of type map[string]interface {}"),
        ],
    )
    def test_what_is_no_object_is_refused_in_go_s_words(self, body: bytes, problem: str) -> None:
        """The reason is told as daprd tells it."""
        with pytest.raises(NotJson, match=re.escape(problem)):
            complete(draft(body))

    @given(st.binary())
    def test_any_bytes_are_completed_or_refused(self, data: bytes) -> None:
        """Nothing else can happen, for any bytes at all."""
        try:
            event = read(complete(draft(data)))
        except NotJson:
            return
        assert event["topic"] == "orders"


def test_a_deep_value_is_data_all_the_same() -> None:
    """JSON nested deeper than the decoder looks becomes a string rather than an error."""
    deep = b"[" * 100_000 + b"]" * 100_000

    assert read(wrap(draft(deep, "application/json")))["data"] == deep.decode()


def test_a_raw_subscriber_is_given_an_event_around_the_bytes() -> None:
    """A new id each time, the bytes in data_base64, and no publisher's source."""
    event, again = (read(wrap_raw(b"\x00hi", "orders", "pubsub", {"traceid": "t"})) for _ in range(2))

    assert event["id"] != again["id"]
    assert base64.b64decode(event["data_base64"]) == b"\x00hi"
    assert (event["source"], event["datacontenttype"], event["traceid"]) == ("Dapr", "application/octet-stream", "t")


@given(st.binary())
def test_a_first_value_is_valid_json_or_none(data: bytes) -> None:
    """What is accepted as a value parses, and so may stand in an envelope verbatim."""
    try:
        value = first_value(data)
    except NotJson:
        return
    json.loads(value)
