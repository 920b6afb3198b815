"""How bench/app.py cuts requests: by length, by last chunk, or at the end of the head."""

import pytest

from bench.app import request_end

GET = b"GET /orders/1 HTTP/1.1\r\nHost: a\r\nAccept: */*\r\n\r\n"
POST = b'POST /events HTTP/1.1\r\nhost: a\r\nContent-Length: 11\r\n\r\n{"order":1}'
CHUNKED = b"POST /events HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
CHUNKED_EMPTY = b"POST /events HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
BARE = b"OPTIONS /queue HTTP/1.1\r\nhost: a\r\n\r\n"


@pytest.mark.parametrize("request_bytes", [GET, POST, CHUNKED, CHUNKED_EMPTY, BARE])
def test_a_request_ends_with_its_last_byte_and_not_before(request_bytes: bytes) -> None:
    """Every shorter prefix is incomplete; what follows belongs to the next request."""
    for cut in range(len(request_bytes)):
        assert request_end(request_bytes[:cut]) is None, request_bytes[:cut]
    assert request_end(request_bytes) == len(request_bytes)
    assert request_end(request_bytes + GET) == len(request_bytes)
