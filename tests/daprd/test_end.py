"""How `noded daprd` ends: by signal, by the shutdown API, at once or after what is under way."""

import signal
import subprocess
import threading
from pathlib import Path

import grpc
import pytest
from google.protobuf.empty_pb2 import Empty

from noded.proto import metadata_pb2
from tests.daprd.sidecar_process import SECONDS, Sidecar, answers, command, environment, free_ports, http, running
from tests.daprd.slow_app import SlowApp


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda each: each.name)
def test_a_signal_ends_it_with_code_0(number: signal.Signals, tmp_path: Path) -> None:
    """As daprd: the end was asked for, and nothing failed."""
    with running(tmp_path) as sidecar:
        sidecar.process.send_signal(number)

        assert sidecar.code() == 0
        assert "Daprd shutdown gracefully" in sidecar.log()


def shut_down_by_http(sidecar: Sidecar) -> None:
    assert sidecar.http("POST", "/v1.0/shutdown").status == 204


def shut_down_by_grpc(sidecar: Sidecar) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{sidecar.grpc_port}") as channel:
        ask = channel.unary_unary(
            "/dapr.proto.runtime.v1.Dapr/Shutdown", metadata_pb2.ShutdownRequest.SerializeToString, Empty.FromString
        )
        ask(metadata_pb2.ShutdownRequest(), timeout=SECONDS)


def begin_call(sidecar: Sidecar, app: SlowApp) -> tuple[threading.Thread, list[int]]:
    """Call the app, which waits; gives who waits for it, and the statuses it got."""
    got: list[int] = []
    caller = threading.Thread(target=lambda: got.append(sidecar.http("GET", "/v1.0/invoke/app/method/slow").status))
    caller.start()
    app.wait_called()
    return caller, got


@pytest.mark.parametrize("shut_down", [shut_down_by_http, shut_down_by_grpc])
def test_the_shutdown_api_is_answered_and_ends_the_process(shut_down: object, tmp_path: Path) -> None:
    """The app may end its runtime: the exit code is 0."""
    assert callable(shut_down)
    with running(tmp_path) as sidecar:
        shut_down(sidecar)

        assert sidecar.code() == 0


def test_a_forced_shutdown_ends_it_with_code_1(tmp_path: Path) -> None:
    """With the header dapr-force-shutdown nothing is waited for but the answer."""
    with running(tmp_path) as sidecar:
        assert sidecar.http("POST", "/v1.0/shutdown", headers={"dapr-force-shutdown": "True"}).status == 204

        assert sidecar.code() == 1


def test_a_signal_after_the_shutdown_api_cuts_nothing(tmp_path: Path) -> None:
    """An app that ends its runtime is often signalled, with it, soon after: only a second signal cuts calls."""
    with SlowApp() as app, running(tmp_path, "--app-port", str(app.port)) as sidecar:
        caller, answers_got = begin_call(sidecar, app)
        shut_down_by_http(sidecar)
        sidecar.waits_for("Dapr is shutting down")
        sidecar.process.terminate()
        sidecar.waits_for("Received signal 'terminated'; beginning shutdown")
        app.answer()
        caller.join(SECONDS)

        assert answers_got == [200]
        assert sidecar.code() == 0


def test_sigterm_lets_a_call_finish(tmp_path: Path) -> None:
    """What is under way at SIGTERM gets its answer, and no new connection is taken."""
    with SlowApp() as app, running(tmp_path, "--app-port", str(app.port)) as sidecar:
        caller, answers_got = begin_call(sidecar, app)
        sidecar.process.terminate()
        sidecar.waits_for("Dapr is shutting down")
        with pytest.raises(OSError, match="refused"):
            sidecar.http("GET", "/v1.0/healthz")
        app.answer()
        caller.join(SECONDS)

        assert answers_got == [200]
        assert sidecar.code() == 0


