"""`noded serve`: wrong input, its directories, its end, its reload, its log."""

import json
import re
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from noded.cli import main
from tests.compat.wire import UnixConnection
from tests.daemon.cli_process import APP, SECONDS, Reply, asked, command, http, noded, save, started, until
from tests.daemon_process import end, running_daemon, start, wait_for_socket, write_resources

LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (debug|info|warning|error|critical) +[a-z.]+: ")


CONFIGURATION = """\
apiVersion: dapr.io/v1alpha1
kind: Configuration
metadata: {name: c}
spec:
  tracing: {samplingRate: lots}
"""
CALLEE = """
apiVersion: noded.io/v1alpha1
kind: App
metadata: {name: callee}
spec: {channel: {address: "127.0.0.1:%d"}}
"""


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A directory whose sockets have short names."""
    with tempfile.TemporaryDirectory(prefix="noded-") as name:
        yield Path(name)


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--resources-path", "/nowhere/at/all"), "--resources-path /nowhere/at/all: no such file or directory"),
        (("--config", "/nowhere.yaml"), "--config /nowhere.yaml: no such file or directory"),
        (("--drain-seconds", "-1"), "'-1' is no number of seconds"),
        (("--drain-seconds", "nan"), "'nan' is no number of seconds"),
        (("--max-body-size", "4 MB"), "'4 MB' is no size"),
        (("--max-body-size", "0"), "'0' is no size"),
        (("--log-level", "loud"), "choose from"),
        (("--run-dir", "/tmp/" + "long" * 30), "107"),
        (("--resource-path", "/tmp"), "noded serve: error: unrecognized arguments: --resource-path /tmp\n"),
    ],
)
def test_wrong_flags_end_with_2_and_say_what_is_wrong(
    capsys: pytest.CaptureFixture[str], flags: tuple[str, ...], told: str
) -> None:
    """A flag or path that cannot be used is told with its value; nothing starts."""
    with pytest.raises(SystemExit) as ended:
        main(["serve", *flags])

    assert ended.value.code == 2
    assert told in capsys.readouterr().err


def test_what_cannot_be_had_ends_it_with_the_reason_and_a_remedy(short_path: Path) -> None:
    """A taken port of the metrics, and a file where a directory is to be: one line each, and 1; never ready before."""
    file = short_path / "file"
    file.touch()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        metrics = ("--metrics-port", port, "--metrics-listen-address", "127.0.0.1")
        busy = noded("serve", "--run-dir", short_path / "run", "--state-dir", short_path / "state", *metrics)
    occupied = noded("serve", "--run-dir", short_path / "run", "--state-dir", file)

    told = f"error   noded: failed to listen on 127.0.0.1:{port}: Address already in use: choose another --metrics-port"
    assert (busy.returncode, occupied.returncode) == (1, 1)
    assert told in busy.stderr.splitlines()[-1]
    assert "ready: " not in busy.stderr
    assert occupied.stderr.endswith(f"error   noded: state directory {file}: is a file: choose another\n")


def test_wrong_configuration_ends_with_2_and_names_the_line(short_path: Path) -> None:
    """A --config file that cannot be read right stops the start: the file, the line and the field are named."""
    file = short_path / "config.yaml"
    file.write_text(CONFIGURATION)

    done = noded("serve", "--config", file, "--run-dir", short_path / "run", "--state-dir", short_path / "state")

    assert done.returncode == 2
    assert f"{file}:5: spec.tracing.samplingRate" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("directory", ["run", "state"])
def test_directory_that_cannot_be_made_is_one_line_and_1(short_path: Path, directory: str) -> None:
    """A run or state directory that cannot be one is named, with the reason."""
    (short_path / "file").write_text("")
    paths = {"run": short_path / "run", "state": short_path / "state"} | {directory: short_path / "file" / "below"}

    done = noded("serve", "--run-dir", paths["run"], "--state-dir", paths["state"])

    assert done.returncode == 1
    assert str(paths[directory]) in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_second_daemon_on_the_same_directories_is_refused() -> None:
    """One daemon per directory: the second says which one is taken, ends with 1, and does the first no harm."""
    with running_daemon({"a.yaml": APP % ("a", 5)}, {"a": "default"}) as daemon:
        for run, state in ((daemon.run_dir, daemon.root / "other"), (daemon.root / "other", daemon.state_dir)):
            done = noded("serve", "--run-dir", run, "--state-dir", state)

            assert done.returncode == 1
            assert "another noded works in" in done.stderr
            assert len(done.stderr.splitlines()) == 1
        assert save(daemon.http_socket("a"), "k").status == 204


def test_what_a_killed_daemon_left_is_taken_over() -> None:
    """After kill -9 the next daemon takes over locks and sockets; acknowledged writes are there; the log is whole."""
    resources = {"a.yaml": APP % ("a", 5)}
    with running_daemon(resources, {"a": "default"}) as daemon:
        assert save(daemon.http_socket("a"), "k", "kept").status == 204
        daemon.process.kill()
        daemon.process.wait()
        assert daemon.http_socket("a").is_socket()
        lines = daemon.log().splitlines()
        second = start(daemon.root, resources)
        try:
            wait_for_socket(second, daemon.http_socket("a"), daemon.log)

            assert http(daemon.http_socket("a"), "GET", "/v1.0/state/statestore/k").body == b'"kept"'
            assert [line for line in lines if not LINE.match(line)] == []
            assert any(line.endswith("app default/a attached") for line in lines)
        finally:
            end(second)


def test_daemon_that_is_still_starting_is_waited_for() -> None:
    """Who asks while the operator's side is being loaded waits for it, and is not told that nobody is there."""
    with running_daemon({"a.yaml": APP % ("a", 5)}, {"a": "default"}) as daemon:
        assert [each["appId"] for each in asked(daemon, "apps")] == ["a"]


