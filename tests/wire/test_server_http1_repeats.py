"""A connection whose requests are like its last one, but for the last segment and the body: read as any other."""

from collections.abc import Iterable

import pytest

from tests.fuzz.lone_node import LoneNode

LIKE_IT = b"GET /v1.0/state/s/first HTTP/1.1\r\nHost: h\r\n\r\n"
SAVE = b'POST /v1.0/state/s HTTP/1.1\r\nHost: h\r\nContent-Length: 17\r\n\r\n[{"key":"saved"}]'
GETS = [
    b"GET /v1.0/state/s/%b HTTP/1.1\r\nHost: h\r\n\r\n" % segment
    for segment in (
        *(b"x", b"first", b"a-b_c:d=e@f~g.h", b"6ba7b810-9dad-11d1-80b4-00c04fd430c8", b"x" * 300),
        *(b"", b".", b"..", b".x", b"a/b", b"a%20b", b"a%", b"a?b=c", b"a b", b"a||b", b"\xff", b"a HTTP/1.1\r\nX: y"),
    )
]
OTHERS = [
    b"GET /v1.0/state/none/x HTTP/1.1\r\nHost: h\r\n\r\n",
    b"DELETE /v1.0/state/s/x HTTP/1.1\r\nHost: h\r\n\r\n",
    b"GET /v1.0/state/s/x HTTP/1.0\r\nHost: h\r\n\r\n",
    b"GET /v1.0/state/s/x HTTP/1.1\r\nHost: h\r\nX: y\r\n\r\n",
    b"GET /v1.0/state/s/x HTTP/1.1\r\nHost: h\r\n\r\n\r\n",
    LIKE_IT + LIKE_IT,
    LIKE_IT + b"GET /v1.0/state/s/x HTTP/1.1\r\nHost: h\r\n",
    LIKE_IT + SAVE + LIKE_IT,
    SAVE + SAVE,
    SAVE.replace(b"17", b"9000") + bytes(9000),
    b"first",
    b"GET /v1.0/state/s/",
]


def outcome(pieces: Iterable[bytes], *, forgetful: bool) -> tuple[bytes, list[tuple[object, ...]]]:
    """What was sent, and what reached dispatch, of a connection that sent `LIKE_IT` and `SAVE` twice before."""
    node = LoneNode(forgetful=forgetful)
    wire, link = node.http1(streams=False)
    for each in (LIKE_IT, LIKE_IT, SAVE, SAVE, LIKE_IT):
        wire.feed(each)
    for piece in pieces:
        if not link.shut_down:
            wire.feed(piece)
    return bytes(link.sent), node.seen


@pytest.mark.parametrize("after", [b"", SAVE], ids=["after a get", "after a save"])
@pytest.mark.parametrize("data", [*GETS, *OTHERS])
def test_what_is_like_the_last_request_is_read_as_by_the_parser(data: bytes, after: bytes) -> None:
    """Whole, byte by byte and cut in two: the same requests, the same answers."""
    expected = outcome([after + data], forgetful=True)
    assert len(expected[1]) >= 5, "the requests before it were served"
    cuts = range(1, len(data)) if len(data) < 400 else (1, 100, len(data) - 1)
    for pieces in ([data], [data[at : at + 1] for at in range(len(data))], *([data[:at], data[at:]] for at in cuts)):
        assert outcome([after, *pieces] if after else pieces, forgetful=False) == expected


def test_a_lowered_limit_holds_for_a_body_like_the_last_one() -> None:
    """A body that passed before is over the limit now."""
    node = LoneNode()
    wire, _ = node.http1(streams=False)
    for _ in range(3):
        wire.feed(SAVE)
    node.app._max_body_bytes = 5
    wire.feed(SAVE)
    assert node.seen[-1][-1] is True, "too large"
