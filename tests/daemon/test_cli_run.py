"""`noded run`: an app attached for as long as its command runs, whatever ends first."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from noded.cli import main
from tests.daemon.cli_process import asked, http, noded, save, started, until
from tests.daemon.lifecycle_app import LifecycleApp
from tests.daemon_process import Daemon, end, running_daemon, start

ENVIRONMENT = "import json, os; print(json.dumps(dict(os.environ)))"
READY = "print('runs', flush=True)\n"
PROBED = ("--enable-app-health-check",)
FOREVER = READY + "import time; time.sleep(60)"
SAVE = """
import os, sys, urllib.request
url = os.environ["DAPR_HTTP_ENDPOINT"] + "/v1.0/state/statestore"
request = urllib.request.Request(url, b'[{"key":"k","value":1}]')
request.add_header("dapr-api-token", os.environ["DAPR_API_TOKEN"])
"""


@contextmanager
def operated() -> Iterator[Daemon]:
    """A daemon that can be asked."""
    with running_daemon({}) as found:
        until(found.admin_socket.exists)
        yield found


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with operated() as found:
        yield found


def run_flags(daemon: Daemon, app_id: str, *flags: str) -> tuple[str, ...]:
    return ("run", "--run-dir", str(daemon.run_dir), "--app-id", app_id, *flags, "--", sys.executable, "-c")


def attached(daemon: Daemon) -> list[str]:
    return [each["appId"] for each in asked(daemon, "apps")]


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def error_line(process: subprocess.Popen[str], text: str) -> str:
    """The next line of standard error that has `text`."""
    assert process.stderr is not None
    return next(each for each in process.stderr if text in each)


def test_command_finds_the_daemon_by_its_environment(daemon: Daemon) -> None:
    """SDKs read ports, endpoints and token from the environment; what was inherited leads nowhere else."""
    inherited = {"DAPR_HTTP_ENDPOINT": "http://elsewhere", "DAPR_RUNTIME_HOST": "elsewhere", "OTHER": "kept"}
    done = noded(*run_flags(daemon, "env", "--app-port", "7001"), ENVIRONMENT, environ=inherited)
    told = json.loads(done.stdout)

    assert done.returncode == 0
    assert told["DAPR_HTTP_ENDPOINT"] == f"http://127.0.0.1:{told['DAPR_HTTP_PORT']}"
    assert told["DAPR_GRPC_ENDPOINT"] == f"127.0.0.1:{told['DAPR_GRPC_PORT']}"
    assert len(told["DAPR_API_TOKEN"]) >= 32
    assert (told["APP_ID"], told["APP_PORT"], told["OTHER"]) == ("env", "7001", "kept")
    assert told["NODED_HTTP_SOCKET"] == str(daemon.http_socket("env"))
    assert told["NODED_GRPC_SOCKET"] == str(daemon.grpc_socket("env"))
    assert "DAPR_RUNTIME_HOST" not in told


def test_without_loopback_there_is_no_port(daemon: Daemon) -> None:
    """--no-loopback gives the gRPC socket as endpoint and no TCP variable at all."""
    done = noded(*run_flags(daemon, "sockets", "--no-loopback"), ENVIRONMENT, environ={"DAPR_HTTP_PORT": "1"})
    told = json.loads(done.stdout)

    assert told["DAPR_GRPC_ENDPOINT"] == f"unix:{daemon.grpc_socket('sockets')}"
    assert not {"DAPR_HTTP_PORT", "DAPR_GRPC_PORT", "DAPR_HTTP_ENDPOINT", "DAPR_API_TOKEN", "APP_PORT"} & set(told)


def test_ends_as_its_command_ends_and_detaches(daemon: Daemon) -> None:
    """The exit code is the command's, 128 + the signal where one ended it; then the app and its sockets are gone."""
    for code, expected in (("raise SystemExit(7)", 7), ("import os; os.kill(os.getpid(), 9)", 128 + 9)):
        done = noded(*run_flags(daemon, "code"), code)

        assert done.returncode == expected
        assert "code" not in attached(daemon)
        assert not daemon.app_dir("code").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_pass_to_the_command(daemon: Daemon, number: signal.Signals) -> None:
    """What `noded run` is told by a signal its command is told; how the command ends counts."""
    handles = f"import signal, sys, time; signal.signal({int(number)}, lambda *_: sys.exit(5))\n{FOREVER}"
    with started(*run_flags(daemon, "signals"), handles) as process:
        assert line(process) == "runs"
        process.send_signal(number)

        assert process.wait(20) == 5


