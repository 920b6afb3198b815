"""HTTP/1.1 answer heads, made once per (status, content type) and second.

The Date header changes each second, so whoever owns the clock calls `tick`. Source: RFC 9110 6.6.1, RFC 9112 4.
"""

from collections.abc import Sequence
from email.utils import formatdate
from http import HTTPStatus

from noded.calls import Header, Reply

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_HTTP10 = b"HTTP/1.0"
_LENGTH = b"Content-Length: "

_PHRASES = {status.value: status.phrase.encode() for status in HTTPStatus}
_PHRASES[418] = b"I'm a teapot"


class _Heads:
    """Ready heads, dropped whenever the date changes."""

    __slots__ = ("date", "made")

    def __init__(self) -> None:
        self.date = b""
        self.made: dict[tuple[int, bytes], bytes] = {}  # bounded: statuses times content types of our own replies


_heads = _Heads()
_MAX_HEADS = 256
_MOST_LENGTHS = 1024
_LENGTHS = tuple(b"%d\r\n" % size for size in range(_MOST_LENGTHS))
"""How small bodies end their content-length."""


def tick(unix_seconds: float) -> None:
    """Set the Date that answers carry from now on."""
    _heads.date = b"Date: %b\r\n" % formatdate(unix_seconds, usegmt=True).encode()
    _heads.made.clear()


def status_line(status: int) -> bytes:
    """The first line of an answer."""
    return b"HTTP/1.1 %d %b\r\n" % (status, _PHRASES.get(status, b"status code %d" % status))


def plain_reply(reply: Reply) -> bytes:
    """A whole answer to anything but HEAD, on a connection that is kept: nearly every answer."""
    body = reply.body
    start = _heads.made.get((reply.status, reply.content_type)) or _make(reply.status, reply.content_type)
    if not reply.headers:
        return start if reply.status == 204 else b"%b%d\r\n\r\n%b" % (start, len(body), body)
    if len(reply.headers) == 1 and reply.status != 204:
        name, value = reply.headers[0]
        size = len(body)
        length = _LENGTHS[size] if size < _MOST_LENGTHS else b"%d\r\n" % size
        return b"".join((start, length, name, b": ", value, b"\r\n\r\n", body))
    return _uncommon(reply, start, b"", head_only=False)


def reply_bytes(reply: Reply, *, keep_alive: bool, head_only: bool, http10: bool = False) -> bytes:
    """A whole answer, framed by content-length."""
    if keep_alive and not head_only and not http10:
        return plain_reply(reply)
    start = _heads.made.get((reply.status, reply.content_type)) or _make(reply.status, reply.content_type)
    if http10:
        start = _HTTP10 + start[len(_HTTP10) :]
    return _uncommon(reply, start, connection_line(keep_alive=keep_alive, http10=http10), head_only=head_only)


def head(status: int, headers: Sequence[Header], *, chunked: bool, connection: bytes, http10: bool = False) -> bytes:
    """The head of a streamed answer; `headers` decide content-length, we add framing, Date and the Connection line."""
    line = status_line(status)
    lines = [_HTTP10 + line[len(_HTTP10) :] if http10 else line, *(b"%b: %b\r\n" % field for field in headers)]
    if not any(name == b"date" for name, _ in headers):
        lines.append(_heads.date)
    if chunked:
        lines.append(b"Transfer-Encoding: chunked\r\n")
    lines += (connection, b"\r\n")
    return b"".join(lines)


def connection_line(*, keep_alive: bool, http10: bool) -> bytes:
    """Say what becomes of the connection where that is not what the version does anyway (RFC 9112 9.3)."""
    if http10:
        return b"Connection: keep-alive\r\n" if keep_alive else b""
    return b"" if keep_alive else b"Connection: close\r\n"


def chunk(data: bytes) -> bytes:
    """One chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def _make(status: int, content_type: bytes) -> bytes:
    typed = b"Content-Type: %b\r\nContent-Length: " % content_type if content_type else _LENGTH
    made = status_line(status) + _heads.date + (b"\r\n" if status == 204 else typed)
    if len(_heads.made) < _MAX_HEADS:
        _heads.made[status, content_type] = made
    return made


def _uncommon(reply: Reply, start: bytes, connection: bytes, *, head_only: bool) -> bytes:
    extra = b"".join(b"%b: %b\r\n" % field for field in reply.headers) + connection
    if reply.status == 204:
        return start[:-2] + extra + b"\r\n"
    if head_only and not reply.content_type:
        return b"%b%b\r\n" % (start.removesuffix(_LENGTH), extra)  # Go tells HEAD no length of nothing
    body = b"" if head_only else reply.body
    return b"%b%d\r\n%b\r\n%b" % (start, len(reply.body), extra, body)
