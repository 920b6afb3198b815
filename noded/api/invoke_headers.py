"""Which headers an invocation carries from app to app, and back.

Dropped both ways: hop-by-hop headers, those that Connection nominates, `*-bin`. Dropped on the way there, because they
are ours to say: host, content-length, who calls whom, the API token; and expect, which our server answers.
`grpc-*` travels as `dapr-grpc-*`. Source: daprd 1.18 pkg/messaging/v1/util.go, InternalMetadataToHTTPHeader.
"""

from collections.abc import Sequence
from contextlib import suppress

from noded.calls import Header, HttpCall
from noded.channel_exchange import AppCall
from noded.wire.http1 import HOP_BY_HOP, MalformedRequest, header_lines, nominated

OURS = frozenset(
    (
        b"content-length",
        b"dapr-api-token",
        b"dapr-app-id",
        b"dapr-callee-app-id",
        b"dapr-caller-app-id",
        b"dapr-caller-namespace",
        b"destination-app-id",
        b"expect",
        b"host",
        b"traceparent",
    )
)
"""Request headers that are not forwarded as they came."""

PERMANENT = frozenset(
    (
        b"accept",
        b"accept-charset",
        b"accept-language",
        b"accept-ranges",
        b"cache-control",
        b"content-length",
        b"content-type",
        b"cookie",
        b"date",
        b"expect",
        b"from",
        b"host",
        b"if-match",
        b"if-modified-since",
        b"if-none-match",
        b"if-schedule-tag-match",
        b"if-unmodified-since",
        b"max-forwards",
        b"origin",
        b"pragma",
        b"referer",
        b"via",
        b"warning",
    )
)
"""HTTP's own headers, which in gRPC metadata are told as `dapr-<name>` (daprd's isPermanentHTTPHeader)."""

EVENTS = b"text/event-stream"
_ANSWER_OURS = frozenset((b"content-length", b"content-type", b"date", b"destination-app-id"))
_MAX_KNOWN = 4096

_sent_as_is: set[bytes] = set()
_answered_as_is: set[bytes] = set()


class RequestHeaders:
    """A caller's headers, sorted once into those to forward and those that say something to us."""

    __slots__ = ("app_id", "authorization", "content_length", "forwarded", "lines", "traceparent")

    def __init__(self, headers: Sequence[Header]) -> None:
        self.lines: bytes | None = None
        """`forwarded` as it is sent, checked; None: not written, or the headers themselves may name whom to call."""
        self.app_id: bytes | None = None
        self.authorization: bytes | None = None
        self.content_length: bytes | None = None
        self.traceparent: bytes | None = None
        self.forwarded: list[Header] = []
        add = self.forwarded.append
        connection = False
        for field in headers:
            name = field[0]
            if name in _sent_as_is:
                add(field)
            elif name == b"connection":
                connection = True
            elif name == b"authorization":
                add(field)
                self.authorization = self.authorization or field[1]
            elif name in OURS:
                self._note(name, field[1])
            elif (kept := _forwarded_name(name, _sent_as_is)) is not None:
                add((kept, field[1]))
        if connection and (dropped := nominated(headers)):
            self.forwarded = [field for field in self.forwarded if field[0] not in dropped]

    def _note(self, name: bytes, value: bytes) -> None:
        if name == b"traceparent":
            self.traceparent = self.traceparent or value
        elif name == b"content-length":
            self.content_length = value
        elif name == b"dapr-app-id":
            self.app_id = self.app_id or value


def as_metadata(headers: Sequence[Header]) -> list[Header]:
    """HTTP headers as gRPC metadata: HTTP's own under `dapr-<name>`."""
    return [(b"dapr-" + name if name in PERMANENT else name, value) for name, value in headers]


def request_headers(call: HttpCall) -> RequestHeaders:
    """A call's headers; sorted and written once for all requests that come with the same ones. Not to be changed."""
    known = call.known
    if known is None:
        return RequestHeaders(call.headers)
    if isinstance(known.parsed, RequestHeaders):
        return known.parsed
    headers = known.parsed = RequestHeaders(known.headers)
    if headers.app_id is None and not (headers.authorization or b"").startswith(b"Basic "):
        with suppress(MalformedRequest):  # told by whoever sends them
            headers.lines = header_lines(headers.forwarded)
    return headers


def answer_headers(exchange: AppCall | None, headers: Sequence[Header]) -> "AnswerHeaders":
    """An answer's headers; sorted once for all answers that come with the same ones. Not to be changed."""
    known = exchange.known if exchange is not None else None
    if known is None:
        return AnswerHeaders(headers)
    if not isinstance(known.parsed, AnswerHeaders):
        known.parsed = AnswerHeaders(known.headers)
    return known.parsed


class AnswerHeaders:
    """An app's answer headers, sorted into those to forward and those that the framing needs."""

    __slots__ = ("content_length", "content_type", "events", "forwarded", "traced")

    def __init__(self, headers: Sequence[Header]) -> None:
        self.content_length: bytes | None = None
        self.content_type: bytes | None = None
        self.forwarded: list[Header] = []
        self.traced = False
        """Whether the app itself answered with a traceparent."""
        add = self.forwarded.append
        connection = False
        for field in headers:
            name = field[0]
            if name in _answered_as_is:
                add(field)
            elif name == b"content-type":
                self.content_type = self.content_type or field[1]
            elif name == b"content-length":
                self.content_length = field[1]
            elif name == b"connection":
                connection = True
            elif name == b"traceparent":
                self.traced = True
                add(field)
            elif name not in _ANSWER_OURS and (kept := _forwarded_name(name, _answered_as_is)) is not None:
                add((kept, field[1]))
        if connection and (dropped := nominated(headers)):
            self.forwarded = [field for field in self.forwarded if field[0] not in dropped]
        self.events = self.content_type is not None and self.content_type.startswith(EVENTS)
        """Whether it is of server-sent events."""


def _forwarded_name(name: bytes, as_is: set[bytes]) -> bytes | None:
    """The name a header travels under; None: it stays here. What travels as it is is remembered, up to a bound."""
    if name in HOP_BY_HOP or name.endswith(b"-bin"):
        return None
    if name.startswith(b"grpc-"):
        return b"dapr-" + name
    if len(as_is) < _MAX_KNOWN:
        as_is.add(name)
    return name