def test_killed_run_leaves_no_app(daemon: Daemon) -> None:
    """When `noded run` is killed with -9 the daemon lets the app go."""
    with started(
        *run_flags(daemon, "killed"), "import os\nprint(os.getpid(), flush=True)\nimport time; time.sleep(60)"
    ) as process:
        child = int(line(process))
        assert "killed" in attached(daemon)
        process.kill()
        try:
            until(lambda: "killed" not in attached(daemon))
            assert not daemon.http_socket("killed").exists()
        finally:
            os.kill(child, signal.SIGKILL)


def test_limits_of_the_flags_hold(daemon: Daemon) -> None:
    """--limit is the app's own limit: the second key of one allowed is refused."""
    with started(
        *run_flags(daemon, "limited", "--limit", "stateKeys=1", "--limit", "stateBytes=1Ki"), FOREVER
    ) as process:
        assert line(process) == "runs"
        path = daemon.http_socket("limited")

        assert [save(path, key).status for key in ("a", "b")] == [204, 429]
        process.terminate()
        process.wait(20)


def test_health_checks_of_the_flags_are_made(daemon: Daemon) -> None:
    """The app is probed as daprd's flags of the same names say."""
    with LifecycleApp() as app:
        flags = (*PROBED, "--app-port", str(app.port), "--app-health-probe-interval", "1", "--app-health-threshold=7")
        with started(*run_flags(daemon, "probed", *flags, "--disable-init-endpoints", "config"), FOREVER) as process:
            assert line(process) == "runs"
            app.wait_until(lambda: "/dapr/subscribe" in app.paths())

            assert app.paths()[:2] == ["/healthz", "/dapr/subscribe"]
            told = json.loads(http(daemon.http_socket("probed"), "GET", "/v1.0/metadata").body)
            assert told["appConnectionProperties"]["health"] == {
                "healthCheckPath": "/healthz",
                "healthProbeInterval": "1s",
                "healthProbeTimeout": "500ms",
                "healthThreshold": 7,
            }
            process.terminate()
            process.wait(20)


@pytest.mark.parametrize("way", ["detach", "shutdown"])
def test_detached_app_has_its_command_ended(daemon: Daemon, way: str) -> None:
    """`noded detach`, or Dapr's shutdown, ends the app's stay: its command is told by SIGTERM."""
    with started(*run_flags(daemon, "gone"), FOREVER) as process:
        assert line(process) == "runs"
        if way == "detach":
            assert noded("detach", "gone", "--run-dir", daemon.run_dir).returncode == 0
        else:
            assert http(daemon.http_socket("gone"), "POST", "/v1.0/shutdown").status == 204

        assert process.wait(20) == 128 + signal.SIGTERM
        assert error_line(process, "was detached")


def test_app_stays_through_a_restart_of_the_daemon() -> None:
    """A daemon killed with -9 and started again has the app back, at the same port with the same token."""
    code = f"{SAVE}{READY}\nsys.stdin.readline(); urllib.request.urlopen(request).close(); print('saved', flush=True)"
    with operated() as first, started(*run_flags(first, "stays"), code) as process:
        assert line(process) == "runs"
        first.process.kill()
        first.process.wait()
        assert error_line(process, "lost its daemon")
        second = start(first.root, {})
        try:
            assert error_line(process, "is attached again")
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()

            assert line(process) == "saved"
            assert process.wait(20) == 0
            assert attached(first) == []
        finally:
            end(second)


def test_absent_daemon_is_told_once() -> None:
    """While nobody answers, an app that lost its daemon says no more than that it waits for one."""
    code = f"import sys, time\n{READY}\nsys.stdin.readline(); time.sleep(0.5)"  # a few tries long
    with operated() as daemon, started(*run_flags(daemon, "waits"), code) as process:
        assert line(process) == "runs"
        daemon.process.kill()
        assert error_line(process, "lost its daemon: attaching it again as soon as one answers")
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.close()

        assert process.wait(20) == 0
        assert process.stderr.read() == ""


