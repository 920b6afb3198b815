"""Connections that were used once and then kept: each costs a few kilobytes and a descriptor, both given back."""

import os
import resource
from contextlib import ExitStack, closing

from tests.daemon.server_clients import raw
from tests.daemon_process import Daemon
from tests.hostile.scene import ATTACKER, attacked

IDLE = int(os.environ.get("NODED_IDLE_CONNECTIONS", "2000"))
"""By hand: 10000, with a descriptor limit above that."""
SPARE_DESCRIPTORS = 500
PER_CONNECTION_BYTES = 16 << 10
GET = b"GET /v1.0/healthz HTTP/1.1\r\nHost: x\r\n\r\n"


def test_idle_connections_cost_little(daemon: Daemon) -> None:
    """Thousands of them, each of which made a request: memory by the kilobyte, and nobody else is refused."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    count = min(IDLE, soft - SPARE_DESCRIPTORS)
    path = daemon.http_socket(ATTACKER)
    try:
        with attacked(daemon, count * PER_CONNECTION_BYTES) as neighbour, ExitStack() as stack:
            for _ in range(count):
                peer = stack.enter_context(closing(raw(path)))
                peer.sendall(GET)
                assert peer.recv(1000).startswith(b"HTTP/1.1 204 ")
            neighbour.is_served()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
