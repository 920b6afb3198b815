"""HTTP/1.1 of one connection: httptools parses, requests go to dispatch, answers leave in the order of the requests.

No IO here: bytes come by `feed`, go by `Link.send`. A request whose body is whole by the end of a read is dispatched
with it; else it is decided whether its route streams (invocation) or waits for the whole body. Requests that look like
earlier ones do not come here: `http1_known.py`. Source: RFC 9112.
"""

from collections import deque
from collections.abc import Callable

import httptools

from noded.calls import Header, HttpCall, Reply
from noded.http1_exchange import Http1Exchange, Link
from noded.http1_known import MAX_PIPELINED, Handler, KnownRequests
from noded.http_heads import CONTINUE
from noded.wire.http1_rules import (
    HEAD_SLACK_BYTES,
    HEAD_TOO_LARGE,
    origin_form,
    refusal,
    refused,
    unparsed,
)
from tenancy.fairness import SLICE_BYTES

READ_BUFFER_BYTES = 4 << 10
"""Of a request line and its headers, `HEAD_SLACK_BYTES` beyond which are let pass: daprd's --read-buffer-size."""
MAX_SKIPPED_BYTES = 256 << 10
"""Of a body that was answered before its end: read and dropped, so that the connection can be kept. Go's figure."""
LARGEST_SLICE_BYTES = 64 << 10
"""Taken at one go inside a large body."""
_SERVER_WIDE = Reply(200, content_type=b"")
"""The answer to `OPTIONS *`."""

_NONE = httptools.HttpRequestParser(None)
"""The parser of a connection that is gone, which is fed nothing."""

Decide = Callable[[HttpCall], bool]


