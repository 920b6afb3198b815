"""What `noded daprd` serves once it runs, and what keeps it from running: ports, sockets, tokens, components."""

import os
import socket
import stat
import subprocess
from pathlib import Path

import grpc
import pytest

from noded.proto import metadata_pb2
from tests.compat.runtimes import echo_app
from tests.compat.wire import UnixConnection
from tests.daprd.sidecar_process import STATE, command, ended, environment, free_ports, http, resources, running
from tests.daprd.slow_app import SlowApp

GET_METADATA = "/dapr.proto.runtime.v1.Dapr/GetMetadata"
NO_SUCH = STATE.replace("state.in-memory", "state.nonesuch")
NO_VERSION = STATE.replace("version: v1", "version: v9")
NOT_OPENING = STATE.replace(
    "{type: state.in-memory, version: v1}",
    "{type: state.sqlite, version: v1, metadata: [{name: connectionString, value: /nonexistent/dir/x.db}]}",
)


def metadata_over_grpc(target: str, token: str | None = None) -> metadata_pb2.GetMetadataResponse:
    with grpc.insecure_channel(target) as channel:
        ask = channel.unary_unary(
            GET_METADATA,
            metadata_pb2.GetMetadataRequest.SerializeToString,
            metadata_pb2.GetMetadataResponse.FromString,
        )
        answer: metadata_pb2.GetMetadataResponse = ask(
            metadata_pb2.GetMetadataRequest(), timeout=10, metadata=(("dapr-api-token", token),) if token else ()
        )
        return answer


def test_both_apis_answer_on_their_ports_without_a_token(tmp_path: Path) -> None:
    """TCP ports ask for nothing unless DAPR_API_TOKEN is set, as daprd's."""
    with running(tmp_path) as sidecar:
        assert sidecar.http("GET", "/v1.0/metadata").json()["id"] == "app"
        assert metadata_over_grpc(f"127.0.0.1:{sidecar.grpc_port}").id == "app"


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
def test_every_address_is_listened_at_by_default(tmp_path: Path) -> None:
    """Without --dapr-listen-addresses the ports answer on IPv4 and IPv6."""
    with running(tmp_path) as sidecar:
        assert http(("127.0.0.1", sidecar.http_port), "GET", "/v1.0/healthz").status == 204
        assert http(("::1", sidecar.http_port), "GET", "/v1.0/healthz").status == 204


def test_listen_addresses_are_the_only_ones(tmp_path: Path) -> None:
    """--dapr-listen-addresses names every address that answers, and no other does."""
    with running(tmp_path, "--dapr-listen-addresses", "127.0.0.2,127.0.0.3") as sidecar:
        for host in ("127.0.0.2", "127.0.0.3"):
            assert http((host, sidecar.http_port), "GET", "/v1.0/healthz").status == 204
        with pytest.raises(ConnectionRefusedError):
            http(("127.0.0.1", sidecar.http_port), "GET", "/v1.0/healthz")


def test_a_token_is_asked_for_where_the_environment_has_one(tmp_path: Path) -> None:
    """With DAPR_API_TOKEN both ports want it; health does not."""
    with running(tmp_path, environ={"DAPR_API_TOKEN": "secret"}) as sidecar:
        assert sidecar.http("GET", "/v1.0/metadata").status == 401
        assert sidecar.http("GET", "/v1.0/metadata", headers={"dapr-api-token": "secret"}).status == 200
        assert sidecar.http("GET", "/v1.0/healthz").status == 204
        with pytest.raises(grpc.RpcError) as refused:
            metadata_over_grpc(f"127.0.0.1:{sidecar.grpc_port}")
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
        assert metadata_over_grpc(f"127.0.0.1:{sidecar.grpc_port}", "secret").id == "app"


def test_unix_sockets_replace_the_ports(tmp_path: Path) -> None:
    """--unix-domain-socket DIR has DIR/dapr-<app id>-{http,grpc}.socket, with a plain bind's mode, until it ends."""
    with running(tmp_path, "--unix-domain-socket", str(tmp_path)) as sidecar:
        paths = [tmp_path / f"dapr-app-{each}.socket" for each in ("http", "grpc")]
        connection = UnixConnection(paths[0])
        connection.request("GET", "/v1.0/healthz")
        assert connection.getresponse().status == 204
        connection.close()
        assert metadata_over_grpc(f"unix:{paths[1]}").id == "app"
        umask = os.umask(0)
        os.umask(umask)
        assert [stat.S_IMODE(path.stat().st_mode) for path in paths] == [0o777 & ~umask] * 2
        with pytest.raises(ConnectionRefusedError):
            sidecar.http("GET", "/v1.0/healthz")
        sidecar.process.terminate()
        assert sidecar.code() == 0
        assert not any(path.exists() for path in paths)


