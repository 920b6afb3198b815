"""The neighbour that is measured: `python -m bench.probe PROTOCOL SOCKET FILE EXPECTED SECONDS`, one line of JSON.

It asks for one thing after the other on one connection, in the simplest way each protocol has, and notes how long each
answer took. FILE holds one request: HTTP/1.1 as it is; else a header block, and after _SPLIT a body.
"""

import json
import os
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_SPLIT = b"\0--body--\0"
_DATA, _HEADERS, _SETTINGS, _WINDOW_UPDATE = 0, 1, 4, 8
_END_STREAM, _ACK, _END_HEADERS = 1, 1, 4
_FRAME_HEAD_BYTES = 9
_REAL_TIME = os.sched_param(1)
"""So that what is measured is the daemon, and not who else runs on the load generators' core. Nice alone does not do:
it leaves the probe up to a millisecond behind a peer whose time is not over, one answer in fifty."""
_WARM_UP_SECONDS = 0.1


def literal_block(fields: dict[str, str]) -> bytes:
    """Header fields in HPACK's plainest form: literal, not indexed, not compressed; up to 126 bytes each."""
    texts = ((name.encode(), value.encode()) for name, value in fields.items())
    return b"".join(b"\0" + bytes((len(name),)) + name + bytes((len(value),)) + value for name, value in texts)


def stream_request(fields: dict[str, str], body: bytes = b"") -> bytes:
    """What `FILE` holds for a protocol on HTTP/2."""
    return literal_block(fields) + _SPLIT + body


def _frame(kind: int, flags: int, stream_id: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream_id.to_bytes(4, "big") + payload


def http1(sock: socket.socket, request: bytes) -> Callable[[], bytes]:
    """Ask once, and read until the body has its length."""

    def ask() -> bytes:
        sock.sendall(request)
        answer = sock.recv(65536)
        while not _whole(answer):
            answer += _more(sock)
        return answer

    return ask


def _whole(answer: bytes) -> bool:
    head, end, body = answer.partition(b"\r\n\r\n")
    if not end:
        return False
    at = head.lower().find(b"\r\ncontent-length:")
    return at < 0 or len(body) >= int(head[at + 17 :].split(b"\r\n", 1)[0])


def _more(sock: socket.socket) -> bytes:
    piece = sock.recv(65536)
    if not piece:
        raise ConnectionError("the daemon closed the probe's connection")
    return piece


def http2(sock: socket.socket, request: bytes) -> Callable[[], bytes]:
    """Ask once on a new stream, and read until that stream ends."""
    block, _, body = request.partition(_SPLIT)
    flags = _END_HEADERS if body else _END_HEADERS | _END_STREAM
    window = (2**31 - 1 - 65_535).to_bytes(4, "big")
    sock.sendall(_PREFACE + _frame(_SETTINGS, 0, 0, b"") + _frame(_WINDOW_UPDATE, 0, 0, window))
    sock.sendall(_frame(_SETTINGS, _ACK, 0, b""))
    stream_id, pending = -1, b""

    def ask() -> bytes:
        nonlocal stream_id, pending
        stream_id += 2
        sock.sendall(
            _frame(_HEADERS, flags, stream_id, block) + (_frame(_DATA, _END_STREAM, stream_id, body) if body else b"")
        )
        answer = b""
        while True:
            pending += _more(sock)
            while len(pending) >= _FRAME_HEAD_BYTES:
                end = _FRAME_HEAD_BYTES + int.from_bytes(pending[:3], "big")
                if len(pending) < end:
                    break
                kind, kind_flags, of = pending[3], pending[4], int.from_bytes(pending[5:9], "big")
                answer += pending[_FRAME_HEAD_BYTES:end] if of == stream_id else b""
                pending = pending[end:]
                if of == stream_id and kind <= _HEADERS and kind_flags & _END_STREAM:
                    return answer

    return ask


PROTOCOLS = {"http1": http1, "http2": http2}


def probe(ask: Callable[[], bytes], expected: bytes, seconds: float) -> dict[str, float]:
    """Ask for so long; microseconds an answer took, and how many were not as expected."""
    taken: list[int] = []
    failed = 0
    clock = time.perf_counter_ns
    warm = clock() + round(_WARM_UP_SECONDS * 1e9)
    end = warm + round(seconds * 1e9)
    while clock() < warm:
        ask()
    while (start := clock()) < end:
        answer = ask()
        taken.append(clock() - start)
        failed += expected not in answer
    taken.sort()
    at = {percent: taken[min(len(taken) * percent // 100, len(taken) - 1)] / 1000 for percent in (50, 99)}
    return {"p50_us": at[50], "p99_us": at[99], "max_us": taken[-1] / 1000, "answers": len(taken), "failed": failed}


def main(protocol: str, path: str, request: bytes, expected: bytes, seconds: float) -> dict[str, float]:
    """Connect and probe."""
    with suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO, _REAL_TIME)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(30)
        sock.connect(path)
        return probe(PROTOCOLS[protocol](sock, request), expected, seconds)


if __name__ == "__main__":
    protocol, path, file, expected, seconds = sys.argv[1:]
    print(json.dumps(main(protocol, path, Path(file).read_bytes(), expected.encode(), float(seconds))))
