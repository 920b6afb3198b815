"""What a handler gets and gives: one HTTP request, one gRPC call, and their answers. Transport-neutral.

Handlers are `async def`s over these; the tenant is the `App` the connection belongs to, never something in the
request. Made once per request on the hot path, so these are slotted and plain.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

if TYPE_CHECKING:
    from noded.app import App
    from noded.route_table import Candidate
    from noded.wire.known_heads import KnownHead

Header = tuple[bytes, bytes]
"""Name in lower case, and value."""

JSON = b"application/json"
TEXT = b"text/plain; charset=utf-8"


class Reply(Struct, frozen=True, gc=False):
    """A whole HTTP answer. A 204 has no body and no content type; b"" as content type is none."""

    status: int
    body: bytes = b""
    content_type: bytes = JSON
    headers: tuple[Header, ...] = ()


NO_CONTENT = Reply(204)


class Exchange(Protocol):
    """The server's side of one HTTP request whose answer, or body, is streamed; HTTP/1.1 and HTTP/2 alike.

    All calls come from the loop's thread. After the peer is gone every call does nothing and `closed` is True.
    """

    closed: bool
    ended: "Ended | None"
    """Told (status, bytes of body) once, when the answer is complete, or broken off: status 0."""

    def reply(self, reply: Reply) -> None:
        """Send a whole answer."""

    def start(self, status: int, headers: Sequence[Header]) -> None:
        """Send the head; a body follows. Without a content-length header HTTP/1.1 sends chunks."""

    def write(self, data: bytes) -> bool:
        """Send a piece of the body. False: the peer reads slowly; wait for `on_writable` before writing more."""

    def end(self, trailers: Sequence[Header] = ()) -> None:
        """Finish the answer."""

    def abort(self) -> None:
        """Break off an answer that cannot be finished: close the connection or reset the stream."""

    def pause_body(self) -> None:
        """Stop reading the request's body for a while."""

    def resume_body(self) -> None:
        """Go on reading it."""

    def stream_to(self, sink: "BodySink") -> None:
        """Give the request's body, what came already first, to `sink`, and its other events too."""


class Ended(Protocol):
    """Who wants to know that an answer is over."""

    def __call__(self, status: int, size: int, /) -> None:
        """Take the status (0: broken off) and the bytes of its body."""


class BodySink(Protocol):
    """Who takes a streamed request body and hears what becomes of the peer."""

    def on_body(self, data: bytes) -> None:
        """A piece of the body."""

    def on_body_end(self) -> None:
        """The body is complete."""

    def on_writable(self) -> None:
        """The peer has read enough: write again."""

    def on_peer_gone(self) -> None:
        """The peer closed or reset; nothing more can be sent."""


class HttpCall(Struct, eq=False):
    """One HTTP request on its way to its handler."""

    app: "App"
    method: bytes
    path: bytes
    """As it came, escaped, without the query."""
    query: bytes
    headers: Sequence[Header]
    body: bytes
    exchange: Exchange
    known: "KnownHead | None" = None
    """What `headers` came from, if they were met before."""
    candidate: "Candidate | None" = None
    """Its route, where the line up to the last segment was met before; `params` are set then."""
    params: Sequence[str] = ()
    """The route's {fields}, decoded by query rules."""
    line: bytes | None = None
    """Method and path up to the last segment, where that is plain: what its route may be remembered by."""
    body_complete: bool = True
    """False for a route that streams: `body` is empty and `exchange.stream_to` gives it."""
    too_large: bool = False
    """The body passed the limit and was not kept."""

    def header(self, name: bytes) -> bytes | None:
        """The first header of that lower-case name."""
        for key, value in self.headers:
            if key == name:
                return value
        return None


class GrpcCall:
    """One gRPC call on its way to its handler."""

    __slots__ = ("app", "deadline", "initial_metadata", "metadata", "trailing_metadata")

    def __init__(self, app: "App", metadata: Sequence[Header], deadline: float | None) -> None:
        self.app = app
        self.metadata = metadata
        """The request's headers, pseudo-headers left out, names in lower case."""
        self.deadline = deadline
        """Loop time at which the caller gives up; None: never."""
        self.initial_metadata: list[Header] = []
        """Headers to answer with; the handler may add."""
        self.trailing_metadata: list[Header] = []

    def header(self, name: bytes) -> bytes | None:
        """The first metadata value of that lower-case name."""
        for key, value in self.metadata:
            if key == name:
                return value
        return None


class GrpcStream(Protocol):
    """The server's side of a streaming call: whole messages, undecoded.

    Awaits Completions only, so it serves both lanes.
    """

    closed: bool

    async def receive(self) -> bytes | None:
        """The next message from the client; None when it half-closed. Raises StreamClosed when it is gone."""

    async def send(self, message: bytes) -> None:
        """Send one message; waits while the client reads slowly. Raises StreamClosed when it is gone."""

    def send_nowait(self, message: bytes) -> bool:
        """Send one message now. False: the client reads slowly, the message was queued all the same."""

    def on_closed(self, callback: "Callback") -> None:
        """Call back once when the client is gone (reset, deadline, connection lost)."""


class Callback(Protocol):
    """A function of nothing."""

    def __call__(self) -> None:
        """Run."""


class StreamClosed(Exception):
    """The client of a stream is gone: cancelled, past its deadline, or disconnected."""
