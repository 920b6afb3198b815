"""HTTP/1.1 as a client: what requests look like, where responses end, and what is refused. No sockets."""

import pytest

from noded.calls import Header
from noded.wire.http1 import (
    MAX_HEAD_BYTES,
    MalformedRequest,
    MalformedResponse,
    ResponseReader,
    chunk,
    nominated,
    request_head,
)

# The request's method, the response's bytes, and its status, body, and whether the connection is kept.
RESPONSES: dict[str, tuple[bytes, bytes, int, bytes, bool]] = {
    "content-length": (b"GET", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200, b"hello", True),
    "empty": (b"POST", b"HTTP/1.1 201 Created\r\ncontent-length: 0\r\n\r\n", 201, b"", True),
    "chunked": (
        b"GET",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\n\r\n",
        200,
        b"hello",
        True,
    ),
    "chunked with trailers": (
        b"GET",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n",
        200,
        b"hello",
        True,
    ),
    "no content": (b"DELETE", b"HTTP/1.1 204 No Content\r\n\r\n", 204, b"", True),
    "not modified": (b"GET", b"HTTP/1.1 304 Not Modified\r\ncontent-length: 99\r\n\r\n", 304, b"", True),
    "head": (b"HEAD", b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n", 200, b"", True),
    "head, chunked": (b"HEAD", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", 200, b"", True),
    "after 100": (
        b"POST",
        b"HTTP/1.1 100 Continue\r\nx: 1\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
        200,
        b"ok",
        True,
    ),
    "after 103 and 102": (
        b"GET",
        b"HTTP/1.1 103 Early\r\nlink: a\r\n\r\nHTTP/1.1 102 P\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
        200,
        b"ok",
        True,
    ),
    "connection: close": (
        b"GET",
        b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok",
        200,
        b"ok",
        False,
    ),
    "http/1.0": (b"GET", b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok", 200, b"ok", False),
    "a status nobody knows": (b"GET", b"HTTP/1.1 799 Huh\r\ncontent-length: 2\r\n\r\nok", 799, b"ok", True),
}

GARBAGE: dict[str, bytes] = {
    "not http": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "a request": b"GET / HTTP/1.1\r\nhost: x\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nokk",
    "length and chunks": b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "a chunk of no length": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    "another protocol": b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
    "a space in a name": b"HTTP/1.1 200 OK\r\nx y: 1\r\n\r\n",
    "more than was asked": b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n\r\n",
}


def pieces(data: bytes, how: str) -> list[list[bytes]]:
    """The ways to cut `data`: whole, byte by byte, or at every place in two."""
    if how == "whole":
        return [[data]]
    if how == "bytes":
        return [[data[i : i + 1] for i in range(len(data))]]
    return [[data[:i], data[i:]] for i in range(1, len(data))]


def feed_all(reader: ResponseReader, cut: list[bytes]) -> None:
    for piece in cut:
        reader.feed(piece)


cuts = pytest.mark.parametrize("how", ["whole", "bytes", "two"])


@cuts
@pytest.mark.parametrize("name", RESPONSES)
def test_a_response_reads_the_same_however_it_arrives(name: str, how: str) -> None:
    """A response ends where its framing says, cut anywhere; interim responses are passed over."""
    method, data, status, body, keep_alive = RESPONSES[name]
    for cut in pieces(data, how):
        reader = ResponseReader()
        reader.expect(method)
        got = b""
        for piece in cut:
            assert not reader.complete
            reader.feed(piece)
            got += reader.take_body()

        assert (reader.complete, reader.status, got) == (True, status, body)
        assert reader.keep_alive == keep_alive


@cuts
@pytest.mark.parametrize("name", GARBAGE)
def test_what_is_not_a_response_is_refused(name: str, how: str) -> None:
    """Bytes that are not exactly the one response asked for are refused, cut anywhere."""
    for cut in pieces(GARBAGE[name], how):
        reader = ResponseReader()
        reader.expect(b"GET")

        with pytest.raises(MalformedResponse):
            feed_all(reader, cut)


@pytest.mark.parametrize("how", ["whole", "bytes"])
def test_a_head_without_end_is_refused(how: str) -> None:
    """A response head may have so many bytes and no more, interim responses included."""
    line = b"x: y\r\n"
    for lines in (line * (MAX_HEAD_BYTES // len(line) + 1), b"HTTP/1.1 102 P\r\n\r\n" * (MAX_HEAD_BYTES // 18 + 1)):
        start = b"" if lines.startswith(b"HTTP") else b"HTTP/1.1 200 OK\r\n"
        reader = ResponseReader()
        reader.expect(b"GET")

        with pytest.raises(MalformedResponse, match="head over"):
            feed_all(reader, pieces(start + lines, how)[0])


@cuts
def test_a_body_without_length_lasts_until_the_peer_closes(how: str) -> None:
    """Without content-length or chunks the body ends with the connection, which then carries nothing more."""
    for cut in pieces(b"HTTP/1.1 200 OK\r\nx: y\r\n\r\nhello", how):
        reader = ResponseReader()
        reader.expect(b"GET")
        for piece in cut:
            reader.feed(piece)

        assert not reader.complete
        assert reader.feed_eof()
        assert (reader.take_body(), reader.keep_alive) == (b"hello", False)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nx: y",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhell",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
    ],
)
def test_a_response_cut_short_is_not_complete(data: bytes) -> None:
    """A peer that closes before the end of its response has not answered."""
    reader = ResponseReader()
    reader.expect(b"GET")
    reader.feed(data)

    assert not reader.feed_eof()


@pytest.mark.parametrize("first", ["head", "head, chunked", "chunked with trailers", "not modified", "chunked"])
def test_a_connection_carries_one_response_after_another(first: str) -> None:
    """What one response leaves behind, a HEAD's length or trailers, does not touch the next."""
    reader = ResponseReader()
    method, data, *_ = RESPONSES[first]
    reader.expect(method)
    reader.feed(data)
    reader.expect(b"GET")
    reader.feed(b"HTTP/1.1 200 OK\r\na: b\r\ncontent-length: 2\r\n\r\nok")

    assert reader.complete
    assert reader.headers == [(b"a", b"b"), (b"content-length", b"2")]
    assert reader.take_body() == b"ok"


def test_trailers_are_not_headers() -> None:
    """Trailers of a chunked body are dropped: they must not pass for headers."""
    reader = ResponseReader()
    reader.expect(b"GET")
    reader.feed(RESPONSES["chunked with trailers"][1])

    assert [name for name, _ in reader.headers] == [b"transfer-encoding"]


def test_bytes_nobody_asked_for_are_refused() -> None:
    """A peer that speaks without being asked is not trusted with the next request."""
    reader = ResponseReader()

    with pytest.raises(MalformedResponse):
        reader.feed(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")


def test_a_request_is_written_as_given() -> None:
    """A request has its line, host, framing and headers in that order."""
    head = request_head(b"POST", b"/a?b=c", b"h:1", [(b"x", b"y"), (b"z", b"")], b"content-length: 3\r\n")

    assert head == b"POST /a?b=c HTTP/1.1\r\nhost: h:1\r\ncontent-length: 3\r\nx: y\r\nz: \r\n\r\n"
    assert request_head(b"GET", b"/", b"h", []) == b"GET / HTTP/1.1\r\nhost: h\r\n\r\n"


@pytest.mark.parametrize(
    ("method", "target", "headers"),
    [
        (b"GET", b"/", [(b"x", b"1\r\ny: 2")]),
        (b"GET", b"/", [(b"x", b"1\ny: 2")]),
        (b"GET", b"/", [(b"x", b"1\r2")]),
        (b"GET", b"/", [(b"x", b"\0")]),
        (b"GET", b"/", [(b"x y", b"1")]),
        (b"GET", b"/", [(b"x:y", b"1")]),
        (b"GET", b"/", [(b"", b"1")]),
        (b"GET", b"/ HTTP/1.1\r\nx: y\r\n", []),
        (b"GET", b"/a b", []),
        (b"GET", b"/\xc3\xa4", []),
        (b"GET", b"", []),
        (b"G ET", b"/", []),
        (b"", b"/", []),
    ],
)
def test_nothing_can_be_smuggled_into_a_request(method: bytes, target: bytes, headers: list[Header]) -> None:
    """A line break, NUL or space where it would change the request is refused, whoever put it there."""
    with pytest.raises(MalformedRequest):
        request_head(method, target, b"h", headers)


def test_a_chunk_says_its_size() -> None:
    """A chunk is its size in hexadecimal, the bytes, and a line end."""
    assert b"".join(chunk(b"x" * 26)) == b"1a\r\n" + b"x" * 26 + b"\r\n"


def test_connection_nominates_headers() -> None:
    """Every name in every Connection header is of that connection only; case and spaces do not count."""
    assert nominated([(b"connection", b"X-A , close"), (b"a", b"b"), (b"connection", b",x-b")]) == {
        b"x-a",
        b"close",
        b"x-b",
    }
    assert nominated([(b"a", b"b")]) == frozenset()


def test_no_more_of_a_head_is_read_than_it_may_have() -> None:
    """A read may hold a quarter of a megabyte, and each header of five bytes takes a hundred."""
    line = b"a: b\r\n"
    reader = ResponseReader()
    reader.expect(b"GET")
    with pytest.raises(MalformedResponse, match="head over"):
        reader.feed(b"HTTP/1.1 200 OK\r\n" + line * MAX_HEAD_BYTES)
    assert len(reader.headers) <= MAX_HEAD_BYTES // len(line)


def test_a_short_head_may_come_with_more_body_than_a_head_may_have() -> None:
    """The limit is the head's alone."""
    body = bytes(3 * MAX_HEAD_BYTES)
    reader = ResponseReader()
    reader.expect(b"GET")
    reader.feed(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
    assert reader.complete
    assert reader.take_body() == body
