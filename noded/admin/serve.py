"""The operator's socket: Hypercorn serves the API on it. Source: hypercorn, `fd://` binds."""

import logging
import os
from typing import TYPE_CHECKING

import trio
from hypercorn.config import Config
from hypercorn.trio import serve

from noded.admin.api import make_app
from noded.config.paths import admin_path
from noded.sockets import bind_unix
from tenancy.identity import Ownership

if TYPE_CHECKING:
    from noded.daemon import Daemon

KEEP_ALIVE_SECONDS = 5.0
"""Of an idle connection. Hypercorn keeps the descriptor of one that its client closed for as long."""


async def serve_admin(daemon: "Daemon") -> None:
    """Serve until cancelled. Only the daemon's user may open the socket."""
    file = bind_unix(admin_path(daemon.settings.run_dir), Ownership(-1, -1, 0o700))
    config = Config()
    config.bind = [f"fd://{os.dup(file.sock.fileno())}"]
    config.errorlog = logging.getLogger("noded.admin.http")
    config.errorlog.setLevel(logging.WARNING)  # below, it tells people to press CTRL + C
    config.graceful_timeout = 1.0
    config.keep_alive_timeout = KEEP_ALIVE_SECONDS
    try:
        await serve(make_app(daemon), config, shutdown_trigger=daemon.stopping.wait, mode="asgi")
    finally:
        file.remove()
        file.sock.close()
    await trio.lowlevel.checkpoint()
