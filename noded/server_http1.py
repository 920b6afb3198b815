"""HTTP/1.1 of one connection: httptools parses, requests go to dispatch, answers leave in the order of the requests.

No IO here: bytes come by `feed`, go by `Link.send`. A request whose body is whole by the end of a read is dispatched
with it; else it is decided whether its route streams (invocation) or waits for the whole body. Source: RFC 9112.
"""

from collections import deque
from collections.abc import Callable

import httptools

from noded.calls import Header, HttpCall
from noded.http1_exchange import Http1Exchange, Link
from noded.http_heads import CONTINUE
from noded.wire.known_heads import KnownHead, is_plain, plain_line, request_line

MAX_HEAD_BYTES = 16 << 10
"""Of a request line and its headers. Go's default with daprd's --read-buffer-size gives some 8 KiB; ours is roomier."""
MAX_PIPELINED = 64
"""Requests of one connection that may be under way before it is no longer read."""

_NO_HOST = b"400 Bad Request: missing required Host header"

Handler = Callable[[HttpCall], None]
Decide = Callable[[HttpCall], bool]


class Http1Wire:
    """The server's side of one HTTP/1.1 connection."""

    def __init__(self, link: Link, handle: Handler, streams: Decide) -> None:
        self.link = link
        self.pending: deque[Http1Exchange] = deque()  # in request order; bounded by MAX_PIPELINED
        self._handle = handle
        self._streams = streams
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        self._headers: list[Header] = []
        self._body: list[bytes] = []
        self._body_size = 0
        self._head_size = 0
        self._in_body = False
        self.exchange: Http1Exchange | None = None
        """Of the request whose body is being streamed."""
        self.http10: bool | None = None
        """Whether the peer's first request was HTTP/1.0, which knows no chunks; such a connection is not kept."""
        self._buffering = False
        self._closing = False
        """Nothing more is read."""
        self._last_section = b"\0"  # which no head begins with
        self._last_known = KnownHead((), 0)
        """The header section this connection sent last, with the empty line behind it, and what it means."""
        self._section: bytes | None = None
        """The header section of the request being parsed, to be remembered if it is plain."""
        self._parsing = False
        """Whether the parser is inside a request: what comes next is not the start of one."""
        self._upgrading = False
        self._stalled = False
        self._keep = True
        self.mid_head = False
        """Whether a request has begun whose head is not whole: the peer has a deadline for it."""

    def feed(self, data: bytes) -> None:
        """Parse a piece of the stream and act on it."""
        if self._closing:
            return
        if not self._parsing:
            data = self._feed_known(data)
            if not data or self._closing:
                if len(self.pending) >= MAX_PIPELINED:
                    self._bound()
                return
        self._head_size += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserUpgrade, httptools.HttpParserError) as stop:
            self._stopped(stop, data)
            return
        if self._head_size > MAX_HEAD_BYTES:
            self._refuse(b"431 Request Header Fields Too Large")
        elif self._in_body and self.exchange is None and not self._buffering and not self._closing:
            self._decide()
        self.mid_head = self._head_size > 0 and not self._in_body
        if len(self.pending) >= MAX_PIPELINED:
            self._bound()

    def lost(self) -> None:
        """The connection is gone: tell every request under way."""
        self._closing = True
        pending, self.pending = self.pending, deque()
        for exchange in pending:
            exchange.gone()

    def drain(self) -> bool:
        """Take no further request. True when none is under way."""
        self._keep = False
        if not self._in_body:
            return self._end_after_pending()
        if self.exchange is not None:
            self.exchange.keep_alive = False
        return False

    def eof(self) -> bool:
        """The peer sends no more: half a request never becomes whole. True when no answer is under way."""
        return self.exchange is not None or self._end_after_pending()

    def writable(self) -> None:
        """The peer has read: whoever streams to it may go on."""
        if self.pending and (sink := self.pending[0].sink) is not None:
            sink.on_writable()

    def finished(self, exchange: Http1Exchange) -> None:
        """An answer is complete: send those behind it that were waiting."""
        pending = self.pending
        if not pending or pending[0] is not exchange:
            return
        while True:
            first = pending.popleft()
            if not first.keep_alive or self.exchange is first:
                self._close_after()
                return
            if not pending or not pending[0].release():
                break
        if pending and (sink := pending[0].sink) is not None:
            sink.on_writable()
        if self._stalled and len(pending) < MAX_PIPELINED:
            self._stalled = False
            self.link.unstall()

    # What httptools calls, in the order of the stream.

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        self._parsing = True

    def on_url(self, url: bytes) -> None:
        """A piece of the request target: a read may end inside it."""
        self._url = self._url + url if self._url else url

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header, or one trailer of a chunked body, which is dropped."""
        if not self._in_body:
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self._in_body = True
        if self._parser.should_upgrade() and self._parser.get_method() != b"CONNECT":
            self._upgrading = True

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._body_size += len(body)
        self._head_size = 0  # what comes between pieces, and trailers, are bounded as heads are
        if self.exchange is not None:
            if self._body_size > self.link.app.max_body_bytes:
                self.exchange.abort()
            self.exchange.push(body)
        elif self._body_size <= self.link.app.max_body_bytes:
            self._body.append(body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        if self._upgrading:
            return
        exchange = self.exchange
        if exchange is None:
            self._dispatch_whole()
            self._reset()
        else:
            self._closing = self._closing or not exchange.keep_alive
            self._reset()
            exchange.body_ended()

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
            exchange = Http1Exchange(self, keep_alive=True, head_only=False)
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
        exchange = Http1Exchange(self, keep_alive=True, head_only=False)
        call = HttpCall(self.link.app, method, path, query, known.headers, data[body:end], exchange, known)
        if plain is not None:
            call.line = plain.group(1)
        self.pending.append(exchange)
        self._handle(call)
        return True

    def _bound(self) -> None:
        """Read no more while too many requests are under way."""
        if not self._stalled:
            self._stalled = True
            self.link.stall()

    def _dispatch_whole(self) -> None:
        if self._closing:
            return
        if not self._names_host():
            self._refuse(_NO_HOST)
            return
        body = self._body
        whole = b"" if not body else body[0] if len(body) == 1 else b"".join(body)
        method, exchange = self._begin()
        call = self._call(method, whole, exchange)
        section, self._section = self._section, None
        if self._body_size > len(whole):
            call.too_large = True
            exchange.keep_alive = False
        elif section is not None and exchange.keep_alive:
            self.link.app.known_heads.learn(section, self._headers, self._body_size)
        if not exchange.keep_alive:
            self._closing = True
        self._handle(call)

    def _names_host(self) -> bool:
        """Whether the request says whom it is for, as HTTP/1.1 must (RFC 9112 3.2). Known heads were asked once."""
        return any(name == b"host" for name, _ in self._headers) or self._parser.get_http_version() == "1.0"

    def _begin(self) -> tuple[bytes, Http1Exchange]:
        parser = self._parser
        method = parser.get_method()
        if self.http10 is None:
            self.http10 = parser.get_http_version() == "1.0"
            self._keep = self._keep and not self.http10
        exchange = Http1Exchange(
            self, keep_alive=self._keep and parser.should_keep_alive(), head_only=method == b"HEAD"
        )
        self.pending.append(exchange)
        return method, exchange

    def _call(self, method: bytes, body: bytes, exchange: Http1Exchange) -> HttpCall:
        path, _, query = self._url.partition(b"?")
        return HttpCall(self.link.app, method, path, query, self._headers, body, exchange)

    def _decide(self) -> None:
        """The read ended inside a body: stream it if its route does, else gather it."""
        if not self._names_host():
            self._refuse(_NO_HOST)
            return
        method, exchange = self._begin()
        call = self._call(method, b"", exchange)
        expects = call.header(b"expect")
        if expects is not None and expects.lower() == b"100-continue" and not self._body and len(self.pending) == 1:
            self.link.send(CONTINUE)
        self.link.slice_bytes = 64 << 10
        if not self._streams(call):
            self._buffering = True
            self.pending.pop()
            return
        length = call.header(b"content-length")
        call.too_large = max(self._body_size, int(length or 0)) > self.link.app.max_body_bytes
        call.body_complete = False
        exchange.parts, self._body = self._body, []
        self.exchange = exchange
        self._handle(call)

    def _reset(self) -> None:
        self._url = b""
        self._headers = []
        if self._body_size:
            self._body = []
            self._body_size = 0
        self._head_size = 0
        self._section = None
        self._parsing = False
        self._in_body = False
        if self.exchange is not None or self._buffering:
            self.exchange = None
            self._buffering = False
            self.link.slice_bytes = 2048

    def _stopped(self, stop: Exception, data: bytes) -> None:
        """The parser went no further. Raises what a handler let escape: that ends the connection, and is logged."""
        if isinstance(stop, httptools.HttpParserUpgrade):
            self._ignore_upgrade(data[stop.args[0] :])
        elif isinstance(stop, httptools.HttpParserCallbackError):
            raise stop
        else:
            self._refuse(_NO_HOST if self._in_body and not self._names_host() else b"400 Bad Request")

    def _ignore_upgrade(self, rest: bytes) -> None:
        """Read on as if no upgrade had been asked for (RFC 9110 7.8); after CONNECT nothing more is HTTP."""
        if not self._upgrading:
            if self._end_after_pending():
                self._close_after()
            return
        method, url, headers = self._parser.get_method(), self._url, self._headers
        self._upgrading = False
        self._reset()
        self._parser = httptools.HttpRequestParser(self)
        fields = b"".join(b"%b: %b\r\n" % field for field in headers if field[0] != b"upgrade")
        self.feed(b"%b %b HTTP/1.1\r\n%b\r\n%b" % (method, url, fields, rest))

    def _refuse(self, status: bytes) -> None:
        """Answer what is no HTTP as Go's server does, after the requests before it, and close."""
        if self._closing or self.exchange is not None:
            self._close_after()
            return
        self._closing = True
        exchange = Http1Exchange(self, keep_alive=False, head_only=False)
        self.pending.append(exchange)
        exchange.refuse(
            b"HTTP/1.1 %b\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\n"
            b"Connection: close\r\n\r\n%b" % (status, len(status), status)
        )

    def _end_after_pending(self) -> bool:
        """Serve nothing more, and close after the last answer. True when none is under way."""
        self._closing = True
        if self.pending:
            self.pending[-1].keep_alive = False
        return not self.pending

    def _close_after(self) -> None:
        self._closing = True
        self.link.shut()
