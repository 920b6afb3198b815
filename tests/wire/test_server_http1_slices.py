"""How much of a connection is parsed at one go: little, so that many requests never come as one piece of work."""

import pytest

from noded.server_http1 import LARGEST_SLICE_BYTES
from tenancy.fairness import SLICE_BYTES
from tests.wire.recording_link import MAX_BODY_BYTES, Rig

HEAD = b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n"
CHUNKED = b"POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize("size", [10, 1000, SLICE_BYTES])
def test_a_small_body_that_is_cut_makes_no_slice_larger(size: int, *, streams: bool) -> None:
    """What stands behind it are requests, of which a large slice would hold hundreds."""
    rig = Rig(streams=lambda _: streams)
    rig.feed(HEAD % size + b"x")
    assert rig.link.slice_bytes == SLICE_BYTES


def test_a_slice_grows_to_what_is_left_of_a_large_body() -> None:
    """A large body is no work, and comes in large pieces, the last no larger than what is left of it."""
    rig = Rig()
    rig.feed(HEAD % (LARGEST_SLICE_BYTES + 5000))
    assert rig.link.slice_bytes == LARGEST_SLICE_BYTES
    rig.feed(bytes(LARGEST_SLICE_BYTES))
    assert rig.link.slice_bytes == 5000


def test_a_slice_grows_as_a_chunked_body_does() -> None:
    """How long it will be nobody knows: the more came, the more is taken at one go."""
    rig = Rig()
    rig.feed(CHUNKED)
    sizes = [rig.link.slice_bytes]
    while sizes[-1] < LARGEST_SLICE_BYTES:
        rig.feed(b"400\r\n" + bytes(0x400) + b"\r\n")
        sizes.append(rig.link.slice_bytes)
    assert sizes == sorted(sizes)
    assert sum(sizes) >= LARGEST_SLICE_BYTES


@pytest.mark.parametrize("body", [b"x" * MAX_BODY_BYTES, b"x" * 3 * MAX_BODY_BYTES])
def test_behind_a_body_slices_are_small_again(body: bytes) -> None:
    """However the body ended."""
    rig = Rig()
    rig.feed(HEAD % len(body) + body[:100])
    rig.feed(body[100:] + b"GET /y HTTP/1.1\r\nHost: h\r\n\r\n")
    assert rig.link.slice_bytes == SLICE_BYTES
