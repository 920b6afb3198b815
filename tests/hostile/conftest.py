from collections.abc import Iterator

import pytest

from tests.daemon.server_clients import MEMORY, PUBSUB, SQLITE, app, http, operator, resources
from tests.daemon_process import Daemon, running_daemon
from tests.hostile.scene import ATTACKER, LARGE_VALUE_BYTES, NEIGHBOUR


@pytest.fixture(scope="package")
def daemon() -> Iterator[Daemon]:
    """One daemon for all attacks: none of them ends it. The attacker owns a value of a mebibyte, "large"."""
    apps = {ATTACKER: "default", NEIGHBOUR: "default"}
    with running_daemon(resources(MEMORY, SQLITE, PUBSUB, *(app(name) for name in apps)), apps) as running:
        operator(running, "/v1/usage")  # its side opens late, and takes memory and descriptors
        with http(running, ATTACKER) as client:
            item = b'[{"key":"large","value":"%b"}]' % (b"x" * LARGE_VALUE_BYTES)
            assert client("POST", "/v1.0/state/memory", item).status == 204
        yield running
