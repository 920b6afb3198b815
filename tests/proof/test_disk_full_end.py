"""A daemon that ends, and starts again, on a disk without a free byte."""

import signal

from tests.daemon.server_clients import SQLITE, app, http, resources
from tests.proof.disks import small_disk
from tests.proof.node import place
from tests.proof.test_disks import get, save

END_SECONDS = 30.0


def test_a_full_disk_keeps_no_daemon_from_its_end() -> None:
    """SIGTERM ends it with 0, at once and without a traceback; with room again, all that was acknowledged is there."""
    with place(resources(SQLITE, app("a")), {"a": "default"}) as here, small_disk(here.root / "state", "2m"):
        ballast = here.root / "state" / "ballast"
        with here.running() as daemon, http(daemon, "a") as client:
            assert save(client, "statestore", "k", "kept") == (204, "")
            with ballast.open("wb", buffering=0) as file:
                try:
                    while file.write(bytes(4096)):
                        pass
                except OSError:
                    pass
            while save(client, "statestore", "more")[0] == 204:
                pass
            daemon.process.send_signal(signal.SIGTERM)
            assert daemon.process.wait(END_SECONDS) == 0
            assert daemon.log().count(": cannot write: database or disk is full: make room on its disk") == 1
            assert "Traceback" not in daemon.log()
            assert "did not close" not in daemon.log()
        ballast.unlink()
        with here.running() as daemon, http(daemon, "a") as client:
            assert get(client, "statestore", "k") == "kept"
