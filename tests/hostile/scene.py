"""A daemon under attack: what the attack may cost it, and a neighbour who must not notice.

`attacked` runs another tenant's requests the whole time, each answered rightly, and afterwards compares the daemon's
memory and descriptors with those before.
"""

import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.daemon.server_clients import HttpClient, eventually, raw
from tests.daemon_process import Daemon

ATTACKER = "attacker"
NEIGHBOUR = "neighbour"
LARGE_VALUE_BYTES = 1 << 20
"""Of the attacker's item "large"."""
_PAUSE_SECONDS = 0.002
NOISE_BYTES = 8 << 20
"""What a daemon that is used at all may grow by: allocators, caches, counters."""


@dataclass
class Neighbour:
    """Another tenant: one request after the other, every answer looked at."""

    path: Path
    answered: int = 0
    wrong: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Until stopped; never raises."""
        with closing(HttpClient(self.path)) as client:
            number = 0
            while not self._stop.is_set() and not self.wrong:
                number += 1
                try:
                    self._ask(client, str(number).encode())
                except OSError as error:
                    self.wrong.append(repr(error))
                time.sleep(_PAUSE_SECONDS)

    def _ask(self, client: HttpClient, value: bytes) -> None:
        saved = client("POST", "/v1.0/state/memory", b'[{"key":"k","value":%b}]' % value)
        got = client("GET", "/v1.0/state/memory/k")
        if (saved.status, got.status, got.body) != (204, 200, value):
            self.wrong.append(f"{saved} {got} for {value!r}")
        self.answered += 1

    def is_served(self) -> None:
        """Return once further requests of it were answered."""
        before = self.answered
        eventually(lambda: self.answered > before + 3 or self.wrong)

    @contextmanager
    def asking(self) -> Iterator[None]:
        thread = threading.Thread(target=self.run)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()


@contextmanager
def attacked(daemon: Daemon, grows_bytes: int = 0) -> Iterator[Neighbour]:
    """Attack inside the block; `grows_bytes` is what the attack's structure lets the daemon keep at the worst."""
    rss_before, descriptors = forget_peak(daemon), descriptor_count(daemon)
    neighbour = Neighbour(daemon.http_socket(NEIGHBOUR))
    with neighbour.asking():
        neighbour.is_served()
        yield neighbour
        neighbour.is_served()
        grown = memory_bytes(daemon, "VmHWM") - rss_before
    assert not neighbour.wrong, neighbour.wrong
    assert grown <= grows_bytes + NOISE_BYTES, f"grew by {grown / 2**20:.1f} MiB"
    eventually(lambda: descriptor_count(daemon), lambda count: count <= descriptors + 1)
    assert daemon.process.poll() is None


def forget_peak(daemon: Daemon) -> int:
    """Let the peak of the resident set begin anew; what it is now. Source: proc(5), clear_refs, value 5."""
    Path(f"/proc/{daemon.process.pid}/clear_refs").write_text("5")
    return memory_bytes(daemon, "VmRSS")


def memory_bytes(daemon: Daemon, name: str) -> int:
    """VmRSS, what is resident now, or VmHWM, the most that was."""
    lines = Path(f"/proc/{daemon.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def descriptor_count(daemon: Daemon) -> int:
    return len(list(Path(f"/proc/{daemon.process.pid}/fd").iterdir()))


@contextmanager
def connections(path: Path, count: int) -> Iterator[list[socket.socket]]:
    """So many bare connections."""
    with ExitStack() as stack:
        yield [stack.enter_context(closing(raw(path))) for _ in range(count)]


def push(sock: socket.socket, data: bytes, seconds: float = 10.0, patience_seconds: float = 0.2) -> int:
    """Send what the daemon takes within so long; how much that was.

    Ends early when it closes, or takes nothing for as long as the patience.
    """
    sock.settimeout(patience_seconds)
    sent, deadline = 0, time.monotonic() + seconds
    while sent < len(data) and time.monotonic() < deadline:
        try:
            sent += sock.send(data[sent : sent + 65536])
        except OSError:  # it takes no more, or has closed
            break
    return sent


# HTTP/2 by hand: what a well-behaved library would not send.

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
END_STREAM, END_HEADERS = 1, 4
INITIAL_WINDOW_SIZE = 4
ENHANCE_YOUR_CALM = 11
FLOW_CONTROL_ERROR = 3
_HEAD_BYTES = 9


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + struct.pack(">BBI", kind, flags, stream_id) + payload


def literal(name: bytes, value: bytes) -> bytes:
    """A header field in HPACK's plainest form, of up to 126 bytes each."""
    return b"\0" + bytes((len(name),)) + name + bytes((len(value),)) + value


def block(path: bytes, method: bytes = b"GET", *more: tuple[bytes, bytes]) -> bytes:
    """A request's header block."""
    fields = ((b":method", method), (b":scheme", b"http"), (b":authority", b"x"), (b":path", path), *more)
    return b"".join(literal(*each) for each in fields)


def settings(**values: int) -> bytes:
    numbers = {"initial_window": INITIAL_WINDOW_SIZE}
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", numbers[name], value) for name, value in values.items()))


def frames(data: bytes | bytearray) -> list[tuple[int, int, int, bytes]]:
    """Whole frames: kind, flags, stream, payload."""
    found, position = [], 0
    while len(data) - position >= _HEAD_BYTES:
        size = int.from_bytes(data[position : position + 3], "big")
        kind, flags, stream_id = struct.unpack_from(">BBI", data, position + 3)
        found.append((kind, flags, stream_id, bytes(data[position + _HEAD_BYTES : position + _HEAD_BYTES + size])))
        position += _HEAD_BYTES + size
    return found


def goaway_code(data: bytes) -> int | None:
    """The error code of the GOAWAY in what the daemon sent; None: there is none."""
    codes = [int.from_bytes(payload[4:8], "big") for kind, _, _, payload in frames(data) if kind == GOAWAY]
    return codes[-1] if codes else None
