"""HTTP/2 answer heads as header blocks, made once per kind of answer. Source: RFC 9113 8.3.2."""

from collections.abc import Sequence
from functools import lru_cache

from noded.calls import Header, Reply
from noded.wire.http2 import encode_block


def reply_block(reply: Reply) -> bytes:
    """The head of a whole answer."""
    if reply.headers:
        return _plain(reply.status, reply.content_type, len(reply.body)) + encode_block(reply.headers)
    return _plain(reply.status, reply.content_type, len(reply.body))


def head_block(status: int, headers: Sequence[Header]) -> bytes:
    """The head of a streamed answer."""
    return encode_block([(b":status", b"%d" % status), *((name.lower(), value) for name, value in headers)])


@lru_cache(maxsize=4096)
def _plain(status: int, content_type: bytes, size: int) -> bytes:
    fields = [(b":status", b"%d" % status)]
    if status != 204:
        fields += [(b"content-type", content_type)] if content_type else []
        fields.append((b"content-length", b"%d" % size))
    return encode_block(fields)
