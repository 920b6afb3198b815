"""Requests whose headers came before: only their line is read, and no parser runs. Nearly every request is one.

What is not one is left to the parser (`server_http1.py`). No IO here. Source: RFC 9112.
"""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from msgspec import Struct

from noded.calls import HttpCall
from noded.http1_exchange import Http1Exchange, Link
from noded.known_lines import KnownLine
from noded.wire.http1_rules import has_bad_escape
from noded.wire.known_heads import KnownHead, is_plain, plain_line, request_line

if TYPE_CHECKING:
    from noded.route_table import Candidate

Handler = Callable[[HttpCall], None]

MAX_PIPELINED = 64
"""Requests of one connection that may be under way before it is no longer read."""


_VERSION = b" HTTP/1.1"
_VERSION_BYTES = len(_VERSION)


class Pattern(Struct, frozen=True):
    """A request of which all but the last segment of its path, and its body, were met before."""

    front: bytes
    """Method and path up to its last slash."""
    tail: bytes
    """What follows the last segment: version, headers, empty line."""
    line: KnownLine
    """Where `front` leads."""
    head: KnownHead
    """What `tail` means."""
    body_bytes: int
    size: int
    """Of all but the last segment."""


_NEVER = Pattern(b"\0", b"\0", KnownLine(b"", b"", cast("Candidate", None), ()), KnownHead((), 0), 0, -1)
"""What no request is like: begins and ends as no head does."""


class KnownRequests(ABC):
    """What a connection has met, and its requests under way; `server_http1.Http1Wire` adds the parser."""

    def __init__(self, link: Link, handle: Handler) -> None:
        self.link = link
        self.pending: deque[Http1Exchange] = deque()  # in request order; bounded by MAX_PIPELINED
        self.exchange: Http1Exchange | None = None
        """Of the request whose body is being streamed."""
        self._handle = handle
        self._closing = False
        """Nothing more is read."""
        self._parsing = False
        """Whether the parser is inside a request: what comes next is not the start of one."""
        self._last = _NEVER
        """What this connection sent last."""
        self._section: bytes | None = None
        """The header section of the request being parsed, to be remembered if it is plain."""

    @abstractmethod
    def finished(self, exchange: Http1Exchange) -> None:
        """As `noded.http1_exchange.Line.finished`."""

    @abstractmethod
    def skip_rest(self) -> bool:
        """As `noded.http1_exchange.Line.skip_rest`."""

    @abstractmethod
    def _parse(self, data: bytes) -> None:
        """Read `data` by the parser."""

    @abstractmethod
    def _bound(self) -> None:
        """Read no more while too many requests are under way."""

    def feed(self, data: bytes) -> None:
        """Take a piece of the stream and act on it. Nearly every piece is one request like the last one."""
        if self._closing:
            return
        if self._parsing:
            self._parse(data)
            return
        last = self._last
        size = last.body_bytes
        head = data[:-size] if size else data
        segment = head.removeprefix(last.front).removesuffix(last.tail)
        if len(segment) + last.size == len(data) and is_plain(segment) and self._allows(size):
            self._serve(last.line, last.head, segment, data[-size:] if size else b"")
        elif (rest := self._feed_known(data)) and not self._closing:
            self._parse(rest)
            return
        if len(self.pending) >= MAX_PIPELINED:
            self._bound()

    def _feed_known(self, data: bytes) -> bytes:
        """Serve the requests at the front of `data` whose headers were met before; give what is left."""
        find_head, find_line = self.link.app.known_heads.find, self.link.app.known_lines.find
        position, end = 0, len(data)
        while position < end and not self._closing:
            line_end = data.find(b"\r\n", position)
            target_end = line_end - _VERSION_BYTES
            if target_end > 0 and data.startswith(self._last.tail, target_end):  # as most of a connection's requests
                known = self._last.head
                body = target_end + len(self._last.tail)
            else:
                stop = data.find(b"\r\n\r\n", position)
                if stop < 0:
                    break
                section = data[line_end:stop]
                found = find_head(section)
                if found is None:
                    self._section = section
                    break
                known, body = found, stop + 4
            after = body + known.body_bytes
            if after > end or not self._allows(known.body_bytes):
                break
            last_at = data.rfind(b"/", position, target_end) + 1
            segment = data[last_at:target_end]
            front = data[position:last_at]
            line = find_line(front)
            if line is None or not is_plain(segment) or data[target_end:line_end] != _VERSION:
                if not self._serve_target(known, data, (position, line_end, body, after)):
                    break
            else:
                if line is not self._last.line or known is not self._last.head:
                    self._last = _pattern(front, data[target_end:body], line, known)
                self._serve(line, known, segment, data[body:after])
            position = after
        return data[position:] if position else data

    def _serve(self, line: KnownLine, head: KnownHead, segment: bytes, body: bytes) -> None:
        """Serve one request whose path's last segment is `segment`."""
        exchange = Http1Exchange(self)
        self.pending.append(exchange)
        params = [*line.params, segment.decode()]
        path = line.path + segment
        call = HttpCall(
            self.link.app, line.method, path, b"", head.headers, body, exchange, head, line.candidate, params
        )
        self._handle(call)

    def _allows(self, body_bytes: int) -> bool:
        return not body_bytes or body_bytes <= self.link.app.max_body_bytes

    def _serve_target(self, known: KnownHead, data: bytes, at: tuple[int, int, int, int]) -> bool:
        """Serve one request of any target; its line, line's end, body and its end are `at`. False: it is no request."""
        start, line_end, body, end = at
        line = request_line(data, start, line_end)
        if line is None:
            return False
        plain = plain_line(data, start, line_end)
        method, target = line.groups()
        path, _, query = target.partition(b"?")
        if b"%" in path and has_bad_escape(path):
            return False
        exchange = Http1Exchange(self)
        call = HttpCall(self.link.app, method, path, query, known.headers, data[body:end], exchange, known)
        if plain is not None:
            call.line = plain.group(1)
        self.pending.append(exchange)
        self._handle(call)
        return True


def _pattern(front: bytes, tail: bytes, line: KnownLine, head: KnownHead) -> Pattern:
    return Pattern(front, tail, line, head, head.body_bytes, len(front) + len(tail) + head.body_bytes)
