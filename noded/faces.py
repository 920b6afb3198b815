"""How requests of an app's sockets reach dispatch: past CORS, the API token and the log, as far as they are on.

    wire -> CORS -> API token -> API log -> dispatch

What is off is not in the way of any request: this is put together once per connection.
"""

from noded.api_log import with_log
from noded.api_token import streams_with_token, with_token
from noded.config.http_settings import HttpSettings
from noded.cors import Cors, with_cors
from noded.dispatch import Dispatcher
from noded.http1_known import Handler
from noded.routes import http_table
from noded.server_http1 import Decide


class Faces:
    """What one daemon's connections are made with."""

    def __init__(self, dispatcher: Dispatcher, spec: HttpSettings) -> None:
        handle: Handler = dispatcher.http
        if spec.logging.enabled:
            handle = with_log(spec.logging, http_table(spec.rules), handle)
        self._handle = handle
        self._streams: Decide = dispatcher.streams
        self._cors = Cors(spec.allowed_origins) if spec.allowed_origins else None

    def of(self, token: bytes | None) -> tuple[Handler, Decide]:
        """How requests are handled, and whose bodies are streamed, where that token is asked for."""
        handle, streams = self._handle, self._streams
        if token is not None:
            handle, streams = with_token(token, handle), streams_with_token(token, streams)
        if self._cors is not None:
            handle = with_cors(self._cors, handle)
        return handle, streams
