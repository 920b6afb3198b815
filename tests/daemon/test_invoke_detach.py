"""Calls to an app that is being detached: those under way end, within the drain's deadline; none begins."""

import signal
import threading
from http.client import HTTPConnection

from tests.compat.wire import UnixConnection
from tests.daemon.server_clients import eventually
from tests.daemon_process import Daemon, running_daemon
from tests.daprd.slow_app import SlowApp

CALLER = """
apiVersion: noded.io/v1alpha1
kind: App
metadata: {name: caller}
"""
CALLEE = """
apiVersion: noded.io/v1alpha1
kind: App
metadata: {name: callee}
spec: {channel: {address: "127.0.0.1:%d"}}
"""
GET_SLOW = "/v1.0/invoke/callee/method/slow"


def ask(daemon: Daemon) -> int:
    connection: HTTPConnection = UnixConnection(daemon.http_socket("caller"))
    try:
        connection.request("GET", GET_SLOW)
        return connection.getresponse().status
    finally:
        connection.close()


def test_a_call_under_way_survives_that_its_callee_is_detached() -> None:
    """Its answer still comes, though new calls find no such app any more."""
    statuses: list[int] = []
    with SlowApp() as app:
        resources = {"caller.yaml": CALLER, "callee.yaml": CALLEE % app.port}
        with running_daemon(resources, {"caller": "default", "callee": "default"}) as daemon:
            asking = threading.Thread(target=lambda: statuses.append(ask(daemon)))
            asking.start()
            app.wait_called()
            (daemon.root / "resources" / "callee.yaml").unlink()
            daemon.process.send_signal(signal.SIGHUP)
            eventually(lambda: not daemon.http_socket("callee").exists())
            assert ask(daemon) == 500
            assert not statuses
            app.answer()
            asking.join(20)
            assert statuses == [200]
            eventually(lambda: "app default/callee detached" in daemon.log())
