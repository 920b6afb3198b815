"""`noded demo`: every step holds, or it says which did not."""

import importlib.util
import tempfile
from pathlib import Path

import pytest

from tests.daemon.cli_process import noded

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("dapr") is None, reason="the official Python SDK is not installed"),
]


def test_demo_shows_state_event_call_refusal_and_usage() -> None:
    """State through a kill -9, an event handled, a call answered, a refusal with Retry-After, the usage table."""
    done = noded("demo", "--python-only", seconds=60.0)

    assert done.returncode == 0, done.stderr
    for told in (
        'orders: read order-1 = {"item": "tea", "amount": 2}',
        'mailer: handled the event {"item": "tea", "amount": 2}',
        "hello orders",
        "429, Retry-After: 1",
        "ERR_QUOTA_EXCEEDED",
        "default/orders  requestsPerSecond",
        "the daemon ended with 0",
    ):
        assert told in done.stdout


def test_demo_that_fails_says_where_and_ends_with_1() -> None:
    """A step that fails is named with the reason, and what was started is ended."""
    with tempfile.TemporaryDirectory(prefix="noded-") as name:
        long = Path(name, "x" * 100)
        long.mkdir()
        done = noded("demo", "--python-only", environ={"TMPDIR": str(long)})

        assert done.returncode == 1
        assert "a Unix socket's may have 107" in done.stderr
        assert "Traceback" not in done.stderr
        assert list(long.iterdir()) == []
