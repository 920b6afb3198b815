"""`--wait`: until the HTTP API of a runtime on this machine answers, as init containers and scripts use it."""

import sys
import time
from http.client import HTTPConnection, HTTPException

WAIT_SECONDS = 60.0
ANSWER_SECONDS = 0.5
PERIOD_SECONDS = 0.1


def wait_until_outbound_ready(port: str) -> int:
    """Ask /v1.0/healthz/outbound until it is well, for a minute at most. The exit code is 0 either way, as daprd's."""
    sys.stderr.write(f"Waiting for Dapr to be outbound ready (timeout: {WAIT_SECONDS:g} seconds): port={port}\n")
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        if _is_ready(port):
            sys.stderr.write("Dapr is outbound ready!\n")
            return 0
        time.sleep(PERIOD_SECONDS)
    sys.stderr.write("timeout waiting for Dapr to become outbound ready\n")
    return 0


def _is_ready(port: str) -> bool:
    try:
        connection = HTTPConnection("localhost", int(port), timeout=ANSWER_SECONDS)
        connection.request("GET", "/v1.0/healthz/outbound")
        return 200 <= connection.getresponse().status < 300
    except (OSError, HTTPException, ValueError):
        return False