def test_without_resources_there_are_a_store_and_a_broker(short_path: Path) -> None:
    """Without resources noded starts with what `dapr init` names; with --log-as-json each line is an object."""
    flags = ("--run-dir", short_path / "run", "--state-dir", short_path / "state", "--log-as-json")
    with started("serve", *flags) as process:
        assert process.stderr is not None
        first = json.loads(process.stderr.readline())
        done = noded("components", "--json", "--run-dir", short_path / "run")
        process.send_signal(signal.SIGINT)

        assert {each["name"]: each["type"] for each in json.loads(done.stdout)} == {
            "statestore": "state.sqlite",
            "pubsub": "pubsub.in-memory",
        }
        assert process.wait(SECONDS) == 0
        assert {"time", "level", "logger", "msg"} <= set(first)
        assert first["msg"] == (
            "no component is configured: there are statestore (state.sqlite) and pubsub (pubsub.in-memory)"
        )
        assert (short_path / "state").stat().st_mode & 0o777 == 0o700  # what it keeps is no other user's
        assert all(json.loads(line)["level"] == "info" for line in process.stderr)


def test_sigterm_lets_what_is_in_flight_finish() -> None:
    """A call that an app is still answering when SIGTERM comes gets its answer; nobody new is let in; exit code 0."""
    replies: list[Reply] = []
    with slow_app() as app:
        apps = {"callee.yaml": CALLEE % app.port, "caller.yaml": APP % ("caller", 5)}
        with running_daemon(apps, {"caller": "default", "callee": "default"}) as daemon:
            path = daemon.http_socket("caller")
            call = threading.Thread(target=lambda: replies.append(http(path, "GET", "/v1.0/invoke/callee/method/slow")))
            call.start()
            assert app.asked.wait(SECONDS), daemon.log()
            daemon.process.terminate()
            until(lambda: not path.exists())
            app.may_answer.set()
            call.join(SECONDS)

            assert [(each.status, each.body) for each in replies] == [(200, b"done")]
            assert daemon.process.wait(SECONDS) == 0
            assert daemon.log().splitlines()[-1].endswith("noded: stopped")


@dataclass
class SlowApp:
    """Answers /slow when it is let."""

    port: int = 0
    asked: threading.Event = field(default_factory=threading.Event)
    may_answer: threading.Event = field(default_factory=threading.Event)


@contextmanager
def slow_app() -> Iterator[SlowApp]:
    app = SlowApp()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/slow":
                app.asked.set()
                app.may_answer.wait(SECONDS)
            self.send_response(200)
            self.send_header("content-length", "4")
            self.end_headers()
            self.wfile.write(b"done")

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        app.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield app
        finally:
            app.may_answer.set()
            server.shutdown()
            thread.join()


def test_sighup_takes_apps_and_limits_as_they_now_are() -> None:
    """A reload adds an app, removes another with its sockets, and changes a limit of one that goes on, data and all."""
    with running_daemon(
        {"a.yaml": APP % ("a", 1), "b.yaml": APP % ("b", 1)}, {"a": "default", "b": "default"}
    ) as daemon:
        a, c = daemon.http_socket("a"), daemon.http_socket("c")
        assert [save(a, key).status for key in ("1", "2")] == [204, 429]
        (daemon.root / "resources" / "b.yaml").unlink()
        write_resources(daemon.root, {"a.yaml": APP % ("a", 2), "c.yaml": APP % ("c", 1)})
        daemon.process.send_signal(signal.SIGHUP)
        wait_for_socket(daemon.process, c, daemon.log)
        until(lambda: not daemon.http_socket("b").exists())

        assert [save(a, key).status for key in ("2", "3")] == [204, 429]
        assert [each["appId"] for each in asked(daemon, "apps")] == ["a", "c"]