def test_what_does_not_finish_is_cut_at_the_grace_period(tmp_path: Path) -> None:
    """--dapr-graceful-shutdown-seconds 0: the end does not wait for the app."""
    flags = ("--dapr-graceful-shutdown-seconds", "0")
    with SlowApp() as app, running(tmp_path, "--app-port", str(app.port), *flags) as sidecar:
        cut: list[BaseException] = []

        def call() -> None:
            try:
                sidecar.http("GET", "/v1.0/invoke/app/method/slow")
            except OSError as error:
                cut.append(error)

        caller = threading.Thread(target=call)
        caller.start()
        app.wait_called()
        sidecar.process.terminate()

        assert sidecar.code() == 0
        caller.join(SECONDS)
        assert len(cut) == 1


def test_blocked_shutdown_leaves_the_apis_open(tmp_path: Path) -> None:
    """--dapr-block-shutdown-duration: after SIGTERM the app may go on calling; a second SIGTERM ends it at once."""
    with running(tmp_path, "--dapr-block-shutdown-duration", "1h") as sidecar:
        sidecar.process.terminate()
        sidecar.waits_for("Blocking graceful shutdown for 1h0m0s")

        assert sidecar.http("GET", "/v1.0/healthz").status == 204
        sidecar.process.terminate()
        assert sidecar.code() == 1


@pytest.mark.parametrize("shut_down", [shut_down_by_http, shut_down_by_grpc])
def test_the_shutdown_api_is_not_blocked(shut_down: object, tmp_path: Path) -> None:
    """--dapr-block-shutdown-duration gives the app time to end; it is the app that asks for the end here."""
    assert callable(shut_down)
    with running(tmp_path, "--dapr-block-shutdown-duration", "1h") as sidecar:
        shut_down(sidecar)

        assert sidecar.code() == 0
        assert "Blocking graceful shutdown" not in sidecar.log()


def test_blocked_shutdown_is_not_cut_short_by_the_shutdown_api(tmp_path: Path) -> None:
    """Once a signal has begun it, only force, a second signal or time end it."""
    with running(tmp_path, "--dapr-block-shutdown-duration", "1h") as sidecar:
        sidecar.process.terminate()
        sidecar.waits_for("Blocking graceful shutdown for 1h0m0s")
        shut_down_by_http(sidecar)
        sidecar.waits_for("Shutdown requested via API")

        assert sidecar.http("GET", "/v1.0/healthz").status == 204
        assert sidecar.http("POST", "/v1.0/shutdown", headers={"dapr-force-shutdown": "true"}).status == 204
        assert sidecar.code() == 1


def test_blocked_shutdown_ends_when_its_time_is_up(tmp_path: Path) -> None:
    """Then it ends as without it."""
    with running(tmp_path, "--dapr-block-shutdown-duration", "50ms") as sidecar:
        sidecar.process.terminate()

        assert sidecar.code() == 0
        assert "Blocking graceful shutdown" in sidecar.log()


def test_a_port_is_waited_for_while_its_last_owner_ends(tmp_path: Path) -> None:
    """A restart does not fail because the runtime before is still ending: ports are tried for ten seconds."""
    with running(tmp_path) as first:
        ports = ("--dapr-http-port", str(first.http_port), "--dapr-grpc-port", str(first.grpc_port))
        flags = ("--app-id", "app", "--enable-metrics=false", *ports)
        with subprocess.Popen(command(*flags), stdout=subprocess.DEVNULL, env=environment({})) as second:
            try:
                first.process.terminate()
                assert first.code() == 0
                while not answers(first.http_port):
                    assert second.poll() is None
                assert http(first.http_port, "POST", "/v1.0/shutdown").status == 204
                assert second.wait(SECONDS) == 0
            finally:
                second.kill()


def test_wait_returns_once_the_runtime_answers(tmp_path: Path) -> None:
    """--wait asks the runtime on --dapr-http-port, and ends with 0."""
    (port,) = free_ports(1)
    with subprocess.Popen(
        command("--wait", "--dapr-http-port", str(port)), stderr=subprocess.PIPE, text=True, env=environment({})
    ) as waiting:
        assert waiting.stderr is not None
        assert waiting.stderr.readline().startswith("Waiting for Dapr")
        assert waiting.poll() is None
        with running(tmp_path, "--dapr-http-port", str(port)):
            assert waiting.wait(SECONDS) == 0
