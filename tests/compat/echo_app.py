"""The app that compat rows run against: an HTTP/1.1 server that echoes, refuses, and remembers what it was sent.

Run as a program: it prints its port, then serves until its standard input ends, so it never outlives its test.

    /dapr/subscribe     the subscriptions of SUBSCRIPTIONS
    /events/<anything>  remembered; the answer is that of ANSWERS for the last segment, else SUCCESS
    /events/bulk/<word> remembered; every entry of the batch has the status of BULK_STATUSES, or ANSWERS as above
    /echo/...           200, the request as JSON
    /status/<code>      that status, {"code": <code>}
    /reply/<name>       a fixed reply of REPLIES
    /chunked            a body in three chunks
    /trailers           one in a chunk, and a trailer
    /early              an interim answer before the real one
    /_received          GET: what was remembered, JSON; DELETE: forget it
"""

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PLAIN = {"pubsubname": "pubsub"}
BULK_STATUSES: dict[str, dict[str, object]] = {
    "success": {"status": "SUCCESS"},
    "retry": {"status": "RETRY"},
    "drop": {"status": "DROP"},
    "blank": {"status": ""},
    "odd": {"status": "PERHAPS"},
    "absent": {},
    "raw": {"status": "SUCCESS"},
    "two": {"status": "SUCCESS"},
}
SUBSCRIPTIONS: list[dict[str, object]] = [
    {**PLAIN, "topic": "plain", "route": "/events/plain"},
    {**PLAIN, "topic": "a/b", "route": "/events/slashed"},
    {**PLAIN, "topic": "raw", "route": "/events/raw", "metadata": {"rawPayload": "true"}},
    {**PLAIN, "topic": "dropped", "route": "/events/drop", "deadLetterTopic": "dead"},
    {**PLAIN, "topic": "missing", "route": "/events/e404", "deadLetterTopic": "dead"},
    {**PLAIN, "topic": "failing", "route": "/events/e500", "deadLetterTopic": "dead"},
    {**PLAIN, "topic": "retried", "route": "/events/retry", "deadLetterTopic": "dead"},
    {**PLAIN, "topic": "unknown-status", "route": "/events/odd", "deadLetterTopic": "dead"},
    {**PLAIN, "topic": "redirected", "route": "/events/e302", "deadLetterTopic": "dead"},
    {**PLAIN, "topic": "dead", "route": "/events/dead"},
    {
        **PLAIN,
        "topic": "routed",
        "routes": {
            "rules": [
                {"match": 'event.type == "red"', "path": "/events/red"},
                {"match": "event.data.size > 10", "path": "/events/large"},
            ],
            "default": "/events/other",
        },
    },
    {
        **PLAIN,
        "topic": "unrouted",
        "routes": {"rules": [{"match": 'event.type == "red"', "path": "/events/red"}]},
        "deadLetterTopic": "dead",
    },
    {
        **PLAIN,
        "topic": "bulk",
        "route": "/events/bulk",
        "bulkSubscribe": {"enabled": True, "maxMessagesCount": 2, "maxAwaitDurationMs": 100},
    },
]
ONE_AT_A_TIME = {"enabled": True, "maxMessagesCount": 1, "maxAwaitDurationMs": 50}
SUBSCRIPTIONS += [
    {
        **PLAIN,
        "topic": f"bulk-{word}",
        "route": f"/events/bulk/{word}",
        "deadLetterTopic": "dead",
        "bulkSubscribe": ONE_AT_A_TIME,
        **({"metadata": {"rawPayload": "true"}} if word == "raw" else {}),
    }
    for word in (*BULK_STATUSES, "none", "text", "empty", "e404", "e500", "e302")
]
SUBSCRIPTIONS += [
    {
        **PLAIN,
        "topic": "bulk-routed",
        "routes": {
            "rules": [{"match": 'event.type == "red"', "path": "/events/bulk/success"}],
            "default": "/events/bulk/two",
        },
        "bulkSubscribe": ONE_AT_A_TIME,
    },
]
SUBSCRIPTIONS += [
    {**PLAIN, "topic": f"answered-{word}", "route": f"/events/answered/{word}", "deadLetterTopic": "dead"}
    for word in ("empty", "text", "blank", "e201", "e204", "e400", "e503")
]
SUBSCRIPTIONS += [
    {
        **PLAIN,
        "topic": "raw-odd",
        "route": "/events/raw-odd",
        "metadata": {"rawPayload": "perhaps"},
        "deadLetterTopic": "dead",
    },
    {
        **PLAIN,
        "topic": "misruled",
        "routes": {"rules": [{"match": "event.missing == 1", "path": "/events/red"}], "default": "/events/other"},
        "deadLetterTopic": "dead",
    },
    {**PLAIN, "topic": "overridden", "route": "/events/programmatic"},
    {**PLAIN, "topic": "twice", "route": "/events/first"},
    {**PLAIN, "topic": "twice", "route": "/events/second"},
    {**PLAIN, "topic": "routeless"},
]
OPENED = {str(each["topic"]) for each in SUBSCRIPTIONS if "route" in each or "routes" in each}
"""The topics of them that a runtime subscribes to."""
ANSWERS = {
    "none": (200, b'{"statuses":[]}'),
    "text": (200, b"fine"),
    "drop": (200, b'{"status":"DROP"}'),
    "retry": (200, b'{"status":"RETRY"}'),
    "odd": (200, b'{"status":"PERHAPS"}'),
    "empty": (200, b""),
    "blank": (200, b'{"status":""}'),
    "e201": (201, b""),
    "e204": (204, b""),
    "e302": (302, b""),
    "e400": (400, b""),
    "e404": (404, b""),
    "e500": (500, b""),
    "e503": (503, b'{"status":"SUCCESS"}'),
}
REPLIES: dict[str, tuple[int, list[tuple[str, str]], bytes]] = {
    "empty": (200, [], b""),
    "nocontent": (204, [], b""),
    "text": (200, [("content-type", "text/plain; charset=utf-8")], b"hello"),
    "untyped": (200, [], b"hello"),
    "octets": (200, [("content-type", "application/octet-stream")], bytes(range(256))),
    "redirect": (302, [("location", "/elsewhere")], b""),
    "headers": (
        201,
        [("x-one", "1"), ("x-two", "a"), ("x-two", "b"), ("set-cookie", "c=1"), ("set-cookie", "d=2"), ("etag", '"e"')],
        b"{}",
    ),
    "untyped-error": (500, [], b"oops"),
    "empty-error": (404, [], b""),
    "typed-nocontent": (204, [("content-type", "text/plain"), ("x-one", "1")], b""),
    "notmodified": (304, [("etag", '"e"'), ("content-type", "text/plain")], b""),
    "hop": (
        200,
        [
            ("content-type", "text/plain"),
            ("connection", "x-gone, X-Also-Gone"),
            ("x-gone", "1"),
            ("x-also-gone", "1"),
            ("x-stays", "1"),
            ("keep-alive", "timeout=5"),
            ("proxy-authenticate", "Basic"),
            ("proxy-connection", "keep-alive"),
            ("te", "trailers"),
            ("trailer", "x-t"),
            ("upgrade", "h9"),
        ],
        b"hello",
    ),
    "location": (201, [("location", "http://elsewhere/a?b=c"), ("content-type", "text/plain")], b"made"),
    "large-headers": (200, [("server", "v" * 6000), ("content-type", "text/plain")], b"hello"),
    "events": (200, [("content-type", "text/event-stream")], b"data: 1\n\n"),
    "created-events": (201, [("content-type", "text/event-stream")], b"data: 1\n\n"),
    "no-events": (404, [("content-type", "text/plain")], b"no"),
    "dates": (
        200,
        [("date", "Mon, 01 Jan 2001 00:00:00 GMT"), ("server", "kit"), ("content-type", "text/plain")],
        b"x",
    ),
    "grpc-headers": (200, [("content-type", "application/json"), ("x-some-bin", "AAA=")], b"{}"),
}


