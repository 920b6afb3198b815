"""An exchange that stands before another: what is not of its own it passes on."""

from collections.abc import Sequence

from noded.calls import BodySink, Ended, Exchange, Header, Reply


class Passed:
    """An exchange that passes everything on to another."""

    def __init__(self, inner: Exchange) -> None:
        self.inner = inner

    @property
    def closed(self) -> bool:
        """As Exchange.closed."""
        return self.inner.closed

    @closed.setter
    def closed(self, value: bool) -> None:
        self.inner.closed = value

    @property
    def ended(self) -> Ended | None:
        """As Exchange.ended."""
        return self.inner.ended

    @ended.setter
    def ended(self, value: Ended | None) -> None:
        self.inner.ended = value

    def reply(self, reply: Reply) -> None:
        """As Exchange.reply."""
        self.inner.reply(reply)

    def start(self, status: int, headers: Sequence[Header]) -> None:
        """As Exchange.start."""
        self.inner.start(status, headers)

    def write(self, data: bytes) -> bool:
        """As Exchange.write."""
        return self.inner.write(data)

    def end(self, trailers: Sequence[Header] = ()) -> None:
        """As Exchange.end."""
        self.inner.end(trailers)

    def abort(self) -> None:
        """As Exchange.abort."""
        self.inner.abort()

    def pause_body(self) -> None:
        """As Exchange.pause_body."""
        self.inner.pause_body()

    def resume_body(self) -> None:
        """As Exchange.resume_body."""
        self.inner.resume_body()

    def stream_to(self, sink: BodySink) -> None:
        """As Exchange.stream_to."""
        self.inner.stream_to(sink)
