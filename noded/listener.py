"""One of an app's sockets: the connections that are open on it."""

import trio

from noded.app import App
from noded.opening import Opening
from noded.server import Connection, Serving


class Listener:
    """The open connections of one of an app's sockets."""

    def __init__(self, app: App, serving: Serving, *, only_http2: bool, token: bytes | None) -> None:
        self.app = app
        self.serving = serving
        self.only_http2 = only_http2
        self.token = token
        self.connections: set[Connection] = set()
        self._all_closed: trio.Event | None = None

    def __call__(self) -> Opening:
        """Make the protocol of an accepted connection."""
        return Opening(Connection(self), self.serving.turns, self.app.turn)

    def admits(self, connection: Connection) -> bool:
        """Count a connection in, or refuse it for the app's limit."""
        tenant = self.app.tenant
        refusal = tenant.gate.acquire("connections")
        if refusal is not None:
            tenant.refused(refusal)
            return False
        self.connections.add(connection)
        return True

    def closed(self, connection: Connection) -> None:
        """Count it out."""
        if connection in self.connections:
            self.connections.remove(connection)
            self.app.tenant.gate.free("connections")
            if self._all_closed is not None and not self.connections:
                self._all_closed.set()

    async def wait_closed(self) -> None:
        """Wait until the last connection is closed."""
        if self.connections:
            self._all_closed = trio.Event()
            await self._all_closed.wait()

    def drain(self) -> None:
        """Let every connection finish what is under way, then close it."""
        for connection in tuple(self.connections):
            connection.drain()

    def abort(self) -> None:
        """Close every connection now."""
        for connection in tuple(self.connections):
            connection.abort()
