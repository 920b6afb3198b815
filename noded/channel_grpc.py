"""gRPC calls to one app: whole unary calls here; streams of bytes through `Http2Channel.open`.

Every failure of a unary call is a status, as for any gRPC client: an app that is not there is UNAVAILABLE.
"""

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from components.completion import Completion
from noded.calls import Header
from noded.channel_contract import ChannelError
from noded.channel_exchange import ChannelTimeout
from noded.channel_http2 import Http2Channel
from noded.errors import Grpc
from noded.http2_client import AppStream, StreamReset
from noded.wire.grpc import GrpcWireError, MessageReader, encode_request_head, frame_message
from noded.wire.grpc_answers import GrpcStatus, not_grpc, own_metadata, reset_status, status_of

_NOT_SEEN: Final = 0x7
"""REFUSED_STREAM: the app did nothing with the call, so it can be sent again."""


class GrpcAnswer(Struct, frozen=True):
    """What became of a unary call."""

    status: GrpcStatus
    message: bytes = b""
    """Empty unless the status is OK."""
    headers: Sequence[Header] = ()
    """Initial metadata, gRPC's own fields left out; values of -bin names as they came, in base64."""
    trailers: Sequence[Header] = ()


class GrpcChannel(Http2Channel):
    """Calls to an app that speaks gRPC; never shared between tenants."""

    async def call(
        self,
        path: bytes,
        message: bytes,
        metadata: Sequence[Header],
        timeout_seconds: float,
        waits_seconds: float = 0.0,
    ) -> GrpcAnswer:
        """Make one unary call: `path` is /package.Service/Method, `message` serialized. Awaits a Completion only.

        The values of -bin names in `metadata` are raw. With `waits_seconds` one of the app's places is waited for so
        long first. Never raises: a failure is the answer's status.
        """
        head = encode_request_head(path, self.authority, timeout_seconds, metadata, scheme=self.scheme)
        body = frame_message(message)
        times = (timeout_seconds, waits_seconds)
        return await self._send(head, body, *times) or await self._send(head, body, *times) or _REFUSED

    async def _send(self, head: bytes, body: bytes, timeout_seconds: float, waits_seconds: float) -> GrpcAnswer | None:
        """Send a call; None: the app refused to look at it."""
        sink = UnaryAnswer(self.bounds.answer_bytes)
        stream = sink.stream = AppStream(head, sink, self.now() + timeout_seconds, body)
        self.open(stream, counted=True, waits_seconds=waits_seconds)
        try:
            return await sink.completion
        finally:
            self.done(stream)


class UnaryAnswer:
    """A StreamSink that gathers one message and the status."""

    __slots__ = ("_headers", "_max_bytes", "_message", "_reader", "completion", "stream")

    abandoned = False

    def __init__(self, max_bytes: int) -> None:
        self.completion: Completion[GrpcAnswer | None] = Completion()
        self.stream: AppStream | None = None
        self._max_bytes = max_bytes
        self._reader: MessageReader | None = None
        self._headers: Sequence[Header] = ()
        self._message: bytes | None = None

    def on_head(self, headers: Sequence[Header], *, end: bool) -> None:
        """Keep the metadata; a head that ends the call holds the status."""
        wrong = not_grpc(headers)
        if wrong is not None:
            self._break_off(wrong)
        elif end:
            self._finish(GrpcAnswer(status_of(headers), b"", (), own_metadata(headers)))
        else:
            self._reader = MessageReader(self._max_bytes, dict(headers).get(b"grpc-encoding", b"identity"))
            self._headers = own_metadata(headers)

    def on_piece(self, data: bytes, *, end: bool) -> None:
        """Keep the message."""
        assert self._reader is not None, "data comes after the head"
        try:
            messages = self._reader.feed(data)
        except GrpcWireError as error:
            self._break_off(GrpcStatus(error.status, str(error)))
            return
        if messages:
            self._message = messages[0]
        if end:
            self._finish(GrpcAnswer(GrpcStatus(Grpc.INTERNAL, "the app ended the call without a status")))
        elif self.stream is not None:
            self.stream.consumed(len(data))

    def on_trailers(self, headers: Sequence[Header]) -> None:
        """Give the answer."""
        status = status_of(headers)
        if status.code == Grpc.OK and self._message is None:
            status = GrpcStatus(Grpc.INTERNAL, "the app answered without a message")
        message = self._message or b"" if status.code == Grpc.OK else b""
        self._finish(GrpcAnswer(status, message, self._headers, own_metadata(headers)))

    def on_error(self, error: ChannelError) -> None:
        """Say what it means in gRPC."""
        if isinstance(error, StreamReset) and error.code == _NOT_SEEN and self._message is None:
            self.stream = None
            self.completion.resolve(None)
        else:
            self._finish(GrpcAnswer(error_status(error)))

    def on_drained(self) -> None:
        """Nothing: the request was whole."""

    def _break_off(self, status: GrpcStatus) -> None:
        if self.stream is not None:
            self.stream.cancel()
        self._finish(GrpcAnswer(status))

    def _finish(self, answer: GrpcAnswer) -> None:
        self.stream = None
        self.completion.resolve(answer)


def error_status(error: ChannelError) -> GrpcStatus:
    """The status of a call that failed on its way."""
    if isinstance(error, ChannelTimeout):
        return GrpcStatus(Grpc.DEADLINE_EXCEEDED, "context deadline exceeded")
    if isinstance(error, StreamReset):
        return GrpcStatus(reset_status(error.code), str(error))
    return GrpcStatus(Grpc.UNAVAILABLE, str(error))


_REFUSED: Final = GrpcAnswer(GrpcStatus(Grpc.UNAVAILABLE, "the app refused the call"))
