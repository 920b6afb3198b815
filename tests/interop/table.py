"""The calls that every gRPC implementation makes, and what must come of each.

Messages are bytes to every driver, so one table serves them all; a number stands for so many zeros. A driver reads a
call as one line of JSON and prints one line: case, code, message, received ([length, start of the SHA-256] each),
initial and trailing metadata (binary values in base64).
"""

import base64
import hashlib
from dataclasses import dataclass, field

from google.protobuf.any_pb2 import Any
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from noded.proto import pubsub_pb2, state_pb2

ECHO = "/interop.Echo"
DAPR = "/dapr.proto.runtime.v1.Dapr"
LIMIT = 4 * 1024 * 1024
OK, CANCELLED, UNKNOWN, INVALID_ARGUMENT, DEADLINE_EXCEEDED, NOT_FOUND = 0, 1, 2, 3, 4, 5
RESOURCE_EXHAUSTED = 8
TOO_LARGE = "larger than max"
OCTETS = base64.b64encode(b"\0\xff\x80").decode()
DETAILS = Status(code=NOT_FOUND, message="not here: 100 % é", details=[Any()])
DETAILS.details[0].Pack(ErrorInfo(reason="GONE", domain="test"))


@dataclass(frozen=True)
class Call:
    """One call, and its outcome."""

    case: str
    path: str
    kind: str
    """unary, server, client or bidi: who streams."""
    messages: tuple[bytes | int, ...]
    code: int = OK
    received: tuple[bytes | int, ...] | None = ()
    """None: whatever came before the end."""
    message: str = ""
    """A part of the status message."""
    metadata: dict[str, str] = field(default_factory=dict)
    initial: dict[str, str] = field(default_factory=dict)
    """Among the initial metadata; so with `trailing`."""
    trailing: dict[str, str] = field(default_factory=dict)
    deadline_seconds: float = 0
    cancel_seconds: float = 0
    cancel_after: int = 0
    """The caller leaves once it has so many messages; until then its own stream stays open."""
    gzip: bool = False

    def request(self, metadata: dict[str, str]) -> dict[str, object]:
        """What a driver is told; `metadata` goes with every call."""
        return {
            "case": self.case, "path": self.path, "kind": self.kind, "metadata": {**metadata, **self.metadata},
            "messages": [each if isinstance(each, int) else base64.b64encode(each).decode() for each in self.messages],
            "deadline_seconds": self.deadline_seconds, "cancel_seconds": self.cancel_seconds,
            "cancel_after": self.cancel_after, "gzip": self.gzip,
        }  # fmt: skip


def told(message: bytes | int) -> list[object]:
    """A message as drivers print it."""
    octets = bytes(message) if isinstance(message, int) else message
    return [len(octets), hashlib.sha256(octets).hexdigest()[:8]]


def save(value: bytes) -> bytes:
    request = state_pb2.SaveStateRequest(store_name="statestore")
    request.states.add(key="k", value=value)
    return request.SerializeToString()


def get(store: str) -> bytes:
    return state_pb2.GetStateRequest(store_name=store, key="k").SerializeToString()


def subscribe() -> bytes:
    request = pubsub_pb2.SubscribeTopicEventsRequestAlpha1()
    request.initial_request.pubsub_name, request.initial_request.topic = "pubsub", "t"
    return request.SerializeToString()


def subscribed() -> bytes:
    answer = pubsub_pb2.SubscribeTopicEventsResponseAlpha1()
    answer.initial_response.SetInParent()
    return answer.SerializeToString()


