"""Every attack, as data: what its peers say, how fast, whether they read, and what it may make the daemon keep."""

import resource
from collections.abc import Sequence
from dataclasses import replace

from tests.hostile.bad_app import GRPC, HTTP1, HTTP2
from tests.hostile.long_requests import LONG_REQUESTS
from tests.hostile.records import LEFT_BYTES, PEERS, Attack, Behaviour
from tests.hostile.scene import (
    CONTINUATION,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PING,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    block,
    frame,
    settings,
)

_DESCRIPTORS = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
IDLE = min(10_000, _DESCRIPTORS * 3 // 4 - 500)
"""Connections that are used once and then kept: as many as one app may have where descriptors are short."""
IDLE_BYTES = 6 << 10
"""What each may make the daemon keep. Measured: 4.1 kB, and a neighbour's median at 10,000 is its quiet one, 67 us."""
_CROWD = 50
_ROUNDS = 20_000
"""Far beyond any budget."""
_STREAMS = 100
_OPENING = PREFACE + settings()
_LARGE = b"/v1.0/state/memory/large"
_GET = block(b"/v1.0/healthz")
_SAVE = block(b"/v1.0/state/memory", b"POST")
_ALL_WINDOWS = frame(WINDOW_UPDATE, 0, 0, (2**31 - 1 - 65535).to_bytes(4, "big"))
_READ_ALL = 1 << 20


def flood(title: str, frames: bytes) -> Attack:
    """Frames that are told ENHANCE_YOUR_CALM, over and over, on both sockets."""
    return Attack(title, (Behaviour(_OPENING + frames, hangs_up=True, both_sockets=True),), LEFT_BYTES)


def _get_large(number: int) -> bytes:
    return frame(HEADERS, END_STREAM | END_HEADERS, 2 * number + 1, block(_LARGE))


def _resets(number: int) -> bytes:
    stream_id = 2 * number + 1
    return frame(HEADERS, END_HEADERS, stream_id, _SAVE) + frame(RST_STREAM, 0, stream_id, b"\0\0\0\x08")


def _call(app_id: str) -> bytes:
    return b"POST /v1.0/invoke/%b/method/x HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}" % app_id.encode()


def bad_app_id(protocol: str, number: int) -> str:
    """The app that answers the so-manieth kind of garbage of a protocol."""
    return f"bad-{protocol}-{number}"


def _garbage(protocol: str, kinds: Sequence[str]) -> Attack:
    """Each peer calls one bad app, hangs up after some goes, and calls it again."""
    behaviour = Behaviour(b"", peers=1, read_bytes=_READ_ALL, pause_seconds=0.01, bites=5)
    calls = (_call(bad_app_id(protocol, number)) for number, _ in enumerate(kinds))
    behaviours = tuple(replace(behaviour, says=call) for call in calls)
    return Attack(f"app that answers garbage, {protocol}", behaviours, 12 << 20)


_GETS_LARGE = b"".join(map(_get_large, range(500)))
_SOME_LARGE = b"".join(map(_get_large, range(_STREAMS)))
_BOMB = _GET + b"\x40\x01a\x7f\xa1\x1e" + b"v" * 4000 + b"\xbe" * 10_000
_BOMBS = b"".join(frame(HEADERS, END_STREAM | END_HEADERS, 2 * number + 1, _BOMB) for number in range(_STREAMS))
_BYTE_WINDOWS = b"".join(frame(WINDOW_UPDATE, 0, 2 * (number % _STREAMS) + 1, b"\0\0\0\1") for number in range(_ROUNDS))
_SLOW_HTTP1 = b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % _LARGE * 500
_SLOW_HTTP2 = PREFACE + settings(initial_window=2**31 - 1) + _ALL_WINDOWS + _GETS_LARGE
_CHUNKED = b"POST /v1.0/state/memory HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
_HEALTH = b"GET /v1.0/healthz HTTP/1.1\r\nHost: x\r\n\r\n"

ATTACKS = {
    "slow_reader": Attack(
        "slow reader", (Behaviour(_SLOW_HTTP1, 10, read_bytes=4096, pause_seconds=0.005),), 10 * (2 << 20)
    ),
    "slow_reader_http2": Attack(
        "slow reader, HTTP/2", (Behaviour(_SLOW_HTTP2, 10, read_bytes=4096, pause_seconds=0.005),), 10 * (2 << 20)
    ),
    "slow_header": Attack("slow header", (Behaviour(_HEALTH * 20, 100, send_bytes=1, pause_seconds=0.02),)),
    "rapid_reset": flood("rapid reset", b"".join(map(_resets, range(_ROUNDS)))),
    "settings": flood("SETTINGS flood", settings(initial_window=65535) * _ROUNDS),
    "empty_settings": flood("empty SETTINGS flood", frame(SETTINGS, 0, 0) * _ROUNDS),
    "ping": flood("PING flood", frame(PING, 0, 0, bytes(8)) * _ROUNDS),
    "continuation": flood(
        "CONTINUATION flood", frame(HEADERS, 0, 1, _GET) + frame(CONTINUATION, 0, 1, bytes(1000)) * _ROUNDS
    ),
    "empty_continuation": flood(
        "empty CONTINUATION flood", frame(HEADERS, 0, 1, _GET) + frame(CONTINUATION, 0, 1) * _ROUNDS
    ),
    "header_bomb": Attack(
        "header bomb, HPACK", (Behaviour(_OPENING + _BOMBS, read_bytes=_READ_ALL, hangs_up=True),), 8 << 20
    ),
    **LONG_REQUESTS,
    "endless_head": Attack(
        "head without end",
        (Behaviour(b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 200_000, hangs_up=True),),
        LEFT_BYTES,
    ),
    "no_window": Attack(
        "no window", (Behaviour(PREFACE + settings(initial_window=0) + _GETS_LARGE, 10),), 10 * (8 << 20)
    ),
    "byte_windows": Attack(
        "windows opened byte by byte",
        (
            Behaviour(
                PREFACE + settings(initial_window=0) + _ALL_WINDOWS + _SOME_LARGE + _BYTE_WINDOWS,
                read_bytes=_READ_ALL,
                hangs_up=True,
            ),
        ),
        PEERS * (8 << 20),
    ),
    "endless_body": Attack(
        "chunked body without end",
        (Behaviour(_CHUNKED + (b"10000\r\n" + bytes(0x10000) + b"\r\n") * 100, hangs_up=True),),
        LEFT_BYTES,
    ),
    "idle": Attack(
        f"{IDLE} idle connections", (Behaviour(_HEALTH, IDLE, read_bytes=4096, pause_seconds=0.5),), IDLE * IDLE_BYTES
    ),
    "come_and_go": Attack("connections that come and go", (Behaviour(_HEALTH, hangs_up=True),), LEFT_BYTES),
    "silent_app": Attack(
        "app that never answers",
        (Behaviour(_call("silent"), _CROWD, pause_seconds=0.02, bites=10),),
        _CROWD * (64 << 10),
    ),
    "garbage_http": _garbage("http", tuple(HTTP1)),
    "garbage_h2c": _garbage("h2c", tuple(HTTP2)),
    "garbage_grpc": _garbage("grpc", tuple(GRPC)),
}
"""By the name that selects it."""
