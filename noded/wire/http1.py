"""HTTP/1.1 as a client speaks it: request heads written, responses read. No IO, no clock.

llhttp (by httptools) parses; here is what it leaves to its user: responses without a body because the request was HEAD,
interim responses, bodies that end with the connection, and the bounds. Source: RFC 9110, RFC 9112.
"""

import re
from collections.abc import Sequence
from operator import itemgetter
from typing import cast

import httptools

from noded.calls import Header

MAX_HEAD_BYTES = 64 << 10
"""Of a response's status line and headers, counted in whole reads."""

HOP_BY_HOP = frozenset(
    (
        b"connection",
        b"http2-settings",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    )
)
"""Headers of one connection, never forwarded. Source: RFC 9110 7.6.1; daprd pkg/messaging/v1/util.go."""

CHUNKED = b"transfer-encoding: chunked\r\n"
LAST_CHUNK = b"0\r\n\r\n"

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VISIBLE = bytes(range(0x21, 0x7F))
_NAME = itemgetter(0)
_MAX_KNOWN_NAMES = 4096
_known_names: set[bytes] = set()


class MalformedRequest(ValueError):
    """A request that cannot be written: a method, target or header with bytes that HTTP does not allow there."""


class MalformedResponse(ValueError):
    """The peer did not answer in HTTP/1.1, or broke off inside its answer."""


def request_head(method: bytes, target: bytes, host: bytes, headers: Sequence[Header], framing: bytes = b"") -> bytes:
    """Write a request line and headers, up to and with the empty line. `framing` is a ready header line, or nothing.

    Raises MalformedRequest, so that nothing a caller controls can add a header or a second request.
    """
    if not _known_names.issuperset(map(_NAME, headers)) or method not in _known_names:
        for name in (method, *map(_NAME, headers)):
            _learn(name)
    start = b"%b %b HTTP/1.1\r\nhost: %b\r\n%b" % (method, target, host, framing)
    head = start + b"\r\n".join([*map(b": ".join, headers), b"", b""]) if headers else start + b"\r\n"
    _check_lines(head, len(headers) + (4 if framing else 3))
    if not target or target.translate(None, _VISIBLE):
        raise MalformedRequest(f"{target!r} is no request target")
    return head


def header_lines(headers: Sequence[Header]) -> bytes:
    """Write headers only, each with its line's end: for heads that share them. Raises MalformedRequest."""
    for name, _ in headers:
        if name not in _known_names:
            _learn(name)
    lines = b"".join([b"%b: %b\r\n" % field for field in headers])
    _check_lines(lines, len(headers))
    return lines


def _check_lines(head: bytes, ends: int) -> None:
    if head.count(b"\n") != ends or head.count(b"\r") != ends or b"\0" in head:
        raise MalformedRequest("a header value holds a line break or NUL")


def chunk(piece: bytes) -> tuple[bytes, bytes, bytes]:
    """One chunk of a chunked body, as parts to be written in order. An empty piece has none: it would end the body."""
    return b"%x\r\n" % len(piece), piece, b"\r\n"


def nominated(headers: Sequence[Header]) -> frozenset[bytes]:
    """The names that a Connection header declares to be of this connection only, in lower case."""
    values = [value for name, value in headers if name == b"connection"]
    if not values:
        return frozenset()
    return frozenset(token.strip().lower() for value in values for token in value.split(b",")) - {b""}


def _learn(name: bytes) -> None:
    """Check a header name or method once; they are few, so the check is not repeated."""
    if _TOKEN.fullmatch(name) is None:
        raise MalformedRequest(f"{name!r} is no header name or method")
    if len(_known_names) < _MAX_KNOWN_NAMES:
        _known_names.add(name)


