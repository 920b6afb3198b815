"""The second app where Node is not there: what daprd's contract asks of an app is plain HTTP.

It handles events of the topic `orders` and calls of `greeting`.
"""

import json
import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SUBSCRIPTIONS = [{"pubsubname": "pubsub", "topic": "orders", "route": "/orders"}]


class Mailer(BaseHTTPRequestHandler):
    """Answers the daemon."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Tell the subscriptions."""
        self._answer(SUBSCRIPTIONS if self.path == "/dapr/subscribe" else {})

    def do_POST(self) -> None:
        """Handle an event or a call."""
        told = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.path == "/orders":
            print(f"mailer: handled the event {json.dumps(told['data'])}", flush=True)
            self._answer({"status": "SUCCESS"})
        else:
            self._answer({"greeting": f"hello {told['name']}, this is Python"})

    def log_message(self, *_: object) -> None:
        """Write nothing per request."""

    def _answer(self, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    server = ThreadingHTTPServer(("127.0.0.1", int(os.environ["APP_PORT"])), Mailer)
    print("mailer: listens", flush=True)
    server.serve_forever()
