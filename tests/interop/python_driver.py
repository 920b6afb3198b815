"""Make the calls of a table with grpcio, and print what came of each: see table.py."""

import base64
import hashlib
import json
import sys
import threading
from collections.abc import Iterator
from typing import Any

import grpc

UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
Call = dict[str, Any]


def messages(call: Call) -> list[bytes]:
    return [base64.b64decode(each) if isinstance(each, str) else bytes(each) for each in call["messages"]]


def metadata(call: Call) -> list[tuple[str, str | bytes]]:
    return [
        (name, base64.b64decode(value) if name.endswith("-bin") else value) for name, value in call["metadata"].items()
    ]


def shown(pairs: Any) -> dict[str, str]:
    texts: dict[str, str] = {}
    for name, value in pairs or ():
        texts[name] = base64.b64encode(value).decode() if isinstance(value, bytes) else value
    return texts


def told(message: bytes) -> list[object]:
    return [len(message), hashlib.sha256(message).hexdigest()[:8]]


def requests(call: Call, finished: threading.Event) -> Iterator[bytes]:
    """The messages; the stream stays open where the caller is to leave it."""
    yield from messages(call)
    if call["cancel_after"]:
        finished.wait(30)


def start(channel: grpc.Channel, call: Call, finished: threading.Event) -> Any:
    methods: Any = channel
    options = {
        "metadata": metadata(call),
        "timeout": call["deadline_seconds"] or 30,
        "compression": grpc.Compression.Gzip if call["gzip"] else None,
    }
    kind, path = call["kind"], call["path"]
    if kind == "unary":
        return methods.unary_unary(path).future(messages(call)[0], **options)
    if kind == "server":
        return methods.unary_stream(path)(messages(call)[0], **options)
    if kind == "client":
        return methods.stream_unary(path).future(requests(call, finished), **options)
    return methods.stream_stream(path)(requests(call, finished), **options)


def outcome(channel: grpc.Channel, call: Call) -> dict[str, object]:
    finished, received = threading.Event(), []
    running = start(channel, call, finished)
    if call["cancel_seconds"]:
        threading.Timer(call["cancel_seconds"], running.cancel).start()
    try:
        for message in [running.result()] if call["kind"] in {"unary", "client"} else running:
            received.append(told(message))
            if len(received) == call["cancel_after"]:
                running.cancel()
                finished.set()
    except (grpc.RpcError, grpc.FutureCancelledError):
        pass
    return {
        "case": call["case"], "code": running.code().value[0], "message": running.details() or "",
        "received": received, "initial": shown(running.initial_metadata()),
        "trailing": shown(running.trailing_metadata()),
    }  # fmt: skip


def main() -> None:
    with grpc.insecure_channel(sys.argv[1], options=UNLIMITED) as channel:
        for line in sys.stdin:
            sys.stdout.write(json.dumps(outcome(channel, json.loads(line))) + "\n")


if __name__ == "__main__":
    main()
