"""Service invocation over HTTP: from one app of the node to another in one hop, bodies streamed both ways.

A request and an answer that are whole at once, as most are, cost one write each and no task. Every path that is no
other operation's ends here too. Source: dapr-api.md 1.7; daprd 1.18 pkg/api/http/directmessaging.go.
"""

from contextlib import suppress

from msgspec import Struct

from noded.api.invoke_headers import EVENTS, AnswerHeaders, RequestHeaders, answer_headers, request_headers
from noded.api.invoke_identity import check_healthy, find_grpc_app, hop_headers
from noded.api.invoke_target import (
    METHOD,
    PLAIN_PREFIX,
    InvalidTarget,
    Target,
    find_target,
    is_plain_method,
    request_path,
    split_app,
)
from noded.app import App
from noded.calls import JSON, Exchange, Header, HttpCall, Reply
from noded.channel_contract import AppChannel, ChannelError
from noded.channel_exchange import NO_DEADLINE, AppCall, AppRequest, framing_of
from noded.errors import DIRECT_INVOKE, DIRECT_INVOKE_NO_APP_ID, ApiError
from noded.peers import peer_between
from noded.tracecontext import new_traceparent
from noded.wire.http1 import MalformedRequest, header_lines
from tenancy.accounting import Peer

ANSWER_SECONDS = 3600.0
"""How long the callee may take to begin its answer. daprd has no limit; a caller that leaves ends it sooner."""

VERBS = frozenset((b"DELETE", b"GET", b"HEAD", b"OPTIONS", b"PATCH", b"POST", b"PUT", b"TRACE"))
"""Every verb but CONNECT (dapr.proto.common.v1.HTTPExtension.Verb)."""

_NO_BODY = (204, 304)
NO_ANSWER = 500
"""The status that a call without an answer is counted by, as in daprd."""
_GRPC_ERROR = "rpc error: code = {code} desc = {text}"
"""How daprd words what another app's sidecar answered."""


def invoke_http(call: HttpCall) -> None:
    """Pass the request to the app it names, and its answer back. Owns the exchange; an error is answered here."""
    try:
        _begin(call)
    except ApiError as error:
        call.exchange.reply(Reply(error.http, error.json()))


def _begin(call: HttpCall) -> None:
    """Send the request on: over a passage met before where all is plain, else after a look at everything.

    Raises ApiError, worded as daprd words it.
    """
    headers = request_headers(call)
    if headers.lines is not None:
        prefix, _, method = call.path.partition(METHOD)
        passage = call.app.node.passages.get((call.app, prefix))
        if passage is not None and is_plain_method(method):
            _pass(call, passage, method, headers.lines)
            return
    _begin_anew(call, headers)


def _pass(call: HttpCall, passage: "Passage", method: bytes, lines: bytes) -> None:
    """Send the request on over a known passage; all that its head is made of was checked before."""
    traceparent = new_traceparent(call.app.node.tracing_sampling_rate)
    head = b"%b /%b%b HTTP/1.1\r\n%b%b%b%btraceparent: %b\r\n\r\n" % (
        call.method,
        method,
        b"?" + call.query if call.query else b"",
        passage.host,
        framing_of(call.method, call.body),
        lines,
        passage.identity,
        traceparent,
    )
    request = AppRequest(call.method, b"", (), call.body, None, head)
    Invocation(call, passage.named, passage.callee, traceparent, passage.peer).send(passage.channel, request)


def _begin_anew(call: HttpCall, headers: RequestHeaders) -> None:
    target = find_target(call.path, headers.app_id, headers.authorization)
    if target is None:
        raise DIRECT_INVOKE_NO_APP_ID.error()
    if call.too_large:
        raise DIRECT_INVOKE.error(id=target.app, error="stream too large")
    grpc_app = find_grpc_app(call.app, target.app)
    if grpc_app is not None:
        from noded.api import invoke_grpc_app  # noqa: PLC0415 - protobuf is imported when sockets answer

        invoke_grpc_app.from_http(call, grpc_app, target, headers)
        return
    path, callee, channel = resolve(call.app, target, call.method)
    traceparent = headers.traceparent or new_traceparent(call.app.node.tracing_sampling_rate)
    forwarded = [*headers.forwarded, *hop_headers(call.app, callee), (b"traceparent", traceparent)]
    if headers.lines is not None and target.clean:
        _remember(call.app, target.app, callee, channel)
    if call.query:
        path = b"%b?%b" % (path, call.query)
    length = headers.content_length
    if call.body_complete:
        request = AppRequest(call.method, path, forwarded, call.body)
    else:
        request = AppRequest(call.method, path, forwarded, None, None if length is None else int(length))
    Invocation(call, target.app, callee, traceparent, peer_between(call.app, callee)).send(channel, request)


