"""The service that interop calls reach through the daemon: `interop.Echo`, by grpcio, on bytes.

Unary   -> the request; metadata back, `x-seen-<name>` for what the caller sent as `x-<name>`
Squeeze -> the request, compressed with gzip
Fail    -> NOT_FOUND with the request as google.rpc.Status
Hang    -> nothing, until the caller leaves
Count   -> as many numbers as the request says
Endless -> bytes, as many as the request says each, until the caller leaves
Leave   -> one message, then the app cancels
Join    <- many requests -> the sum of their lengths
Chat    <-> an answer to each request
"""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

SERVICE = "interop.Echo"
WAIT_SECONDS = 15.0


class EchoService:
    """A server on a loopback port, and what it saw."""

    def __init__(self) -> None:
        self.seconds_left: list[float | None] = []
        """Of each call that hung: what its deadline left it."""
        self.left = 0
        """Calls that their callers left."""
        self._lock = threading.Lock()
        self._server = grpc.server(ThreadPoolExecutor(32), options=[("grpc.max_receive_message_length", -1)])
        handlers: dict[str, Any] = {
            "Unary": grpc.unary_unary_rpc_method_handler(unary),
            "Squeeze": grpc.unary_unary_rpc_method_handler(squeeze),
            "Fail": grpc.unary_unary_rpc_method_handler(fail),
            "Hang": grpc.unary_unary_rpc_method_handler(self.hang),
            "Count": grpc.unary_stream_rpc_method_handler(count),
            "Endless": grpc.unary_stream_rpc_method_handler(self.endless),
            "Leave": grpc.unary_stream_rpc_method_handler(leave),
            "Join": grpc.stream_unary_rpc_method_handler(join),
            "Chat": grpc.stream_stream_rpc_method_handler(self.chat),
        }
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    def stop(self) -> None:
        self._server.stop(None).wait()

    def watch(self, context: grpc.ServicerContext) -> threading.Event:
        """An event for the end of a call that only its caller ends."""
        gone = threading.Event()

        def note() -> None:
            with self._lock:
                self.left += 1
            gone.set()

        context.add_callback(note)
        return gone

    def hang(self, _: bytes, context: grpc.ServicerContext) -> bytes:
        self.seconds_left.append(context.time_remaining())
        self.watch(context).wait(WAIT_SECONDS)
        return b""

    def endless(self, message: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        self.watch(context)
        while context.is_active():
            yield bytes(int(message))

    def chat(self, messages: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        for message in messages:
            yield b"re: " + message


def unary(message: bytes, context: grpc.ServicerContext) -> bytes:
    sent = [(name, value) for name, value in context.invocation_metadata() if name.startswith("x-")]
    context.send_initial_metadata(tuple((f"x-seen-{name[2:]}", value) for name, value in sent))
    context.set_trailing_metadata((("x-trailing", "t"), ("x-trailing-bin", b"\2\xff")))
    return message


def squeeze(message: bytes, context: grpc.ServicerContext) -> bytes:
    context.set_compression(grpc.Compression.Gzip)
    return message


def fail(message: bytes, context: grpc.ServicerContext) -> bytes:
    context.set_trailing_metadata((("grpc-status-details-bin", message),))
    context.abort(grpc.StatusCode.NOT_FOUND, "not here: 100 % é")
    raise AssertionError


def count(message: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
    for number in range(int(message)):
        yield b"%d" % number


def leave(_: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
    yield b"last words"
    context.abort(grpc.StatusCode.CANCELLED, "the app left")


def join(messages: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
    return b"%d" % sum(map(len, messages))
