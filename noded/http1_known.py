"""Requests whose headers came before: only their line is read, and no parser runs. Nearly every request is one.

What is not one is left to the parser (`server_http1.py`). No IO here. Source: RFC 9112.
"""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable

from noded.calls import HttpCall
from noded.http1_exchange import Http1Exchange, Link
from noded.wire.http1_rules import has_bad_escape
from noded.wire.known_heads import KnownHead, is_plain, plain_line, request_line

Handler = Callable[[HttpCall], None]


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
        self._last_section = b"\0"  # which no head begins with
        self._last_known = KnownHead((), 0)
        """The header section this connection sent last, with the empty line behind it, and what it means."""
        self._section: bytes | None = None
        """The header section of the request being parsed, to be remembered if it is plain."""

    @abstractmethod
    def finished(self, exchange: Http1Exchange) -> None:
        """As `noded.http1_exchange.Line.finished`."""

    @abstractmethod
    def skip_rest(self) -> bool:
        """As `noded.http1_exchange.Line.skip_rest`."""

    def _feed_known(self, data: bytes) -> bytes:
        """Serve the requests at the front of `data` whose headers were met before; give what is left."""
        app = self.link.app
        find_head, find_line = app.known_heads.find, app.known_lines.find
        position, end = 0, len(data)
        while position < end and not self._closing:
            line_end = data.find(b"\r\n", position)
            if line_end > 0 and data.startswith(self._last_section, line_end):  # as most of a connection's requests
                known = self._last_known
                body = line_end + len(self._last_section)
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
                self._last_section, self._last_known = data[line_end:body], known
            after = body + known.body_bytes
            if after > end or (known.body_bytes and known.body_bytes > app.max_body_bytes):
                break
            target_end = line_end - 9
            last_at = data.rfind(b"/", position, target_end) + 1
            last = data[last_at:target_end]
            route = find_line(data[position:last_at])
            if route is None or not is_plain(last) or data[target_end:line_end] != b" HTTP/1.1":
                if not self._serve_target(known, data, (position, line_end, body, after)):
                    break
                position = after
                continue
            exchange = Http1Exchange(self, keep_alive=True)
            self.pending.append(exchange)
            path, params, candidate = route.path + last, [*route.params, last.decode()], route.candidate
            content = data[body:after]
            call = HttpCall(app, route.method, path, b"", known.headers, content, exchange, known, candidate, params)
            self._handle(call)
            position = after
        return data[position:] if position else data

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
        exchange = Http1Exchange(self, keep_alive=True)
        call = HttpCall(self.link.app, method, path, query, known.headers, data[body:end], exchange, known)
        if plain is not None:
            call.line = plain.group(1)
        self.pending.append(exchange)
        self._handle(call)
        return True
