"""An app that nobody probes and that dies: the log says so once, and once when it is there again."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import grpc
import pytest

from tests.compat.wire import UnixConnection
from tests.daemon_process import Daemon, running_daemon

RESOURCES = """
apiVersion: noded.io/v1alpha1
kind: App
metadata: {name: app}
spec: {channel: {address: "127.0.0.1:%d", protocol: %s}}
---
apiVersion: noded.io/v1alpha1
kind: App
metadata: {name: caller}
"""
HTTP_APP = """
import http.server, sys
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), http.server.SimpleHTTPRequestHandler).serve_forever()
"""
GRPC_APP = """
import grpc, sys
from concurrent.futures import ThreadPoolExecutor
class Handler(grpc.GenericRpcHandler):
    def service(self, details):
        return grpc.unary_unary_rpc_method_handler(lambda message, context: b"")
server = grpc.server(ThreadPoolExecutor(2), handlers=[Handler()])
server.add_insecure_port("127.0.0.1:" + sys.argv[1])
server.start()
server.wait_for_termination()
"""
SECONDS = 20.0


@contextmanager
def app_process(program: str, port: int) -> Iterator[subprocess.Popen[bytes]]:
    quiet = subprocess.DEVNULL
    with subprocess.Popen([sys.executable, "-c", program, str(port)], stdout=quiet, stderr=quiet) as process:
        try:
            yield process
        finally:
            process.kill()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


def is_called(daemon: Daemon, protocol: str) -> bool:
    """Whether a call of another app reaches it."""
    if protocol == "http":
        connection = UnixConnection(daemon.http_socket("caller"))
        connection.request("GET", "/v1.0/invoke/app/method/")
        status = connection.getresponse().status
        connection.close()
        return status == 200
    with grpc.insecure_channel(f"unix:{daemon.grpc_socket('caller')}") as channel:
        call = channel.unary_unary("/some.Service/Method", bytes, bytes)
        try:
            call(b"", metadata=(("dapr-app-id", "app"),), timeout=SECONDS)
        except grpc.RpcError:
            return False
        return True


def until_called(daemon: Daemon, protocol: str, *, expected: bool) -> None:
    deadline = time.monotonic() + SECONDS
    while is_called(daemon, protocol) is not expected:
        assert time.monotonic() < deadline, daemon.log()
        time.sleep(0.02)


@pytest.mark.parametrize(("protocol", "program"), [("http", HTTP_APP), ("grpc", GRPC_APP)], ids=["http", "grpc"])
def test_the_log_tells_a_death_once_and_a_return_once(protocol: str, program: str) -> None:
    """It is learnt of by the first call or event that fails; those that follow say nothing."""
    port = free_port()
    with running_daemon({"a.yaml": RESOURCES % (port, protocol)}, {"app": "default", "caller": "default"}) as daemon:
        with app_process(program, port) as process:
            until_called(daemon, protocol, expected=True)
            before = daemon.log().count("can be reached again")
            told = daemon.log().count("cannot be reached")
            process.kill()
            process.wait()
            for _ in range(5):
                until_called(daemon, protocol, expected=False)
        with app_process(program, port):
            until_called(daemon, protocol, expected=True)
            assert is_called(daemon, protocol)

        lines = daemon.log().splitlines()
        assert sum("cannot be reached" in line for line in lines) == told + 1, daemon.log()
        assert sum("can be reached again" in line for line in lines) == before + 1, daemon.log()
        assert f"app default/app cannot be reached at 127.0.0.1:{port}: Connection refused" in daemon.log()
