"""The operator's side over its own socket: Quart-Trio on Hypercorn."""

from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from noded.daemon import Daemon


async def serve_admin(daemon: "Daemon") -> None:
    """Serve until cancelled."""
    await trio.sleep_forever()