class ResponseReader:
    """Read one connection's responses, one after another: `expect`, `feed` until `complete`, and again.

    Interim responses (1xx) are passed over. What has been read of the body waits in `take_body`.
    """

    __slots__ = (
        "_body",
        "_head_bytes",
        "_head_request",
        "_parser",
        "_pristine",
        "complete",
        "head_complete",
        "headers",
        "keep_alive",
        "status",
    )

    def __init__(self) -> None:
        self.complete = True
        self.head_complete = False
        self.headers: list[Header] = []
        self.keep_alive = False
        """Once complete: whether the connection may carry another request."""
        self.status = 0
        self._body: list[bytes] = []
        self._head_bytes = 0
        self._head_request = False
        self._parser = httptools.HttpResponseParser(self)
        self._pristine = True

    def expect(self, method: bytes) -> None:
        """Await the response to a request of that method. The last one must be complete, or none was expected yet."""
        if not self._pristine:
            self._parser = httptools.HttpResponseParser(self)
            self._pristine = True
        self.complete = self.head_complete = False
        self.headers = []
        self._body = []
        self._head_bytes = 0
        self._head_request = method == b"HEAD"

    def feed(self, data: bytes) -> None:
        """Take bytes. Raises MalformedResponse; the reader is of no use after that."""
        if self.head_complete:
            self._parse(data)
            return
        left = MAX_HEAD_BYTES - self._head_bytes
        self._head_bytes += len(data)
        if len(data) <= left:
            self._parse(data)
            return
        view = memoryview(data)
        if not self._parse(view[:left]):
            raise MalformedResponse(f"response head over {MAX_HEAD_BYTES} bytes")
        self._parse(view[left:])

    def _parse(self, data: bytes | memoryview) -> bool:
        """Whether the head is complete with it."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            raise MalformedResponse(str(error.__context__ or error)) from error
        return self.head_complete

    def forget(self) -> None:
        """Drop what was read, and the parser, which refers back: else they wait for the next look for garbage."""
        self._parser = cast("httptools.HttpResponseParser", None)
        self.headers = []
        self._body = []

    def feed_eof(self) -> bool:
        """The peer closed. True: that completes the response; False: it broke off before the end."""
        if not self.complete and self.head_complete and not self._sized():
            self.complete = True
            self.keep_alive = False
        return self.complete

    def take_body(self) -> bytes:
        """The body's bytes that arrived since the last call."""
        pieces = self._body
        if not pieces:
            return b""
        self._body = []
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    @property
    def untouched(self) -> bool:
        """Whether no byte of the expected response has been read."""
        return not self.head_complete and not self._head_bytes

    def _sized(self) -> bool:
        """Whether the message says itself where it ends."""
        for name, value in self.headers:
            if name == b"content-length" or (name == b"transfer-encoding" and value.lower().endswith(b"chunked")):
                return True
        return False

    # What httptools calls, in the order of a message.

    def on_message_begin(self) -> None:
        """A response begins: one that nobody asked for ends the connection."""
        if self.complete:
            raise MalformedResponse("more bytes than the response has")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; trailers are dropped."""
        if not self.head_complete:
            self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """The head is whole."""
        status = self._parser.get_status_code()
        if status == 101:
            raise MalformedResponse("switched protocols, unasked")
        if status < 200:
            return
        self.status = status
        self.head_complete = True
        if self._head_request:
            self.complete = True
            self.keep_alive = self._parser.should_keep_alive()
            self._pristine = False

    def on_body(self, piece: bytes) -> None:
        """Keep a piece of the body."""
        if self.complete:
            raise MalformedResponse("a body where the response has none")
        self._body.append(piece)

    def on_chunk_header(self) -> None:
        """A chunked body may end with trailers, the last of which llhttp would hand to the next response."""
        self._pristine = False

    def on_message_complete(self) -> None:
        """The response is whole, or an interim one passed by."""
        if not self.head_complete:
            self.headers = []
            return
        if not self._head_request:
            self.complete = True
            self.keep_alive = self._parser.should_keep_alive()