CHUNKED_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n"
RAW_REPLIES = {
    "chunked": CHUNKED_HEAD + b"4\r\none,\r\n4\r\ntwo,\r\n5\r\nthree\r\n0\r\n\r\n",
    "trailers": CHUNKED_HEAD + b"3\r\none\r\n0\r\nx-trailer: t\r\n\r\n",
    "early": b"HTTP/1.1 103 Early Hints\r\nlink: </early>\r\n\r\n"
    b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 4\r\n\r\nlate",
}


class EchoServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), EchoHandler)
        self.received: list[dict[str, object]] = []
        self.lock = threading.Lock()


class EchoHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: EchoServer

    def handle_any(self) -> None:
        body = self.read_body()
        path, _, query = self.path.partition("?")
        first, _, rest = path.lstrip("/").partition("/")
        if path == "/dapr/subscribe":
            self.answer_json(200, SUBSCRIPTIONS)
        elif first == "events":
            self.remember(path, body)
            word = rest.removeprefix("bulk/")
            if word != rest and word in BULK_STATUSES:
                entries = [{"entryId": each["entryId"], **BULK_STATUSES[word]} for each in json.loads(body)["entries"]]
                self.answer_json(200, {"statuses": entries})
                return
            self.answer(*ANSWERS.get(rest.rpartition("/")[2], (200, b'{"status":"SUCCESS"}')))
        elif first == "echo":
            self.answer_json(200, {**self.seen(path, body), "query": query})
        elif first == "status":
            self.answer_json(int(rest), {"code": int(rest)})
        elif first == "reply" and rest in REPLIES:
            status, headers, reply = REPLIES[rest]
            self.answer(status, reply, headers)
        elif first in RAW_REPLIES:
            self.wfile.write(RAW_REPLIES[first])
        elif first == "_received":
            self.recollect()
        elif first == "healthz":
            self.answer(200, b"")
        else:
            self.answer_json(404, {"detail": "Not Found"})

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = do_OPTIONS = do_TRACE = handle_any  # noqa: N815

    def read_body(self) -> bytes:
        if self.headers.get("transfer-encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("content-length", 0)))
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def seen(self, path: str, body: bytes) -> dict[str, object]:
        headers: dict[str, str] = {}
        for name, value in self.headers.items():
            held = headers.get(name.lower())
            headers[name.lower()] = value if held is None else f"{held}, {value}"
        return {"method": self.command, "path": path, "headers": headers, "body": body.decode("latin-1")}

    def remember(self, path: str, body: bytes) -> None:
        with self.server.lock:
            self.server.received.append(self.seen(path, body))

    def recollect(self) -> None:
        with self.server.lock:
            received = list(self.server.received)
            if self.command == "DELETE":
                self.server.received.clear()
        self.answer_json(200, received)

    def answer_json(self, status: int, value: object) -> None:
        self.answer(status, json.dumps(value).encode(), [("content-type", "application/json")])

    def answer(self, status: int, body: bytes, headers: list[tuple[str, str]] | None = None) -> None:
        self.send_response_only(status)
        for name, value in headers or []:
            self.send_header(name, value)
        if status != 204:
            self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


def main() -> None:
    server = EchoServer()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdout.write(f"{server.server_port}\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main()
