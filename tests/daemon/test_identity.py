"""Who may call as an app: kernel credentials, file permissions, and tokens where there are neither."""

import grp
import json
import os
import pwd
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_status import rpc_status

from noded.proto import metadata_pb2
from tests.daemon.server_clients import (
    SQLITE,
    Answer,
    GrpcClient,
    HttpClient,
    RecordingApp,
    app,
    http,
    operator,
    raw,
    read_all,
    recording_app,
    resources,
)
from tests.daemon_process import Daemon, running_daemon

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can call as somebody else")

STRANGER, MEMBER = 3000, 3001
ASK_AS = """
import http.client, os, socket, sys
path, uid, group = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
os.setgroups([group]); os.setgid(uid); os.setuid(uid)
connection = http.client.HTTPConnection("localhost")
connection.sock = socket.socket(socket.AF_UNIX)
try:
    connection.sock.connect(path)
    connection.request("GET", "/v1.0/metadata")
    print(connection.getresponse().status)
except OSError as error:
    print(type(error).__name__)
except http.client.HTTPException as error:
    print(type(error).__name__)
"""
NAMES = {"open": "default", "listed": "default", "grouped": "default", "closed": "default", "token": "default"}


@pytest.fixture(scope="module")
def callee() -> Iterator[RecordingApp]:
    with recording_app("callee") as server:
        yield server


@pytest.fixture(scope="module")
def daemon(callee: RecordingApp) -> Iterator[Daemon]:
    anybody = {"mode": "0755"}
    apps = [
        app("open", sockets=anybody),
        app("listed", sockets=anybody, identity={"uids": [STRANGER]}),
        app("grouped", sockets=anybody, identity={"gids": [4000]}),
        app("closed"),
        app("token", apiToken="s3cret", channel=callee.channel),
        app("tcp", loopback={"httpPort": 0, "grpcPort": 0}),
    ]
    with running_daemon(resources(SQLITE, *apps), NAMES | {"tcp": "default"}) as running:
        running.root.chmod(0o755)
        running.run_dir.chmod(0o755)
        yield running


def ask_as(daemon: Daemon, app_id: str, uid: int, group: int = 5000) -> str:
    """What a process of another user gets from the app's HTTP socket: a status, or the error's name."""
    command = [sys.executable, "-c", ASK_AS, str(daemon.http_socket(app_id)), str(uid), str(group)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=15, cwd="/").stdout.strip()


@needs_root
def test_only_listed_users_may_call(daemon: Daemon) -> None:
    """identity.uids names who may: any other user is cut off, root included, though the file lets it in."""
    assert ask_as(daemon, "open", STRANGER) == "200"
    assert ask_as(daemon, "listed", STRANGER) == "200"
    assert ask_as(daemon, "listed", MEMBER) in ("RemoteDisconnected", "ConnectionResetError", "BrokenPipeError")
    with closing(raw(daemon.http_socket("listed"))) as root:
        assert read_all(root) == b""
    with closing(raw(daemon.grpc_socket("listed"))) as root:
        assert read_all(root) == b""


@needs_root
def test_members_of_listed_groups_may_call(daemon: Daemon) -> None:
    """A supplementary group counts, as the kernel tells it."""
    assert ask_as(daemon, "grouped", MEMBER, group=4000) == "200"
    assert ask_as(daemon, "grouped", MEMBER, group=4001) != "200"


@needs_root
def test_a_stranger_cannot_even_see_a_closed_apps_sockets(daemon: Daemon) -> None:
    """Without `sockets` the directory is 0700: the file system refuses before the daemon is asked."""
    assert ask_as(daemon, "closed", STRANGER) == "PermissionError"


@needs_root
def test_refused_callers_leave_nothing_counted(daemon: Daemon) -> None:
    """A connection that was refused for who it is does not hold a place."""
    for _ in range(5):
        with closing(raw(daemon.http_socket("listed"))) as root:
            read_all(root)
    listing = operator(daemon, "/v1/apps")
    assert isinstance(listing, list)
    assert [each["connections"] for each in listing if each["appId"] == "listed"] == [0]


def test_directories_and_sockets_have_the_modes_they_need(daemon: Daemon) -> None:
    """Directory 0700 unless told otherwise; a socket may be opened by whoever may pass its directory."""

    def modes(app_id: str) -> tuple[int, int]:
        directory = daemon.app_dir(app_id).stat().st_mode
        return stat.S_IMODE(directory), stat.S_IMODE(daemon.http_socket(app_id).stat().st_mode)

    assert modes("closed") == (0o700, 0o600)
    assert modes("open") == (0o755, 0o666)
    assert daemon.app_dir("closed").parent.stat().st_mode & 0o777 == 0o755


@needs_root
def test_directories_and_sockets_belong_to_whom_they_should() -> None:
    """`sockets.owner` and `group`, by name or number; with a group the mode is 0750."""
    owner, group = pwd.getpwnam("nobody"), grp.getgrgid(pwd.getpwnam("nobody").pw_gid)
    sockets = {"owner": "nobody", "group": str(group.gr_gid)}
    with running_daemon(resources(SQLITE, app("a", sockets=sockets)), {"a": "default"}) as daemon:
        for path in (daemon.app_dir("a"), daemon.http_socket("a"), daemon.grpc_socket("a")):
            found = path.stat()
            assert (found.st_uid, found.st_gid) == (owner.pw_uid, group.gr_gid)
        assert stat.S_IMODE(daemon.app_dir("a").stat().st_mode) == 0o750
        assert stat.S_IMODE(daemon.http_socket("a").stat().st_mode) == 0o660


