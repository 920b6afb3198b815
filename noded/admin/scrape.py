"""A port for Prometheus alone, in threads of its own: whatever the path, the answer is the metrics, as daprd's is."""

import gzip
import logging
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import BoundedSemaphore, Thread
from typing import TYPE_CHECKING, Any, Final

import trio
from prometheus_client import CollectorRegistry

from noded.admin.exposition import CONTENT_TYPE
from noded.admin.metrics import page_of, registry_of

if TYPE_CHECKING:
    from noded.daemon import Daemon

log = logging.getLogger("noded.metrics")

READ_SECONDS: Final = 10.0
"""For a scraper to send its request; scrapers' own timeouts are about as long."""
SCRAPERS: Final = 16
"""Connections at one moment, each a thread; whoever comes then is hung up on."""


async def serve_metrics(
    daemon: "Daemon",
    address: str,
    port: int,
    sidecar_namespace: str | None = None,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve for as long as the process lives: its threads end with it, so that nobody waits for them at the end.

    sidecar_namespace: as `registry_of` takes it. task_status: told once it listens.
    Raises OSError: the port is taken.
    """
    registry = registry_of(daemon, sidecar_namespace)
    try:
        server = ScrapeServer((address, port), registry)
    except OSError as error:
        why = f"failed to listen on {address}:{port}: {error.strerror}: choose another --metrics-port or address"
        raise OSError(error.errno, why) from error
    Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    log.info("metrics server listening on %s:%d", *server.server_address[:2])
    task_status.started()
    await trio.sleep_forever()


class ScrapeServer(ThreadingHTTPServer):
    """Serves a few scrapers at one moment; the others come again."""

    def __init__(self, address: tuple[str, int], registry: CollectorRegistry) -> None:
        """Listen. Raises OSError."""
        self._places = BoundedSemaphore(SCRAPERS)
        super().__init__(address, _handler(registry))

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection in a thread of its own, if there is one left."""
        if not self._places.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._places.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Be that thread."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log what failed; that a scraper left early is nothing to tell."""
        error = sys.exception()
        if not isinstance(error, OSError):
            log.error("a scrape failed", exc_info=error)


def _handler(registry: CollectorRegistry) -> type[BaseHTTPRequestHandler]:
    class Scrape(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = READ_SECONDS

        def do_GET(self) -> None:
            page = page_of(registry)
            packed = "gzip" in self.headers.get("accept-encoding", "")
            if packed:
                page = gzip.compress(page, compresslevel=1)
            self.send_response(200)
            self.send_header("Content-Type", CONTENT_TYPE)
            self.send_header("Content-Length", str(len(page)))
            if packed:
                self.send_header("Content-Encoding", "gzip")
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            """Say nothing: scrapes are frequent."""

    return Scrape
