"""Loopback ports that the daemon chose: an app that runs on keeps its way to the next daemon."""

import json
import signal
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.daemon.server_clients import operator
from tests.daemon_process import Daemon, end, running_daemon, start, wait_for_socket, write_resources

NAME = "app"
RESOURCES = """
apiVersion: noded.io/v1alpha1
kind: App
metadata: {name: app}
spec: {loopback: {}}
"""
OTHER = RESOURCES.replace("name: app", "name: other")


@contextmanager
def again(daemon: Daemon) -> Iterator[Daemon]:
    """Another daemon in the place of one that ended."""
    process = start(daemon.root, {})
    try:
        wait_for_socket(process, daemon.http_socket(NAME), daemon.log)
        yield Daemon(process, daemon.root)
    finally:
        end(process)


def place(daemon: Daemon) -> tuple[int, int, str]:
    """Both ports and the token, as the app is told them."""
    apps = operator(daemon, "/v1/apps")
    assert isinstance(apps, list)
    (app,) = [each for each in apps if each["appId"] == NAME]
    return app["httpPort"], app["grpcPort"], (daemon.http_socket(NAME).parent / "api-token").read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=str)
def test_a_restart_gives_the_same_ports_and_token(number: signal.Signals) -> None:
    """However the daemon ended; nobody but its user can read what it kept."""
    with running_daemon({"a.yaml": RESOURCES}, {NAME: "default"}) as first:
        was = place(first)
        first.process.send_signal(number)
        first.process.wait(20)
        kept = first.root / "state" / "loopback"
        assert [stat.S_IMODE(each.stat().st_mode) for each in (kept, *kept.iterdir())] == [0o700, 0o600]
        with again(first) as second:
            assert place(second) == was


def test_a_port_that_was_taken_meanwhile_is_replaced() -> None:
    """The log says so; the other port and the token stay."""
    with running_daemon({"a.yaml": RESOURCES}, {NAME: "default"}) as first:
        was = place(first)
        end(first.process)
        with socket.create_server(("127.0.0.1", was[0])), again(first) as second:
            now = place(second)
            assert f"app default/app gets another port: {was[0]} is taken" in second.log()

    assert now[0] != was[0]
    assert now[1:] == was[1:]


def test_what_was_kept_of_an_app_goes_with_it() -> None:
    """An app that is declared no more, and then anew, has another token."""
    with running_daemon({"a.yaml": RESOURCES, "b.yaml": OTHER}, {NAME: "default"}) as daemon:
        was = place(daemon)
        (daemon.root / "resources" / "a.yaml").unlink()
        operator(daemon, "/v1/reload", "POST")
        write_resources(daemon.root, {"a.yaml": RESOURCES})
        operator(daemon, "/v1/reload", "POST")

        assert place(daemon)[2] != was[2]


@pytest.mark.parametrize(
    "held", [b"", b"{", b"[]", json.dumps({"http_port": 1 << 20, "grpc_port": 1, "token": "t"}).encode()], ids=str
)
def test_a_file_that_makes_no_sense_is_as_none(held: bytes) -> None:
    """A disk that was full may have cut it off."""
    with running_daemon({"a.yaml": RESOURCES}, {NAME: "default"}) as first:
        end(first.process)
        (first.root / "state" / "loopback" / "default.app").write_bytes(held)
        with again(first) as second:
            assert all(place(second))