def resolve(caller: App, target: Target, verb: bytes) -> tuple[bytes, App, AppChannel]:
    """Find the path to send, the app to call and its channel.

    Raises ApiError for a bad method, an unknown app, one without a channel, a verb that cannot be sent, and an app that
    is unhealthy.
    """
    try:
        path = request_path(target)
        namespace, app_id = split_app(target.app, caller.namespace)
    except InvalidTarget as problem:
        raise DIRECT_INVOKE.error(id=target.app, error=problem) from None
    callee = caller.node.find(namespace, app_id)
    if callee is None:
        raise DIRECT_INVOKE.error(id=target.app, error=f"couldn't find service: {app_id}")
    channel = callee.channel
    if channel is None:
        raise DIRECT_INVOKE.error(id=target.app, error=_no_channel(caller, callee))
    if verb not in VERBS:
        text = _GRPC_ERROR.format(code="InvalidArgument", text="invalid HTTP verb")
        raise channel_failed(caller, callee, target.app, text)
    check_healthy(caller, callee, target.app)
    return path, callee, channel


def channel_failed(caller: App, callee: App, named: str, error: ChannelError | str) -> ApiError:
    """Word a call that failed on its way: an app's own channel's error is told bare, another's by its sidecar."""
    text = str(error)
    if caller is not callee:
        text = _GRPC_ERROR.format(code="Internal", text=f"error invoking app channel: {text}")
    return DIRECT_INVOKE.error(id=named, error=text)


def _no_channel(caller: App, callee: App) -> str:
    if caller is callee:
        return "cannot invoke local endpoint: app channel not initialized"
    return _GRPC_ERROR.format(code="Internal", text="app channel is not initialized")


class Passage(Struct, frozen=True):
    """A way from one app to another, as far as it is the same for all calls."""

    named: str
    """The callee as the caller names it."""
    callee: App
    channel: AppChannel
    host: bytes
    """The Host header's line."""
    identity: bytes
    """The lines of `hop_headers`."""
    peer: Peer
    """Counts the calls."""


def _remember(caller: App, named: str, callee: App, channel: AppChannel) -> None:
    """Keep a passage for the caller's next call; as many as there are apps, each with its namespace or without."""
    with suppress(MalformedRequest):  # told by whoever sends them
        host = header_lines([(b"host", channel.host)])
        identity = header_lines(hop_headers(caller, callee))
        key = (caller, PLAIN_PREFIX + named.encode())
        caller.node.passages[key] = Passage(named, callee, channel, host, identity, peer_between(caller, callee))


