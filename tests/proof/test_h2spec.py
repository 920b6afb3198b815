"""An outside judge at a daemon's own doors: every case of h2spec on its Unix sockets and on its loopback ports."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.daemon.server_clients import MEMORY, SQLITE, app, http, resources
from tests.daemon_process import running_daemon
from tests.daprd.sidecar_process import STATE, running
from tests.proof.relay import port_to
from tests.wire.h2spec import judge

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
PATH = "/v1.0/state/statestore/bulk"
"""A GET of it is an item's value; a POST is a question that is answered when all of its body is there."""
ITEM = [{"key": "bulk", "value": "v" * 100}]
NO_PREFACE = b"INVALID CONNECTION PREFACE\r\n\r\n"
"""What h2spec opens a connection with where it wants to be cut off."""
Doors = dict[str, int]
"""{door: a port that leads to it}."""


@pytest.fixture(scope="module")
def doors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doors]:
    """The sockets of an app of a daemon; the ports of `noded daprd`, which ask for no token: h2spec could send none."""
    root = tmp_path_factory.mktemp("daprd")
    (root / "resources").mkdir()
    (root / "resources" / "state.yaml").write_text(STATE)
    with ExitStack() as stack:
        daemon = stack.enter_context(running_daemon(resources(SQLITE, MEMORY, app("a")), {"a": "default"}))
        with http(daemon, "a") as client:
            assert client("POST", "/v1.0/state/statestore", ITEM).status == 204
        sidecar = stack.enter_context(running(root, "--resources-path", str(root / "resources")))
        assert sidecar.http("POST", "/v1.0/state/statestore", ITEM).status == 204
        yield {
            "HTTP socket": stack.enter_context(port_to(daemon.http_socket("a"))),
            "gRPC socket": stack.enter_context(port_to(daemon.grpc_socket("a"))),
            "HTTP port": sidecar.http_port,
            "gRPC port": sidecar.grpc_port,
        }


@pytest.mark.parametrize("door", ["HTTP socket", "HTTP port"])
def test_every_case_passes_where_http1_is_spoken_too(doors: Doors, door: str) -> None:
    """All but one: a preface that is none is a bad request of HTTP/1.1 there, answered as such, and then cut off."""
    failures = judge(doors[door], PATH)
    assert all(failure.startswith("2: Sends invalid connection preface") for failure in failures), failures
    assert len(failures) <= 1
    with socket.create_connection(("127.0.0.1", doors[door]), timeout=10) as peer:
        peer.sendall(NO_PREFACE)
        answer = b"".join(iter(lambda: peer.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("door", ["gRPC socket", "gRPC port"])
def test_every_case_passes_where_only_http2_is_spoken(doors: Doors, door: str) -> None:
    """Generic, HTTP/2 and HPACK cases: all pass, none is skipped."""
    assert judge(doors[door], PATH) == []
