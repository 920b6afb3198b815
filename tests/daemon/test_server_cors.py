"""CORS: what pages of other origins are told. Recorded rows (`wire_cors`) hold the form; here are the rules."""

import pytest

from noded.calls import Header, HttpCall, Reply
from noded.cors import Cors, header_names, with_cors
from tests.wire.recording_link import Rig

CORS = Cors(("http://shop.example", "https://*.shop.example"))


def asked(rig: Rig, method: bytes, *headers: Header) -> list[Header]:
    lines = b"".join(b"%b: %b\r\n" % field for field in headers)
    rig.feed(b"%b /v1.0/metadata HTTP/1.1\r\nHost: h\r\n%b\r\n" % (method, lines))
    head = rig.out.rpartition(b"HTTP/1.1 ")[2].partition(b"\r\n\r\n")[0]
    fields = [line.partition(b": ") for line in head.split(b"\r\n")[1:]]
    return [(name, value) for name, _, value in fields if name.startswith((b"access-control", b"vary"))]


def crossed(cors: Cors) -> Rig:
    def handle(call: HttpCall) -> None:
        call.exchange.reply(Reply(200, b"{}"))

    return Rig(with_cors(cors, handle))


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        (b"http://shop.example", True),
        (b"HTTP://SHOP.EXAMPLE", True),
        (b"https://a.shop.example", True),
        (b"https://a.b.shop.example", True),
        (b"https://.shop.example", True),
        (b"http://a.shop.example", False),
        (b"https://shop.example", False),
        (b"http://shop.example.evil", False),
        (b"null", False),
    ],
)
def test_an_origin_is_allowed_by_name_or_by_pattern(origin: bytes, allowed: bool) -> None:  # noqa: FBT001
    """Letters count alike in either case; one `*` stands for anything; the answer names the origin as it was sent."""
    told = asked(crossed(CORS), b"GET", (b"Origin", origin))
    assert ((b"access-control-allow-origin", origin) in told) is allowed
    assert (b"vary", b"Origin") in told


def test_what_stands_before_and_after_the_star_does_not_overlap() -> None:
    """`*` may stand for nothing, and for no less."""
    cors = Cors(("http://a.b*b.example",))
    assert cors.allows(b"http://a.bb.example")
    assert not cors.allows(b"http://a.b.example")


def test_a_preflight_is_answered_before_any_handler() -> None:
    """It carries no token, and no app has a route for it."""

    def handle(_: HttpCall) -> None:
        raise AssertionError

    rig = Rig(with_cors(CORS, handle))
    wanted = ((b"Origin", b"http://shop.example"), (b"Access-Control-Request-Method", b"put"))
    told = asked(rig, b"OPTIONS", *wanted, (b"Access-Control-Request-Headers", b"x-one, DAPR-API-TOKEN"))
    assert (b"access-control-allow-methods", b"PUT") in told
    assert (b"access-control-allow-headers", b"X-One, Dapr-Api-Token") in told


def test_a_streamed_answer_says_it_too() -> None:
    """What an invoked app answers in pieces can be read by the page that asked."""

    def handle(call: HttpCall) -> None:
        call.exchange.start(200, [(b"content-length", b"2")])
        call.exchange.write(b"ok")
        call.exchange.end()

    told = asked(Rig(with_cors(Cors(("*",)), handle)), b"GET", (b"Origin", b"http://any.example"))
    assert told == [(b"vary", b"Origin"), (b"access-control-allow-origin", b"*")]


def test_a_list_of_headers_is_told_as_go_writes_it() -> None:
    """Commas and spaces part names; what no name may hold is left out."""
    assert header_names(b"a,b,,c d/e(f)ABCd-x ") == [b"A", b"B", b"C", b"Defabcd-X"]
