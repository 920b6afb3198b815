"""How many gRPC GetState calls a second does one core do?

h2load saturates the server with the same call again and again. ghz is a real grpc-go client: it costs more than the
server does, so there the servers' processor time per call says more than the rate. Tracing clients send a new
`traceparent` with every call, which no header cache can know; the third case does that.
"""

import json
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path

from bench.load import Outcome, Target, ghz, h2load, sample, tail_ms
from bench.records import Case, Conditions, Sample, Subject
from bench.resources import MEMORY_STORE
from bench.state_http import KEY, VALUE, put_one

METHOD = "dapr.proto.runtime.v1.Dapr/GetState"
TRACEPARENT = (
    "00-{{slice .UUID 0 8}}{{slice .UUID 9 13}}{{slice .UUID 14 18}}{{slice .UUID 19 23}}{{slice .UUID 24 36}}"
    "-{{slice .UUID 24 36}}{{slice .UUID 9 13}}-00"
)
"""A template of ghz: trace and span id cut from a new UUID per call, not sampled."""
_HEADERS = ("content-type: application/grpc", "te: trailers")
_MESSAGE_PREFIX_BYTES = 5


def _field(number: int, text: str) -> bytes:
    """A string field of a protobuf message; text up to 127 bytes."""
    return bytes((number << 3 | 2, len(text))) + text.encode()


def framed_request() -> bytes:
    """GetStateRequest for the key, as one gRPC message: flag 0, four bytes of length, the message."""
    message = _field(1, MEMORY_STORE) + _field(2, KEY)
    return b"\0" + len(message).to_bytes(4, "big") + message


def same_headers(subject: Subject, conditions: Conditions) -> Sample:
    """GetState by h2load, every call alike."""
    put_one(subject, MEMORY_STORE)
    with tempfile.TemporaryDirectory() as directory:
        body = Path(directory) / "request.bin"
        body.write_bytes(framed_request())
        target = Target(
            subject.caller.grpc, f"/{METHOD}", body, _HEADERS, http2=True, connections=conditions.connections
        )
        measured = sample(subject, conditions.seconds, partial(_checked, target))
        return replace(measured, p99_ms=tail_ms(target))


def _checked(target: Target, seconds: float) -> Outcome:
    """h2load reads no grpc-status, but only a good answer carries the value.

    Raises:
        ValueError: answers were shorter than the value.
    """
    outcome = h2load(target, seconds)
    if (outcome.body_bytes or 0) < outcome.completed * (_MESSAGE_PREFIX_BYTES + len(VALUE)):
        raise ValueError(f"GetState answered without the value: {outcome}")
    return outcome


def by_ghz(metadata: dict[str, str], subject: Subject, conditions: Conditions) -> Sample:
    """GetState by ghz with this metadata."""
    put_one(subject, MEMORY_STORE)
    proto = Path(__file__).with_name("getstate.proto")
    message = json.dumps({"store_name": MEMORY_STORE, "key": KEY})
    arguments = ["--proto", str(proto), "--call", METHOD, "-d", message, "-m", json.dumps(metadata)]
    calls = partial(ghz, conditions.ghz, subject.caller.grpc, arguments, conditions.connections)
    return sample(subject, conditions.seconds, calls)


CASES = (
    Case("grpc_get", "gRPC GetState, in-memory", same_headers),
    Case("grpc_get_ghz", "gRPC GetState, grpc-go client", partial(by_ghz, {}), needs_ghz=True),
    Case(
        "grpc_get_traced",
        "gRPC GetState, grpc-go, new traceparent",
        partial(by_ghz, {"traceparent": TRACEPARENT}),
        needs_ghz=True,
    ),
)