def test_bad_file_keeps_its_last_good_version() -> None:
    """A reload over a broken file says where it is broken and changes nothing of what that file gave."""
    with running_daemon({"a.yaml": APP % ("a", 1)}, {"a": "default"}) as daemon:
        until(daemon.admin_socket.exists)
        write_resources(daemon.root, {"a.yaml": "kind: App\nmetadata: {name: [", "b.yaml": APP % ("b", 1)})
        done = noded("reload", "--run-dir", daemon.run_dir)

        assert done.returncode == 1
        assert f"error: {daemon.root / 'resources' / 'a.yaml'}:" in done.stdout
        assert sorted(each["appId"] for each in asked(daemon, "apps")) == ["a", "b"]
        assert save(daemon.http_socket("a"), "k").status == 204
        write_resources(daemon.root, {"a.yaml": APP % ("a", 1)})
        done = noded("reload", "--json", "--run-dir", daemon.run_dir)
        assert (done.returncode, json.loads(done.stdout)) == (0, {"problems": []})


def test_app_whose_socket_path_is_too_long_harms_no_other() -> None:
    """A path over 107 bytes is told with its length; the other apps are attached."""
    long_id = "x" * 60
    with running_daemon({"a.yaml": APP % ("a", 1) + "---" + APP % (long_id, 1)}, {"a": "default"}) as daemon:
        told = until(lambda: [line for line in daemon.log().splitlines() if long_id in line])

        assert "a Unix socket's may have 107" in told[0]
        assert save(daemon.http_socket("a"), "k").status == 204


def test_reader_who_is_gone_ends_no_command() -> None:
    """`noded apps | head -0` ends without a word of a broken pipe."""
    with running_daemon({}) as daemon:
        until(daemon.admin_socket.exists)
        reader, writer = socket.socketpair()
        with closing(writer):
            reader.close()
            asking = command("apps", "--run-dir", daemon.run_dir)
            done = subprocess.run(asking, stdout=writer.fileno(), stderr=subprocess.PIPE, timeout=SECONDS, check=False)

    assert done.stderr == b""


@pytest.mark.parametrize("half", ["", "apiVersion: noded.io/v1alpha1\nkind: App\nmetadata: {name: a"])
def test_reload_over_a_half_written_file_detaches_nobody(half: str) -> None:
    """The file is named as wrong, its apps go on with their connections, and the whole file holds afterwards."""
    with running_daemon({"a.yaml": APP % ("a", 1)}, {"a": "default"}) as daemon:
        until(daemon.admin_socket.exists)
        before = asked(daemon, "apps")
        write_resources(daemon.root, {"a.yaml": half})
        done = noded("reload", "--run-dir", daemon.run_dir)

        assert done.returncode == 1
        assert f"error: {daemon.root / 'resources' / 'a.yaml'}:" in done.stdout
        assert asked(daemon, "apps") == before
        write_resources(daemon.root, {"a.yaml": APP % ("a", 1) + "---" + APP % ("b", 1)})
        assert noded("reload", "--run-dir", daemon.run_dir).returncode == 0
        assert [each["appId"] for each in asked(daemon, "apps")] == ["a", "b"]
        assert "default/a detached" not in daemon.log()


def test_heads_and_origins_by_flags(short_path: Path) -> None:
    """`--read-buffer-size` bounds heads, and `--allowed-origins` turns CORS on for those."""
    (short_path / "resources").mkdir()
    write_resources(short_path, {"a.yaml": APP % ("a", 5)})
    directories = ("--run-dir", short_path / "run", "--state-dir", short_path / "state")
    http_flags = ("--read-buffer-size", "1Ki", "--allowed-origins", "http://a,http://b")
    path = short_path / "run" / "apps" / "default" / "a" / "dapr-a-http.socket"
    with started("serve", "--resources-path", short_path / "resources", *directories, *http_flags):
        until((short_path / "run" / "admin.socket").exists)  # made after those of the apps
        connection = UnixConnection(path)
        connection.request("GET", "/v1.0/healthz/outbound", headers={"origin": "http://b"})
        allowed = connection.getresponse()
        allowed.read()
        connection.request("GET", "/v1.0/healthz/outbound", headers={"x-large": "a" * 6000})

        assert (allowed.status, allowed.getheader("access-control-allow-origin")) == (204, "http://b")
        assert connection.getresponse().status == 431
