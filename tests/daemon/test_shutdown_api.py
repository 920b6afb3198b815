"""Dapr's shutdown as an app of `noded serve` asks for it: it is let go itself, and nothing else is."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import RemoteDisconnected

import pytest

from noded.proto import metadata_pb2
from tests.daemon.server_clients import SQLITE, app, eventually, grpc_client, http, operator, resources
from tests.daemon_process import Daemon, accepts, running_daemon
from tests.daprd.slow_app import SlowApp

FORCE = {"dapr-force-shutdown": "true"}


@pytest.fixture
def slow() -> Iterator[SlowApp]:
    with SlowApp() as served:
        yield served


@pytest.fixture
def daemon(slow: SlowApp) -> Iterator[Daemon]:
    channel = {"protocol": "http", "address": f"127.0.0.1:{slow.port}"}
    described = resources(SQLITE, app("gone", channel=channel), app("stays"))
    with running_daemon(described, {"gone": "default", "stays": "default"}) as running:
        yield running


def is_gone(daemon: Daemon) -> bool:
    """Whether the app's sockets are closed."""
    return not accepts(daemon.http_socket("gone")) and not accepts(daemon.grpc_socket("gone"))


def check_that_only_it_is_gone(daemon: Daemon) -> None:
    eventually(lambda: is_gone(daemon))
    listed = operator(daemon, "/v1/apps")
    assert isinstance(listed, list)
    assert [each["appId"] for each in listed] == ["stays"]
    assert daemon.process.poll() is None
    with http(daemon, "stays") as neighbour:
        assert neighbour("POST", "/v1.0/state/statestore", [{"key": "k", "value": 1}]).status == 204


def test_http_answers_and_lets_the_app_go(daemon: Daemon) -> None:
    """204 as from daprd; the daemon and its other apps go on."""
    with http(daemon, "gone") as client:
        answer = client("POST", "/v1.0/shutdown")

    assert (answer.status, answer.body) == (204, b"")
    check_that_only_it_is_gone(daemon)


def test_grpc_answers_and_lets_the_app_go(daemon: Daemon) -> None:
    """The same over gRPC."""
    with grpc_client(daemon, "gone") as client:
        client("Shutdown", metadata_pb2.ShutdownRequest())

    check_that_only_it_is_gone(daemon)


def test_what_is_under_way_is_answered_first(daemon: Daemon, slow: SlowApp) -> None:
    """Shutdown waits for the app's calls as a daemon's end does."""
    with ThreadPoolExecutor(1) as pool, http(daemon, "gone") as caller, http(daemon, "gone") as client:
        calling = pool.submit(caller, "GET", "/v1.0/invoke/gone/method/slow")
        slow.wait_called()
        assert client("POST", "/v1.0/shutdown").status == 204
        eventually(lambda: is_gone(daemon))
        slow.answer()

        assert calling.result().status == 200
    check_that_only_it_is_gone(daemon)


def test_forced_it_waits_for_nothing(daemon: Daemon, slow: SlowApp) -> None:
    """With dapr-force-shutdown, in any case, calls under way are cut."""
    with ThreadPoolExecutor(1) as pool, http(daemon, "gone") as caller, http(daemon, "gone") as client:
        calling = pool.submit(caller, "GET", "/v1.0/invoke/gone/method/slow")
        slow.wait_called()
        assert client("POST", "/v1.0/shutdown", headers=FORCE).status == 204

        with pytest.raises((RemoteDisconnected, ConnectionResetError)):
            calling.result()
    check_that_only_it_is_gone(daemon)