class Http1Wire(KnownRequests):
    """The server's side of one HTTP/1.1 connection."""

    def __init__(
        self, link: Link, handle: Handler, streams: Decide, read_buffer_bytes: int = READ_BUFFER_BYTES
    ) -> None:
        super().__init__(link, handle)
        self._max_head_bytes = read_buffer_bytes + HEAD_SLACK_BYTES
        self._streams = streams
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        self._headers: list[Header] = []
        self._body: list[bytes] = []
        self._body_size = 0
        self._length: int | None = None
        """Of a body that did not come at once, as announced; None: chunked."""
        self._head_size = 0
        self._in_body = False
        self._streamed: HttpCall | None = None
        """The request whose body is being streamed, of `exchange`."""
        self._skip_until = 0
        """Bytes of its body that may come once it was answered, and are dropped; 0: it was not."""
        self._buffering = False
        self._upgrading = False
        self._stalled = False
        self._take = handle
        self._holding = False
        self._held: deque[HttpCall] = deque()
        """Requests that wait for `writable`; bounded: nothing is fed meanwhile, so they all came in one slice."""
        self._keep = True
        self._begun = 0
        self.mid_head = 0
        """Which request it is whose head is not whole; 0: none. The peer has a deadline for each."""

    def _parse(self, data: bytes) -> None:
        self._head_size += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserUpgrade, httptools.HttpParserError) as stop:
            self._stopped(stop, data)
            return
        if self._head_size > self._max_head_bytes:
            self._refuse(refused(HEAD_TOO_LARGE))
        elif self._in_body and self.exchange is None and not self._buffering and not self._closing:
            self._decide()
        if self._in_body:
            self._cut_larger()
        self.mid_head = self._begun if self._head_size and not self._in_body else 0
        if len(self.pending) >= MAX_PIPELINED:
            self._bound()

    def lost(self) -> None:
        """The connection is gone: tell every request under way, and let go of what has this."""
        self._closing = True
        self._parser = _NONE  # no cycle is left for the collector, which may come late: each would keep four kilobytes
        self._held.clear()
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

    def hold(self) -> None:
        """Begin no request until `writable`: the peer does not read the answers to those before it."""
        if not self._holding:
            self._holding = True
            self._take, self._handle = self._handle, self._held.append

    def writable(self) -> None:
        """The peer has read: what was held may begin, and whoever streams to it go on."""
        if self._holding:
            self._holding = False
            self._handle = self._take
            while self._held and not self._holding:
                self._handle(self._held.popleft())
        if self.pending and (sink := self.pending[0].sink) is not None:
            sink.on_writable()

    def finished(self, exchange: Http1Exchange) -> None:
        """An answer is complete: send those behind it that were waiting."""
        pending = self.pending
        if not pending or pending[0] is not exchange:
            return
        while True:
            first = pending.popleft()
            if not first.keep_alive or (self.exchange is first and not self.skip_rest()):
                self._close_after()
                return
            if not pending or not pending[0].release():
                break
        if pending and (sink := pending[0].sink) is not None:
            sink.on_writable()
        if self._stalled and len(pending) < MAX_PIPELINED:
            self._stalled = False
            self.link.unstall()

    def skip_rest(self) -> bool:
        """Read the rest of an answered request's body and drop it, unless it is known to be much."""
        call = self._streamed
        length = None if call is None else call.header(b"content-length")
        if not self._skip_until and (length is None or int(length) - self._body_size <= MAX_SKIPPED_BYTES):
            self._skip_until = self._body_size + MAX_SKIPPED_BYTES
        return self._skip_until > 0 and not self._closing

    # What httptools calls, in the order of the stream.

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        self._parsing = True
        self._begun += 1

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
            if self._skip_until:
                if self._body_size > self._skip_until:
                    self._close_after()
            elif self._body_size > self.link.app.max_body_bytes:
                self._overflow(self.exchange)
            self.exchange.push(body)
        elif self._body_size <= self.link.app.max_body_bytes:
            self._body.append(body)
        elif self._buffering:
            self._answer_early()

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
            if self._closing and exchange.closed and not self.pending:
                self._close_after()

    def _bound(self) -> None:
        """Read no more while too many requests are under way."""
        if not self._stalled:
            self._stalled = True
            self.link.stall()

    def _dispatch_whole(self) -> None:
        if self._closing or self._is_refused():
            return
        body = self._body
        whole = b"" if not body else body[0] if len(body) == 1 else b"".join(body)
        method, exchange = self._begin()
        call = self._call(method, whole, exchange)
        section, self._section = self._section, None
        if self._body_size > len(whole):
            call.too_large = True
        elif section is not None and exchange.keep_alive and not exchange.http10:
            self.link.app.known_heads.learn(section, self._headers, self._body_size)
        if not exchange.keep_alive:
            self._closing = True
        if call.path == b"*":
            exchange.reply(_SERVER_WIDE)
        else:
            self._handle(call)

    def _answer_early(self) -> None:
        """A body that was being gathered passed the limit: answer now, and see what to do with the rest."""
        self._body = []
        self._buffering = False
        method, exchange = self._begin()
        call = self._call(method, b"", exchange)
        call.too_large = True
        self.exchange, self._streamed = exchange, call
        self._handle(call)

    def _is_refused(self) -> bool:
        """Refuse a head that HTTP does not allow. Known heads were asked once."""
        if self._head_size > self._max_head_bytes and self._head_bytes() > self._max_head_bytes:
            answer: bytes | None = refused(HEAD_TOO_LARGE)
        else:
            answer = refusal(self._parser.get_http_version(), self._url, self._headers)
        if answer is not None:
            self._refuse(answer)
        return answer is not None

    def _head_bytes(self) -> int:
        """How much of what was read is the head."""
        lines = sum(len(name) + len(value) + 4 for name, value in self._headers)
        return len(self._parser.get_method()) + len(self._url) + len("  HTTP/1.1\r\n\r\n") + lines

    def _begin(self) -> tuple[bytes, Http1Exchange]:
        parser = self._parser
        method = parser.get_method()
        keep = self._keep and parser.should_keep_alive()
        exchange = Http1Exchange(self, keep_alive=keep)
        exchange.head_only = method == b"HEAD"
        exchange.http10 = parser.get_http_version() == "1.0"
        exchange.plain = not exchange.head_only and not exchange.http10
        self.pending.append(exchange)
        return method, exchange

    def _call(self, method: bytes, body: bytes, exchange: Http1Exchange) -> HttpCall:
        target = self._url
        if target[:1] != b"/":
            self._section = None
            target = origin_form(target, self._headers)
        path, _, query = target.partition(b"?")
        return HttpCall(self.link.app, method, path, query, self._headers, body, exchange)

    def _decide(self) -> None:
        """The read ended inside a body: stream it if its route does, else gather it."""
        if self._is_refused():
            return
        method, exchange = self._begin()
        call = self._call(method, b"", exchange)
        expects = call.header(b"expect")
        if expects is not None and expects.lower() == b"100-continue" and not self._body and len(self.pending) == 1:
            self.link.send(CONTINUE)
        length = call.header(b"content-length")
        self._length = None if length is None else int(length)
        if not self._streams(call):
            self._buffering = True
            self.pending.pop()
            return
        call.too_large = max(self._body_size, self._length or 0) > self.link.app.max_body_bytes
        call.body_complete = False
        exchange.parts, self._body = self._body, []
        self.exchange, self._streamed = exchange, call
        self._handle(call)

    def _cut_larger(self) -> None:
        """Inside a body take more at one go, but hardly more than is left of it: requests may stand behind it."""
        wanted = 2 * self.link.slice_bytes if self._length is None else self._length - self._body_size
        self.link.slice_bytes = max(SLICE_BYTES, min(wanted, LARGEST_SLICE_BYTES))

    def _overflow(self, exchange: Http1Exchange) -> None:
        """A body of unknown length passed the limit: have the request answered for that, made anew as it came."""
        if not exchange.begin_anew():
            exchange.abort()
            return
        self._unhold(exchange)
        self._streamed = call = self._call(self._parser.get_method(), b"", exchange)
        call.too_large = True
        call.body_complete = False
        self._handle(call)

    def _unhold(self, exchange: Http1Exchange) -> None:
        """Have a request that was not begun never begin."""
        for at, call in enumerate(self._held):
            if call.exchange is exchange:
                del self._held[at]
                return

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
            self.exchange = self._streamed = None
            self._skip_until = 0
            self._buffering = False
            self.link.slice_bytes = SLICE_BYTES

    def _stopped(self, stop: Exception, data: bytes) -> None:
        """The parser went no further. Raises what a handler let escape: that ends the connection, and is logged."""
        if isinstance(stop, httptools.HttpParserUpgrade):
            self._ignore_upgrade(data[stop.args[0] :])
        elif isinstance(stop, httptools.HttpParserCallbackError):
            raise stop
        elif not self._in_body or self.exchange is not None or not self._is_refused():
            self._refuse(unparsed(str(stop)))

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

    def _refuse(self, answer: bytes) -> None:
        """Answer what is no HTTP as Go's server does, after the requests before it, and close."""
        if self._closing or self.exchange is not None:
            self._close_after()
            return
        self._closing = True
        exchange = Http1Exchange(self, keep_alive=False)
        self.pending.append(exchange)
        exchange.refuse(answer)

    def _end_after_pending(self) -> bool:
        """Serve nothing more, and close after the last answer. True when none is under way."""
        self._closing = True
        if self.pending:
            self.pending[-1].keep_alive = False
        return not self.pending

    def _close_after(self) -> None:
        """Close; a peer inside a request may be sending it still."""
        self._closing = True
        if self._parsing:
            self.link.linger()
        else:
            self.link.shut()