class Invocation:
    """One invocation under way: the caller's BodySink and the callee's ResponseSink. Buffers nothing itself.

    It lets go of its exchange at the end: as a reference cycle, each would wait for the garbage collector.
    """

    _upstream: AppCall | None = None
    _body_paused = False
    _started = False
    _status = NO_ANSWER
    _received = 0

    def __init__(self, call: HttpCall, named: str, callee: App, traceparent: bytes, peer: Peer) -> None:
        self._call = call
        self._peer = peer
        self._since = call.app.tenant.usage.time.now
        peer.begun += 1
        self._caller: Exchange = call.exchange
        self._callee = callee
        self._named = named
        self._traceparent = traceparent

    def send(self, channel: AppChannel, request: AppRequest) -> None:
        """Send the request on, and its body as it comes."""
        self._upstream = channel.open(request, self, ANSWER_SECONDS)
        if not self._call.body_complete:
            self._caller.stream_to(self)

    # The request's body, from the caller.

    def on_body(self, data: bytes) -> None:
        """Pass a piece on; the caller is not read while the callee takes it slowly."""
        if self._upstream is not None and not self._upstream.write(data) and not self._body_paused:
            self._body_paused = True
            self._caller.pause_body()

    def on_body_end(self) -> None:
        """The request is whole."""
        if self._upstream is not None:
            self._upstream.end()

    def on_drained(self) -> None:
        """The callee takes more."""
        if self._body_paused:
            self._body_paused = False
            self._caller.resume_body()

    # The answer, from the callee.

    @property
    def abandoned(self) -> bool:
        """Whether the caller is gone."""
        return self._caller.closed

    def on_answer(self, status: int, headers: list[Header], body: bytes) -> None:
        """Pass a whole answer on."""
        self._count(status, len(body))
        answer = answer_headers(self._upstream, headers)
        self._finish()
        content_type = _type_of(status, answer)
        plain = status not in _NO_BODY and not answer.events and self._call.method != b"HEAD"
        if content_type is not None and plain:
            self._caller.reply(Reply(status, body, content_type, (*answer.forwarded, *self._trace(answer))))
            return
        self._caller.start(status, self._framed(status, answer, b"%d" % len(body)))
        if body:
            self._caller.write(body)
        self._caller.end()

    def on_head(self, status: int, headers: list[Header]) -> None:
        """Pass the head on; pieces follow."""
        self._started = True
        self._status = status
        if self._upstream is None:
            return
        self._upstream.deadline = NO_DEADLINE
        if self._call.body_complete:
            self._caller.stream_to(self)
        answer = AnswerHeaders(headers)
        self._caller.start(status, self._framed(status, answer, answer.content_length))

    def on_piece(self, piece: bytes) -> None:
        """Pass a piece on; the callee is not read while the caller takes it slowly."""
        self._received += len(piece)
        if not self._caller.write(piece) and self._upstream is not None:
            self._upstream.pause()

    def on_end(self) -> None:
        """The answer is whole."""
        self._count(self._status, self._received)
        self._finish()
        self._caller.end()

    def on_error(self, error: ChannelError) -> None:
        """Tell the caller, or break off an answer that has begun."""
        self._count(NO_ANSWER, self._received)
        self._finish()
        if self._started:
            self._caller.abort()
        elif not self._caller.closed:
            failure = channel_failed(self._call.app, self._callee, self._named, error)
            self._caller.reply(Reply(failure.http, failure.json()))

    # What becomes of the caller.

    def on_writable(self) -> None:
        """The caller has read: read the callee on."""
        if self._upstream is not None:
            self._upstream.resume()

    def on_peer_gone(self) -> None:
        """Nobody waits for the answer."""
        if self._upstream is not None:
            self._count(NO_ANSWER, self._received)
            self._upstream.abort()

    def _finish(self) -> None:
        """What is left of the request's body is read and dropped: `on_body` has nobody to give it to."""
        self._upstream = None
        if self._body_paused:
            self.on_drained()

    def _count(self, status: int, received: int) -> None:
        """Count what it came to, without a `PeerCall`: an object less. The clock is read."""
        call = self._call
        self._peer.answered_http(call.app.tenant.usage, call.method, status, received, len(call.body), self._since)

    def _trace(self, answer: AnswerHeaders) -> tuple[Header, ...]:
        """The answer's traceparent, unless the app gave one."""
        return () if answer.traced else ((b"traceparent", self._traceparent),)

    def _framed(self, status: int, answer: AnswerHeaders, length: bytes | None) -> list[Header]:
        """The head to answer with. As in daprd the length of what HEAD would get is not told, nor a 304's type.

        Events that were asked for from another app are not to be cached.
        """
        headers = [*answer.forwarded, *self._trace(answer)]
        content_type = _type_of(status, answer)
        if content_type is not None and status != 304:
            headers.append((b"content-type", content_type))
        if answer.events and self._callee is not self._call.app and self._call.header(b"accept") == EVENTS:
            headers.append((b"cache-control", b"no-cache"))
        if length is not None and status not in _NO_BODY and self._call.method != b"HEAD":
            headers.append((b"content-length", length))
        return headers


def _type_of(status: int, answer: AnswerHeaders) -> bytes | None:
    """An answer's type. An error that has none is called JSON, as daprd calls it; nothing else is guessed."""
    if answer.content_type is None and not 200 <= status < 400:
        return JSON
    return answer.content_type
