"""The server's side of a streaming gRPC call (`noded.calls.GrpcStream`).

What is received and not yet asked for is bounded: past `HIGH_INBOX_BYTES` of whole messages the peer gets no more
window. A message still arriving is let in whole, as large as a message may be.
"""

from collections import deque
from collections.abc import Callable

from components.completion import Completion
from noded.calls import StreamClosed
from noded.errors import GRPC_UNREADABLE, ApiError, Grpc
from noded.server_http2 import Http2Wire
from noded.wire.grpc import RESPONSE_HEAD, Framing, GrpcWireError, MessageReader, encode_trailers

HIGH_INBOX_BYTES = 256 << 10
"""Of messages that nobody asked for yet; beyond, the peer must wait."""

_STOPPING = encode_trailers(Grpc.UNAVAILABLE, "the daemon is stopping")


class ServerStream:
    """Whole messages in and out; awaits Completions only."""

    def __init__(self, wire: Http2Wire, stream_id: int, reader: MessageReader, framing: Framing) -> None:
        self.wire = wire
        self.stream_id = stream_id
        self.closed = False
        self._reader = reader
        self._framing = framing
        self._inbox: deque[bytes] = deque()  # bounded by HIGH_INBOX_BYTES and one window
        self._inbox_bytes = 0
        self._owed_bytes = 0  # of window, until the inbox is shorter
        self._ended = False
        self._failure: ApiError | None = None
        self._reading: Completion[None] | None = None
        self._writing: list[Completion[None]] = []
        self._on_closed: list[Callable[[], None]] = []
        self._started = False
        self._finished = False

    async def receive(self) -> bytes | None:
        """The next message; None when the client half-closed. Raises StreamClosed when it is gone."""
        while not self._inbox:
            if self._failure is not None:
                raise self._failure
            if self.closed:
                raise StreamClosed
            if self._ended:
                return None
            self._reading = Completion()
            await self._reading
        message = self._inbox.popleft()
        self._inbox_bytes -= len(message)
        if self._owed_bytes and self._inbox_bytes <= HIGH_INBOX_BYTES:
            owed, self._owed_bytes = self._owed_bytes, 0
            self.wire.codec.consumed(self.stream_id, owed)
            self.wire.flush()
        return message

    async def send(self, message: bytes) -> None:
        """Send one message; waits while the client reads slowly. Raises StreamClosed when it is gone."""
        if self.send_nowait(message):
            return
        waiting: Completion[None] = Completion()
        self._writing.append(waiting)
        await waiting

    def send_nowait(self, message: bytes) -> bool:
        """Send one message now. False: the client reads slowly; it was queued all the same. Raises StreamClosed."""
        if self.closed:
            raise StreamClosed
        self._start()
        more = self.wire.codec.send_data(self.stream_id, self._framing.frame(message), end_stream=False)
        self.wire.flush()
        return more

    def on_closed(self, callback: Callable[[], None]) -> None:
        """Call back once when the client is gone."""
        if self.closed:
            callback()
        else:
            self._on_closed.append(callback)

    def finish(self, trailers: bytes) -> None:
        """End the call."""
        if self._finished:
            return
        self._finished = True
        if not self.closed:
            if self._started:
                self.wire.codec.send_trailers(self.stream_id, trailers)
            else:
                self.wire.codec.send_headers(self.stream_id, RESPONSE_HEAD + trailers, end_stream=True)
            self.wire.close_stream(self.stream_id)
            self.wire.flush()
            self.on_gone()

    # What the wire calls.

    def on_data(self, data: bytes, *, end: bool) -> None:
        """Cut the body into messages."""
        try:
            messages = self._reader.feed(data)
        except GrpcWireError as error:
            self._failure = GRPC_UNREADABLE.error(text=error, grpc=Grpc(error.status))
            messages = []
        self._inbox.extend(messages)
        self._inbox_bytes += sum(map(len, messages))
        if self._inbox_bytes <= HIGH_INBOX_BYTES:
            self.wire.codec.consumed(self.stream_id, len(data))
        else:
            self._owed_bytes += len(data)
        if end:
            self._ended = True
        self._wake()

    def on_end(self) -> None:
        """The client half-closed."""
        self._ended = True
        self._wake()

    def on_gone(self) -> None:
        """The client is gone."""
        if self.closed:
            return
        self.closed = True
        self._wake()
        writing, self._writing = self._writing, []
        for waiting in writing:
            waiting.fail(StreamClosed())
        callbacks, self._on_closed = self._on_closed, []
        for callback in callbacks:
            callback()

    def on_writable(self) -> None:
        """The client has read."""
        writing, self._writing = self._writing, []
        for waiting in writing:
            waiting.resolve(None)

    def on_drain(self) -> None:
        """Tell the client to come again: a stream may last for ever."""
        self.finish(_STOPPING)

    def _start(self) -> None:
        if not self._started:
            self._started = True
            self.wire.codec.send_headers(self.stream_id, self._framing.head, end_stream=False)

    def _wake(self) -> None:
        reading, self._reading = self._reading, None
        if reading is not None:
            reading.resolve(None)
