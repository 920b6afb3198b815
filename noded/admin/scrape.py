"""A port for Prometheus alone, in a thread of its own: whatever the path, the answer is the metrics, as daprd's is."""

import logging
from typing import TYPE_CHECKING

import trio
from prometheus_client import start_http_server

from noded.admin.metrics import registry_of

if TYPE_CHECKING:
    from noded.daemon import Daemon

log = logging.getLogger("noded.metrics")


async def serve_metrics(daemon: "Daemon", address: str, port: int) -> None:
    """Serve for as long as the process lives: the thread ends with it, so that nobody waits for it at the end.

    Raises OSError: the port is taken.
    """
    try:
        start_http_server(port, address, registry_of(daemon))
    except OSError as error:
        raise OSError(error.errno, f"failed to listen on {address}:{port}: {error.strerror}") from error
    log.info("metrics server listening on %s:%d", address, port)
    await trio.sleep_forever()