def test_a_socket_of_the_dead_is_replaced_and_one_of_the_living_is_not(tmp_path: Path) -> None:
    """What kill -9 left does not keep the next from starting; a runtime that lives does."""
    flags = ("--app-id", "app", "--enable-metrics=false", "--unix-domain-socket", str(tmp_path))
    with running(tmp_path, *flags) as killed:
        killed.process.kill()
        killed.code()
    assert (tmp_path / "dapr-app-http.socket").exists()

    with running(tmp_path, *flags):
        done = ended(*flags)

    assert done.returncode == 1
    assert "address already in use" in done.stdout


def test_health_waits_for_the_app_and_outbound_health_does_not(tmp_path: Path) -> None:
    """/v1.0/healthz is 500 until the app's port opens; SDKs poll healthz/outbound, which is 204 before."""
    (app_port,) = free_ports(1)
    with running(tmp_path, "--app-port", str(app_port)) as sidecar:
        assert sidecar.http("GET", "/v1.0/healthz/outbound").status == 204
        assert sidecar.http("GET", "/v1.0/healthz").json()["errorCode"] == "ERR_HEALTH_NOT_READY"
        assert "dapr initialized" not in sidecar.log()
        with socket.create_server(("127.0.0.1", app_port)):
            sidecar.waits_for("dapr initialized. Status: Running.")
            assert sidecar.http("GET", "/v1.0/healthz").status == 204


def test_the_app_is_called_where_the_flags_say(tmp_path: Path) -> None:
    """--app-port and --app-channel-address are the app's; APP_API_TOKEN goes with every call."""
    with echo_app() as port, running(tmp_path, "--app-port", str(port), environ={"APP_API_TOKEN": "theirs"}) as sidecar:
        sidecar.waits_for("application discovered on port")
        echoed = sidecar.http("POST", "/v1.0/invoke/app/method/echo", {"a": 1})

    assert echoed.status == 200
    assert b"theirs" in echoed.body


@pytest.mark.parametrize(
    ("flags", "protocol"),
    [
        (("h2c",), "h2c"),
        (("grpc",), "grpc"),
        (("https",), "https"),
        (("grpcs",), "grpcs"),
        (("HTTP",), "http"),
        (("http", "--app-ssl"), "https"),
        (("grpc", "--app-ssl"), "grpcs"),
        (("h2c", "--app-ssl"), "h2c"),
    ],
)
def test_every_protocol_of_daprds_is_taken(flags: tuple[str, ...], protocol: str, tmp_path: Path) -> None:
    """It starts with each, in any case; --app-ssl, deprecated, makes TLS of http and grpc."""
    with SlowApp() as app, running(tmp_path, "--app-port", str(app.port), "--app-protocol", *flags) as sidecar:
        sidecar.waits_for(f"application protocol: {protocol}. waiting on port {app.port}.")
        sidecar.waits_for("dapr initialized. Status: Running.")

        called = sidecar.http("GET", "/v1.0/metadata").json()["appConnectionProperties"]
        assert called["protocol"] == protocol


def test_the_public_port_serves_health_and_metadata_alone(tmp_path: Path) -> None:
    """No token is asked for there, and nothing else can be reached, whatever was asked for on the API port before."""
    (public,) = free_ports(1)
    flags = ("--resources-path", resources(tmp_path), "--dapr-public-port", str(public))
    secret = {"dapr-api-token": "secret"}
    with running(tmp_path, *flags, environ={"DAPR_API_TOKEN": "secret"}) as sidecar:
        for path in ("/v1.0/healthz", "/v1.0/healthz/outbound", "/v1.0/metadata"):
            assert sidecar.http("GET", path, port=public).status in {200, 204}
        for _ in range(3):
            assert sidecar.http("GET", "/v1.0/state/statestore/k", headers=secret).status == 204
            assert sidecar.http("GET", "/v1.0/state/statestore/k", port=public) == (404, b"404 page not found\n")
        assert sidecar.http("POST", "/v1.0/shutdown", port=public).status == 404
        assert sidecar.process.poll() is None


def test_components_come_from_resources_alone(tmp_path: Path) -> None:
    """There is no component by default; --resources-path gives those of its files that the app is in the scope of."""
    scoped = STATE.replace("statestore", "other") + "scopes: [another]\n"
    with running(tmp_path, "--resources-path", resources(tmp_path, f"{STATE}---{scoped}")) as sidecar:
        assert sidecar.http("POST", "/v1.0/state/statestore", [{"key": "k", "value": 1}]).status == 204
        assert [each["name"] for each in sidecar.http("GET", "/v1.0/metadata").json()["components"]] == ["statestore"]


