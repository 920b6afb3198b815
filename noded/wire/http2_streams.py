"""One HTTP/2 stream's state, and what it still has to send. No IO."""

from collections import deque

from msgspec import Struct


class Backlog:
    """What a stream could not send for want of window: DATA, then perhaps trailers, then perhaps its end.

    Bounded by whoever sends: `send_data` answers False while there is a backlog.
    """

    __slots__ = ("_chunks", "_offset", "announced", "ends", "size", "trailers")

    def __init__(self) -> None:
        self._chunks: deque[bytes] = deque()
        self._offset = 0  # bytes of the first chunk already sent
        self.size = 0
        self.announced = False  # `send_data` said False, so `on_writable` is owed
        self.ends = False
        self.trailers: bytes | None = None

    def append(self, chunk: bytes) -> None:
        """Add bytes behind what waits."""
        if chunk:
            self._chunks.append(chunk)
            self.size += len(chunk)

    def take(self, limit: int) -> bytes:
        """Remove and give at most `limit` bytes, at least one, from the front; never called on an empty backlog."""
        chunk = self._chunks[0]
        piece = chunk[self._offset : self._offset + limit]
        self._offset += len(piece)
        self.size -= len(piece)
        if self._offset == len(chunk):
            self._chunks.popleft()
            self._offset = 0
        return piece


class Stream(Struct):
    """An open stream. Its states: receiving and sending are open or not; neither: it is forgotten."""

    stream_id: int
    send_window: int
    """DATA bytes the peer still takes; negative after it shrank its initial window."""
    receive_window: int
    """DATA bytes the peer may still send."""
    auto_consume: int
    """DATA bytes that will yet count as taken on arrival."""
    receiving: bool = True
    sending: bool = True
    head_received: bool = False
    """The final response head came (client), or the request head (server)."""
    body_left: int | None = None
    """Bytes the announced content-length still promises; None: not announced."""
    held: int = 0
    """DATA bytes received, owed to the connection's window until the application takes them."""
    credit: int = 0
    """DATA bytes taken, not yet given back to the peer by a WINDOW_UPDATE of the stream."""
    backlog: Backlog | None = None
