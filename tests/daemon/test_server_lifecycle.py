"""The daemon's life: it says how it is, finishes what it accepted when told to stop, and recovers from being killed."""

import json
import os
import signal
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from http.client import HTTPException
from pathlib import Path

import pytest

from tests.daemon.server_clients import (
    MEMORY,
    SQLITE,
    HttpClient,
    app,
    eventually,
    http,
    operator,
    recording_app,
    resources,
    used,
)
from tests.daemon_process import Daemon, accepts, running_daemon, start, wait_for_socket, write_resources

NAMES = {"a": "default"}
DESCRIBED = resources(SQLITE, MEMORY, app("a"))


@contextmanager
def restarted(daemon: Daemon, described: dict[str, str] = DESCRIBED) -> Iterator[Daemon]:
    """A new daemon on the directories of one that ended."""
    again = Daemon(start(daemon.root, described), daemon.root)
    try:
        wait_for_socket(again.process, again.grpc_socket("a"), again.log)
        yield again
    finally:
        again.stop()


def replace_resources(daemon: Daemon, described: dict[str, str]) -> None:
    """Write them at one stroke, so that no reload meets half a file."""
    for name, text in described.items():
        (daemon.root / "new").write_text(text.replace("@STATE_DIR@", str(daemon.state_dir)))
        (daemon.root / "new").rename(daemon.root / "resources" / name)


class Writers:
    """Clients that save new keys without pause until the daemon is gone."""

    def __init__(self, daemon: Daemon, count: int) -> None:
        self.acknowledged: set[str] = set()
        self._path = daemon.http_socket("a")
        self._threads = [threading.Thread(target=self._write, args=(number,)) for number in range(count)]
        for thread in self._threads:
            thread.start()

    def _write(self, number: int) -> None:
        with closing(HttpClient(self._path)) as client:
            for turn in range(1_000_000):
                key = f"w{number}-{turn}"
                try:
                    answer = client("POST", "/v1.0/state/statestore", [{"key": key, "value": turn}])
                except (OSError, HTTPException):
                    return
                if answer.status == 204:
                    self.acknowledged.add(key)

    def join(self) -> None:
        for thread in self._threads:
            thread.join(20)
            assert not thread.is_alive()


def stored(daemon: Daemon, keys: set[str]) -> set[str]:
    """Which of these keys the store holds."""
    with http(daemon, "a") as client:
        found = json.loads(client("POST", "/v1.0/state/statestore/bulk", {"keys": sorted(keys)}).body)
    return {item["key"] for item in found if "data" in item}


def test_a_stop_under_load_loses_nothing_that_was_accepted() -> None:
    """SIGTERM: what was done was answered, and what was answered was done; sockets are gone, the exit code is 0."""
    with running_daemon(DESCRIBED, NAMES) as daemon:
        writers = Writers(daemon, 4)
        eventually(lambda: len(writers.acknowledged) > 200)
        assert daemon.stop() == 0
        writers.join()
        assert not list(daemon.run_dir.rglob("*.socket"))
        acknowledged = writers.acknowledged
        with restarted(daemon) as again:
            assert stored(again, acknowledged) == acknowledged
            assert used(again, "default/a")["stateKeys"]["used"] == len(acknowledged), "nothing done was unanswered"


def test_kill_9_under_load_loses_nothing_that_was_answered() -> None:
    """The next daemon starts over the stale sockets, and every acknowledged write is there."""
    with running_daemon(DESCRIBED, NAMES) as daemon:
        writers = Writers(daemon, 4)
        eventually(lambda: len(writers.acknowledged) > 200)
        daemon.process.kill()
        daemon.process.wait(15)
        writers.join()
        assert daemon.http_socket("a").is_socket(), "stale"
        with restarted(daemon) as again:
            assert stored(again, writers.acknowledged) == writers.acknowledged


def test_a_request_that_waits_is_answered_before_the_daemon_ends() -> None:
    """A slow call under way at SIGTERM gets its answer; no new connection is accepted meanwhile."""
    with recording_app("slow") as callee:
        described = resources(app("a", channel=callee.channel))
        with running_daemon(described, NAMES) as daemon, http(daemon, "a") as client, ThreadPoolExecutor(1) as pool:
            calling = pool.submit(client, "GET", "/v1.0/invoke/a/method/slow")
            eventually(lambda: callee.at("/slow"))
            daemon.process.terminate()
            eventually(lambda: not accepts(daemon.http_socket("a")))
            assert not calling.done()
            answer = calling.result(10)
            assert (answer.status, answer.body) == (200, b"slow")
            assert daemon.process.wait(15) == 0


def test_an_idle_client_does_not_hold_the_daemon_up() -> None:
    """Connections kept open by their clients are closed at once."""
    with running_daemon(DESCRIBED, NAMES) as daemon, http(daemon, "a") as idle:
        assert idle("GET", "/v1.0/healthz").status == 204
        assert daemon.stop() == 0
        with pytest.raises((OSError, HTTPException)):
            idle("GET", "/v1.0/healthz")