@pytest.mark.parametrize(
    "text",
    [NO_SUCH, NO_VERSION, NOT_OPENING],
    ids=["of an unknown type", "of an unknown version", "that does not open"],
)
def test_a_component_that_fails_ends_it_unless_errors_are_ignored(text: str, tmp_path: Path) -> None:
    """Exit code 1 and the component's name; with ignoreErrors it starts without it."""
    given = text.replace("{type:", "{initTimeout: 2s, type:")
    directory = resources(tmp_path, given)
    http_port, grpc_port = free_ports(2)
    ports = ("--dapr-http-port", str(http_port), "--dapr-grpc-port", str(grpc_port), "--enable-metrics=false")

    done = ended("--app-id", "app", *ports, "--resources-path", directory)

    assert done.returncode == 1
    assert "[INIT_COMPONENT_FAILURE]: initialization error occurred for statestore" in done.stdout
    (tmp_path / "resources" / "resource.yaml").write_text(given.replace("{init", "{ignoreErrors: true, init"))
    with running(tmp_path, "--resources-path", directory) as sidecar:
        assert sidecar.http("GET", "/v1.0/healthz").status == 204


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ((), "parameter app-id cannot be empty"),
        (("--app-id", "a.b"), "parameter app-id cannot contain dots"),
        (("--app-id", "a/../b"), "parameter app-id cannot contain"),
        (("--app-id", "a", "--dapr-http-port", "x"), "error parsing dapr-http-port flag: strconv.Atoi"),
        (("--app-id", "a", "--app-protocol", "smtp"), "invalid value for 'app-protocol': smtp"),
        (("--app-id", "a", "--max-body-size", "zz"), "invalid value for 'max-body-size' option"),
        (("--app-id", "a", "--log-level", "loud"), "invalid value for --log-level: loud"),
        (("--app-id", "a", "--mode", "cloud"), "invalid mode: cloud"),
        (("--app-id", "a", "--config", "/nonexistent"), "error loading configuration: stat /nonexistent"),
        (("--app-id", "a", "--resources-path", "/nonexistent"), "/nonexistent: no such file or directory"),
        (("--app-id", "a", "--disable-init-endpoints", "foo"), "invalid value for 'disable-init-endpoints': foo"),
        (("--app-id", "a", "--actors-disseminate-timeout", "0s"), "must be positive, got 0s"),
        (("--app-id", "a", "--app-port", "3500"), "the 'dapr-http-port' argument value 3500 conflicts with 'app-port'"),
    ],
)
def test_what_daprd_does_not_start_with_ends_with_code_1(flags: tuple[str, ...], told: str) -> None:
    """Its last line of log says why, at level fatal."""
    done = ended(*flags)
    last = done.stdout.splitlines()[-1]

    assert done.returncode == 1
    assert " level=fatal " in last
    assert told in last


def test_a_metrics_port_that_is_taken_ends_it(tmp_path: Path) -> None:
    """Metrics are on by default; where their port cannot be had, the exit code is 1."""
    with socket.create_server(("0.0.0.0", 0)) as taken:
        flags = ("--enable-metrics", "--metrics-port", str(taken.getsockname()[1]))
        with running(tmp_path, *flags, ready=False) as sidecar:
            assert sidecar.code() == 1
            assert "failed to listen on 0.0.0.0:" in sidecar.log()


def test_metrics_are_served_at_their_port(tmp_path: Path) -> None:
    """Whatever the path, as daprd."""
    (port,) = free_ports(1)
    with running(tmp_path, "--enable-metrics=true", "--metrics-port", str(port)) as sidecar:
        sidecar.waits_for("metrics server listening")
        assert b"noded_apps 1\n" in sidecar.http("GET", "/", port=port).body
        assert b"noded_apps 1\n" in sidecar.http("GET", "/metrics", port=port).body


def test_flags_that_are_not_served_are_named(tmp_path: Path) -> None:
    """It starts all the same, and warns of what it will not do; flags at their default are not spoken of."""
    flags = ("--enable-mtls", "--placement-host-address", "127.0.0.1:50005", "--enable-profiling=false")
    with running(tmp_path, *flags) as sidecar:
        warned = [line for line in sidecar.log().splitlines() if "level=warning" in line]

    assert ["--enable-mtls" in line or "--placement-host-address" in line for line in warned] == [True, True]


def test_json_log_has_daprds_fields(tmp_path: Path) -> None:
    """--log-as-json: an object per line, to --log-file where that is given."""
    path = tmp_path / "file.log"
    with subprocess.Popen(
        command("--app-id", "a.b", "--log-as-json", "--log-file", str(path)),
        stdout=subprocess.PIPE,
        env=environment({}),
    ) as process:
        out, _ = process.communicate()

    assert out == b""
    assert path.read_text().count('"level": "fatal"') == 1
    for line in path.read_text().splitlines():
        for name in ("app_id", "instance", "level", "msg", "scope", "time", "type", "ver"):
            assert f'"{name}": ' in line