# Tokens.


def test_a_token_is_asked_for_on_the_unix_sockets_where_one_is_set(daemon: Daemon) -> None:
    """Without it, or with another: 401 in plain text, as daprd. Health answers everybody."""
    with http(daemon, "token") as client:
        for headers in ({}, {"dapr-api-token": "wrong"}, {"dapr-api-token": ""}, {"dapr-api-token": "s3cret2"}):
            answer = client("GET", "/v1.0/metadata", headers=headers)
            assert (answer.status, answer.headers["content-type"]) == (401, "text/plain; charset=utf-8")
        assert client("GET", "/v1.0/metadata", headers={"Dapr-Api-Token": "s3cret"}).status == 200
        assert client("GET", "/v1.0/healthz").status in (204, 500)
        assert client("GET", "/v1.0/healthz/outbound").status == 204
        assert client("POST", "/v1.0/healthz/outbound").status == 401


def test_the_token_is_taken_off_before_it_could_reach_an_app(daemon: Daemon, callee: RecordingApp) -> None:
    """A callee must not learn its caller's token."""
    with http(daemon, "token") as client:
        headers = {"dapr-api-token": "s3cret", "x-kept": "yes"}
        assert client("POST", "/v1.0/invoke/token/method/token", b"body", headers).body == b"callee"
    ((sent, _),) = callee.at("/token")
    assert sent["x-kept"] == "yes"
    assert "dapr-api-token" not in sent


def loopback(daemon: Daemon) -> tuple[int, int, str]:
    listing = operator(daemon, "/v1/apps")
    assert isinstance(listing, list)
    (found,) = [each for each in listing if each["appId"] == "tcp"]
    return found["httpPort"], found["grpcPort"], (daemon.app_dir("tcp") / "api-token").read_text()


def test_a_token_is_mandatory_on_loopback(daemon: Daemon) -> None:
    """TCP has no credentials: the daemon makes a token, only the app's user can read it, and nothing goes without."""
    http_port, _, token = loopback(daemon)
    assert len(token) >= 24
    assert stat.S_IMODE((daemon.app_dir("tcp") / "api-token").stat().st_mode) == 0o600

    def get(path: str, headers: dict[str, str]) -> Answer:
        with closing(HTTPConnection("127.0.0.1", http_port, timeout=10)) as connection:
            connection.request("GET", path, headers=headers)
            response = connection.getresponse()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())

    refused = get("/v1.0/metadata", {})
    assert (refused.status, refused.headers["content-type"]) == (401, "text/plain; charset=utf-8")
    assert get("/v1.0/healthz/outbound", {}).status == 204
    assert get("/v1.0/metadata", {"dapr-api-token": token}).status == 200
    with http(daemon, "tcp") as client:
        assert client("GET", "/v1.0/metadata").status == 200, "the Unix socket knows who calls"


def test_loopback_listens_on_loopback_only(daemon: Daemon) -> None:
    """No port is open to the network."""
    http_port, grpc_port, _ = loopback(daemon)
    with open("/proc/net/tcp") as table:  # noqa: PTH123 - a kernel file
        listening = [line.split()[1] for line in table.readlines()[1:] if line.split()[3] == "0A"]
    for port in (http_port, grpc_port):
        assert listing_of(listening, port) == [f"0100007F:{port:04X}"]


def listing_of(listening: list[str], port: int) -> list[str]:
    return [each for each in listening if each.endswith(f":{port:04X}")]


@pytest.mark.parametrize("token", [None, "wrong"])
def test_grpc_without_the_token_is_unauthenticated(daemon: Daemon, token: str | None) -> None:
    """The status carries an ErrorInfo, as daprd's; with the token the same channel is served."""
    _, grpc_port, right = loopback(daemon)
    with closing(GrpcClient(f"127.0.0.1:{grpc_port}")) as client:
        metadata = () if token is None else (("dapr-api-token", token),)
        with pytest.raises(grpc.RpcError) as caught:
            client("GetMetadata", metadata_pb2.GetMetadataRequest(), metadata)
        assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED
        status = rpc_status.from_call(caught.value)  # type: ignore[arg-type]
        info = ErrorInfo()
        assert status is not None
        assert status.details[0].Unpack(info)
        assert info.reason == "Unauthorized"
        client("GetMetadata", metadata_pb2.GetMetadataRequest(), (("dapr-api-token", right),))


def test_the_operators_socket_is_the_daemons_users_alone(daemon: Daemon) -> None:
    """No app has a way to it."""
    operator(daemon, "/v1/apps")
    assert stat.S_IMODE(daemon.admin_socket.stat().st_mode) & 0o077 == 0
    with closing(HttpClient(daemon.http_socket("open"))) as client:
        assert client("GET", "/v1/usage").status == 404
        assert json.loads(client("GET", "/metrics").body)["errorCode"] == "ERR_DIRECT_INVOKE"