def test_a_second_daemon_on_the_same_directories_is_refused() -> None:
    """It ends with a sentence that names the remedy; the first is not disturbed."""
    with running_daemon(DESCRIBED, NAMES) as daemon:
        second = start(daemon.root, DESCRIBED)
        assert second.wait(15) != 0
        assert "another noded works in" in daemon.log()
        with http(daemon, "a") as client:
            assert client("GET", "/v1.0/healthz").status == 204


def test_outbound_health_answers_before_the_operators_side_is_there() -> None:
    """Apps are served first: health is asked over an app's socket while the admin socket does not exist yet."""
    with running_daemon(DESCRIBED, NAMES) as daemon, http(daemon, "a") as client:
        answer = client("GET", "/v1.0/healthz/outbound")
        early = not daemon.admin_socket.exists()
        assert answer.status == 204
        assert early
        eventually(lambda: accepts(daemon.admin_socket))


def test_systemd_is_told_of_start_life_and_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """READY with a status, WATCHDOG at least twice per interval, STOPPING: on a real NOTIFY_SOCKET."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "n"))
        listener.settimeout(20)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "n"))
        monkeypatch.setenv("WATCHDOG_USEC", "200000")
        with running_daemon(DESCRIBED, NAMES) as daemon:
            told = [listener.recv(1000).decode() for _ in range(4)]
            assert any(message.startswith("READY=1\nSTATUS=") for message in told)
            assert told.count("WATCHDOG=1") >= 2
            daemon.process.terminate()
            while (message := listener.recv(1000).decode()) != "STOPPING=1":
                assert message == "WATCHDOG=1"
            assert daemon.process.wait(15) == 0


def test_bad_resources_keep_what_was_good() -> None:
    """SIGHUP over a broken file: the apps go on, the problem is told, and a repaired file is taken."""
    with running_daemon(DESCRIBED, NAMES) as daemon, http(daemon, "a") as client:
        write_resources(daemon.root, {"all.yaml": "kind: [nonsense"})
        reported = operator(daemon, "/v1/reload", "POST")
        assert isinstance(reported, dict)
        assert reported["problems"]
        assert client("POST", "/v1.0/state/statestore", [{"key": "k", "value": 1}]).status == 204
        write_resources(daemon.root, resources(SQLITE, app("a"), app("b")))
        daemon.process.send_signal(signal.SIGHUP)
        eventually(lambda: accepts(daemon.http_socket("b")))
        assert client("GET", "/v1.0/state/statestore/k").body == b"1"


def test_a_resources_directory_that_vanished_ends_nothing() -> None:
    """The daemon says so and goes on with what it has."""
    with running_daemon(DESCRIBED, NAMES) as daemon, http(daemon, "a") as client:
        os.rename(daemon.root / "resources", daemon.root / "elsewhere")  # noqa: PTH104 - moves it as an operator would
        for _ in range(3):
            daemon.process.send_signal(signal.SIGHUP)
            assert client("GET", "/v1.0/healthz").status == 204
        operator(daemon, "/v1/reload", "POST")
        assert daemon.process.poll() is None
        assert accepts(daemon.http_socket("a")), "its apps are still attached"


def test_many_reloads_at_once_do_no_harm() -> None:
    """Apps come and go under a storm of SIGHUP; who stays is served throughout."""
    with running_daemon(DESCRIBED, NAMES) as daemon, http(daemon, "a") as client:
        for turn in range(30):
            more = [app(f"x{number}") for number in range(turn % 3)]
            replace_resources(daemon, resources(SQLITE, MEMORY, app("a"), *more))
            daemon.process.send_signal(signal.SIGHUP)
            assert client("GET", "/v1.0/healthz").status == 204
        replace_resources(daemon, DESCRIBED)
        operator(daemon, "/v1/reload", "POST")
        listing = operator(daemon, "/v1/apps")
        assert isinstance(listing, list)
        assert [each["appId"] for each in listing] == ["a"]
        assert client("POST", "/v1.0/state/statestore", [{"key": "k", "value": 1}]).status == 204


def test_many_clients_may_connect_in_the_same_moment() -> None:
    """Connections wait to be accepted, several hundred of them; none is refused because others came first."""
    with running_daemon(DESCRIBED, NAMES) as daemon:
        path = str(daemon.http_socket("a"))
        os.kill(daemon.process.pid, signal.SIGSTOP)
        clients = [socket.socket(socket.AF_UNIX) for _ in range(500)]
        try:
            for client in clients:
                client.setblocking(False)
                client.connect(path)
        finally:
            os.kill(daemon.process.pid, signal.SIGCONT)
            for client in clients:
                client.close()