NUMBERS = tuple(b"%d" % number for number in range(100))
CALLS = (
    Call("unary", f"{ECHO}/Unary", "unary", (b"hello",), received=(b"hello",)),
    Call("unary without bytes", f"{ECHO}/Unary", "unary", (b"",), received=(b"",)),
    Call("server streaming", f"{ECHO}/Count", "server", (b"100",), received=NUMBERS),
    Call("server streaming of nothing", f"{ECHO}/Count", "server", (b"0",)),
    Call("client streaming", f"{ECHO}/Join", "client", (b"one", b"", 3000), received=(b"3003",)),
    Call("client streaming of nothing", f"{ECHO}/Join", "client", (), received=(b"0",)),
    Call("both streaming", f"{ECHO}/Chat", "bidi", (b"a", b"", b"b"), received=(b"re: a", b"re: ", b"re: b")),
    Call("both streaming nothing", f"{ECHO}/Chat", "bidi", ()),
    Call(
        "metadata both ways", f"{ECHO}/Unary", "unary", (b"m",), received=(b"m",),
        metadata={"x-text": "a b", "x-octets-bin": OCTETS},
        initial={"x-seen-text": "a b", "x-seen-octets-bin": OCTETS},
        trailing={"x-trailing": "t", "x-trailing-bin": base64.b64encode(b"\2\xff").decode()},
    ),
    Call(
        "status with details", f"{ECHO}/Fail", "unary", (DETAILS.SerializeToString(),), NOT_FOUND,
        message="not here: 100 % é",
        trailing={"grpc-status-details-bin": base64.b64encode(DETAILS.SerializeToString()).decode()},
    ),
    Call("an error of the app", f"{ECHO}/Count", "server", (b"no number",), UNKNOWN, message="Exception iterating"),
    Call("a method nobody has", f"{ECHO}/Nothing", "unary", (b"",), 12, message="not found"),
    Call("the deadline of a call", f"{ECHO}/Hang", "unary", (b"",), DEADLINE_EXCEEDED, deadline_seconds=0.5),
    Call(
        "the deadline of a stream", f"{ECHO}/Endless", "server", (b"10",), DEADLINE_EXCEEDED, None, deadline_seconds=0.5
    ),
    Call("the caller leaves a call", f"{ECHO}/Hang", "unary", (b"",), CANCELLED, cancel_seconds=0.3),
    Call("the caller leaves a stream", f"{ECHO}/Endless", "server", (b"10",), CANCELLED, None, cancel_after=5),
    Call("the caller leaves both streams", f"{ECHO}/Chat", "bidi", (b"a",), CANCELLED, (b"re: a",), cancel_after=1),
    Call("the app leaves", f"{ECHO}/Leave", "server", (b"",), CANCELLED, (b"last words",), message="the app left"),
    Call("a large message", f"{ECHO}/Unary", "unary", (LIMIT,), received=(LIMIT,)),
    Call("a message over the limit", f"{ECHO}/Unary", "unary", (LIMIT + 1,), RESOURCE_EXHAUSTED, message=TOO_LARGE),
    Call("many large messages", f"{ECHO}/Join", "client", (LIMIT,) * 4, received=(b"%d" % (4 * LIMIT),)),
    Call(
        "an answer over the limit", f"{ECHO}/Endless", "server", (b"%d" % (LIMIT + 1),), RESOURCE_EXHAUSTED,
        message=TOO_LARGE,
    ),
    Call("gzip", f"{ECHO}/Unary", "unary", (100_000,), received=(100_000,), gzip=True),
    Call("gzip of streams", f"{ECHO}/Chat", "bidi", (b"a" * 999,), received=(b"re: " + b"a" * 999,), gzip=True),
    Call("gzip of the app", f"{ECHO}/Squeeze", "unary", (b"z" * 5000,), received=(b"z" * 5000,)),
    Call("state", f"{DAPR}/SaveState", "unary", (save(b"v"),), received=(b"",)),
    Call("state with gzip", f"{DAPR}/SaveState", "unary", (save(b"v" * 5000),), received=(b"",), gzip=True),
    Call(
        "state over the limit", f"{DAPR}/SaveState", "unary", (save(bytes(LIMIT)),), RESOURCE_EXHAUSTED,
        message=TOO_LARGE,
    ),
    Call(
        "state over the limit behind gzip", f"{DAPR}/SaveState", "unary", (save(bytes(LIMIT)),), RESOURCE_EXHAUSTED,
        message=TOO_LARGE, gzip=True,
    ),
    Call("an unknown store", f"{DAPR}/GetState", "unary", (get("nostore"),), INVALID_ARGUMENT, message="nostore"),
    Call("bytes that are no message", f"{DAPR}/GetState", "unary", (b"\xff\xff",), 13),
    Call(
        "a stream of the runtime", f"{DAPR}/SubscribeTopicEventsAlpha1", "bidi", (subscribe(),), CANCELLED,
        (subscribed(),), cancel_after=1,
    ),
)  # fmt: skip
LEAVING = {
    "the deadline of a call",
    "the deadline of a stream",
    "the caller leaves a call",
    "the caller leaves a stream",
}
"""Calls whose end the app must notice."""
