"""What the flooding tenant sends, and what the quiet one asks for meanwhile: one record per question."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from bench.app import PUBSUB, TOPIC
from bench.flood import CONNECTIONS
from bench.load import Outcome, parse_h2load
from bench.probe import stream_request
from bench.records import AppSockets
from bench.resources import MEMORY_STORE, SQLITE_STORE
from bench.state_grpc import METHOD, framed_request
from bench.state_http import ITEMS, KEY, VALUE

_BLOCK_BYTES = 64 << 10
_STREAMS = 32
"""Requests under way on each connection of an HTTP/2 flood."""
_KEYS = 200
"""Different keys that a flood of saves goes round."""


@dataclass(frozen=True, slots=True)
class Pipelined:
    """An HTTP/1.1 flood: these requests, over and over, without waiting for answers."""

    requests: bytes

    def command(self, sockets: AppSockets, directory: Path, seconds: float) -> list[str]:
        """How to start it; what it sends is put into `directory`."""
        file = directory / "flood.bin"
        file.write_bytes(self.requests)
        return [sys.executable, "-m", "bench.flood", str(sockets.http), str(file), f"{seconds:g}"]

    def outcome(self, text: str) -> Outcome:
        """What it said in the end. Raises ValueError: that is no report."""
        said = json.loads(text)
        if said["bad"]:
            print(f"the flood was also told: {said['bad']}", file=sys.stderr)
        return Outcome(said["completed"], said["failed"], said["seconds"], None)


@dataclass(frozen=True, slots=True)
class Multiplexed:
    """An HTTP/2 flood by h2load; with a body, of gRPC calls."""

    path: str
    body: bytes = b""

    def command(self, sockets: AppSockets, directory: Path, seconds: float) -> list[str]:
        """As `Pipelined.command`."""
        socket = sockets.grpc if self.body else sockets.http
        words = ["h2load", "-c", str(CONNECTIONS), "-m", str(_STREAMS), "-B", f"unix:{socket}"]
        words += ["-D", f"{round(seconds * 1000)}ms"]
        if self.body:
            file = directory / "flood.bin"
            file.write_bytes(self.body)
            words += ["-d", str(file), "-H", "content-type: application/grpc", "-H", "te: trailers"]
        return [*words, f"http://localhost{self.path}"]

    def outcome(self, text: str) -> Outcome:
        """As `Pipelined.outcome`."""
        return parse_h2load(text)


@dataclass(frozen=True, slots=True)
class Probe:
    """One request of the quiet tenant, and what a good answer to it holds."""

    protocol: str
    request: bytes
    expected: str
    grpc: bool = False

    def command(self, sockets: AppSockets, directory: Path, seconds: float) -> list[str]:
        """How to start it; what it sends is put into `directory`."""
        file = directory / "probe.bin"
        file.write_bytes(self.request)
        socket = sockets.grpc if self.grpc else sockets.http
        words = [self.protocol, str(socket), str(file), self.expected, f"{seconds:g}"]
        return [sys.executable, "-m", "bench.probe", *words]


@dataclass(frozen=True, slots=True)
class Question:
    """One row."""

    name: str
    title: str
    flood: Pipelined | Multiplexed
    probe: Probe
    shares: bool = True
    """Whether two such floods are also to be set against each other."""


def _get(store: str) -> bytes:
    return f"GET /v1.0/state/{store}/{KEY} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode()


def _post(path: str, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {len(body)}"
    return head.encode() + b"\r\n\r\n" + body


def _saves() -> bytes:
    items = (b'[{"key":"flood-%d","value":%b}]' % (number, VALUE) for number in range(_KEYS))
    return b"".join(_post(f"/v1.0/state/{SQLITE_STORE}", item) for item in items)


def _many(request: bytes) -> bytes:
    return request * (_BLOCK_BYTES // len(request))


_FIELDS = {":method": "GET", ":scheme": "http", ":authority": "localhost"}
_GRPC_FIELDS = _FIELDS | {
    ":method": "POST",
    ":path": f"/{METHOD}",
    "content-type": "application/grpc",
    "te": "trailers",
}
_GET = Probe("http1", _get(MEMORY_STORE), VALUE.decode())
_GET_SQLITE = Probe("http1", _get(SQLITE_STORE), VALUE.decode())
_SAVE_SQLITE = Probe("http1", _post(f"/v1.0/state/{SQLITE_STORE}", ITEMS), "HTTP/1.1 204")
_GET_HTTP2 = Probe("http2", stream_request(_FIELDS | {":path": f"/v1.0/state/{MEMORY_STORE}/{KEY}"}), VALUE.decode())
_GET_GRPC = Probe("http2", stream_request(_GRPC_FIELDS, framed_request()), VALUE.decode(), grpc=True)
_PUBLISH = _post(f"/v1.0/publish/{PUBSUB}/{TOPIC}", VALUE)

QUESTIONS = (
    Question("http1", "HTTP/1.1: gets, in memory", Pipelined(_many(_get(MEMORY_STORE))), _GET),
    Question("http2", "HTTP/2: gets, in memory", Multiplexed(f"/v1.0/state/{MEMORY_STORE}/{KEY}"), _GET_HTTP2),
    Question("grpc", "gRPC: GetState, in memory", Multiplexed(f"/{METHOD}", framed_request()), _GET_GRPC),
    Question("sqlite_get", "saves on SQLite flood; gets from it", Pipelined(_saves()), _GET_SQLITE),
    Question("sqlite_save", "saves on SQLite flood; saves to it", Pipelined(_saves()), _SAVE_SQLITE, shares=False),
    Question("publish", "events flood a slow subscriber; gets", Pipelined(_many(_PUBLISH)), _GET),
)