def test_no_daemon_is_told_with_how_to_start_one(tmp_path: Path) -> None:
    """Without a daemon nothing is run; the message says what to type."""
    for arguments in (("run", "--app-id", "a", "--", "touch", str(tmp_path / "ran")), ("apps",), ("usage", "--json")):
        done = noded(arguments[0], "--run-dir", "/tmp/noded-no", *arguments[1:])  # a short path; nothing is made there

        assert done.returncode == 1
        assert "start one with `noded serve --run-dir /tmp/noded-no`" in done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "ran").exists()


def test_refusals_of_the_daemon_are_told(daemon: Daemon) -> None:
    """An app id or a port that is taken: one line, and nothing runs."""
    with started(*run_flags(daemon, "twice"), FOREVER) as process:
        assert line(process) == "runs"
        port = next(each["httpPort"] for each in asked(daemon, "apps") if each["appId"] == "twice")
        for flags, told in (
            (run_flags(daemon, "twice"), "twice"),
            (run_flags(daemon, "other", "--http-port", str(port)), str(port)),
        ):
            done = noded(*flags, "print('ran')")

            assert (done.returncode, done.stdout) == (1, "")
            assert told in done.stderr
            assert len(done.stderr.splitlines()) == 1
        process.terminate()
        process.wait(20)
    assert "other" not in attached(daemon)


def test_command_that_is_not_there_attaches_nothing(daemon: Daemon) -> None:
    """A command that cannot be run is named before anything is attached."""
    done = noded("run", "--run-dir", daemon.run_dir, "--app-id", "none", "--", "/no/such/command")

    assert done.returncode == 1
    assert done.stderr == "noded: /no/such/command: no such command, or not executable\n"


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--", "true"), "--app-id"),
        (("--app-id", "a"), "no command"),
        (("--app-id", "a b", "--", "true"), "a b"),
        (("--app-id", "a", "--namespace", "A.b", "--", "true"), "A.b"),
        (("--app-id", "a", "--app-port", "70000", "--", "true"), "'70000' is not a port"),
        (("--app-id", "a", "--app-channel", "nowhere", "--", "true"), "'nowhere' is not an address"),
        (("--app-id", "a", "--app-channel", "h:1", "--app-port", "1", "--", "true"), "not allowed with"),
        (("--app-id", "a", "--app-protocol", "smtp", "--", "true"), "choose from"),
        (("--app-id", "a", "--app-max-concurrency", "0", "--", "true"), "'0' is below 1"),
        (("--app-id", "a", "--limit", "requestsPerSecond", "--", "true"), "NAME=VALUE"),
        (("--app-id", "a", "--limit", "requests=1", "--", "true"), "allowed: requestsPerSecond"),
        (("--app-id", "a", "--limit", "stateBytes=much", "--", "true"), "stateBytes: 'much'"),
        (("--app-id", "a", "--limit", "requestsPerSecond=0", "--", "true"), "above zero"),
        (("--app-id", "a", "--no-loopback", "--http-port", "1", "--", "true"), "no ports to choose"),
        (("--app-id", "a", "--enable-app-health-check", "--", "true"), "cannot be probed: give its port"),
        (("--app-id", "a", "--app-port", "1", *PROBED, "--app-health-probe-timeout", "6s", "--", "true"), "no longer"),
        (("--app-id", "a", "--app-health-probe-interval", "0", "--", "true"), "seconds from 1"),
        (("--app-id", "a", "--app-health-check-path", "a b", "--", "true"), "is not a path"),
        (("--app-id", "a", "--disable-init-endpoints", "bindings", "--", "true"), "choose from"),
    ],
)
def test_wrong_input_ends_with_2_and_says_what_is_allowed(
    capsys: pytest.CaptureFixture[str], flags: tuple[str, ...], told: str
) -> None:
    """A flag that cannot be used is told with what was found; no daemon is asked."""
    with pytest.raises(SystemExit) as ended:
        main(["run", *flags])

    assert ended.value.code == 2
    assert told in capsys.readouterr().err
