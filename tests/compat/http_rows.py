"""One recorded HTTP exchange: sent, and what came back in the shape rows keep it."""

import time
from dataclasses import dataclass, field
from typing import cast

from tests.compat.normal import Json, normal_body, normal_member, normal_text
from tests.compat.runtimes import Runtime
from tests.compat.wire import UnixConnection

UNCOMPARED_REPLY_HEADERS = {
    "date",
    "content-length",
    "transfer-encoding",
    "connection",
    "keep-alive",
    "server",
    "traceparent",
}

Row = dict[str, object]


@dataclass
class HttpConversation:
    """The exchanges of one case, in order: what later ones may refer to."""

    runtime: Runtime
    etag: str = field(default="")
    """The last ETag seen; `${etag}` in a request."""

    def send(self, row: Row) -> Row:
        """Send a row's request; the reply, and what the app got at `watch`, as a row keeps them."""
        time.sleep(float(str(row.get("after_seconds", 0))))
        method, _, target = str(row["request"]).partition(" ")
        connection = UnixConnection(self.runtime.http_socket)
        connection.putrequest(method, self.filled(target), skip_accept_encoding=True)
        body = self.filled(str(row.get("body", ""))).encode()
        self.put_headers(connection, row, body)
        connection.endheaders(body or None)
        response = connection.getresponse()
        reply = response.read()
        connection.close()
        self.etag = response.headers.get("etag") or self.etag
        answer: Row = {"status": response.status, **kept_headers(response.headers.items())}
        if reply:
            answer["reply"] = shaped(normal_body(reply), row)
        if "watch" in row:
            answer["delivered"] = deliveries(self.runtime, row["watch"])
        if "ends" in row:
            answer["exits"] = self.runtime.exit_code()
        return answer

    def put_headers(self, connection: UnixConnection, row: Row, body: bytes) -> None:
        headers = row.get("headers", {})
        assert isinstance(headers, dict)
        for name, value in headers.items():
            connection.putheader(name, self.filled(str(value)))
        if body or str(row["request"]).startswith(("POST", "PUT", "PATCH")):
            connection.putheader("content-length", str(len(body)))

    def filled(self, text: str) -> str:
        return text.replace("${etag}", self.etag)


def kept_headers(headers: object) -> Row:
    kept: dict[str, str] = {}
    for name, value in list(headers):  # type: ignore[call-overload]
        if name.lower() in UNCOMPARED_REPLY_HEADERS:
            continue
        text = "<etag>" if name.lower() == "etag" else normal_text(value)
        kept[name.lower()] = f"{kept[name.lower()]}, {text}" if name.lower() in kept else text
    content_type = kept.pop("content-type", None)
    row: Row = {"type": content_type} if content_type else {}
    return {**row, "reply_headers": kept} if kept else row


def shaped(body: Json, row: Row) -> Json:
    """A body without what a row leaves out: `pick`ed members only, `ignore`d ones gone, lists by the member `sort`."""
    if isinstance(body, list) and "sort" in row:
        return sorted(body, key=lambda item: str(item[row["sort"]]))  # type: ignore[index,call-overload]
    if not isinstance(body, dict):
        return body
    if "sort" in row:
        return {name: shaped(held, row) for name, held in body.items()}
    if isinstance(pick := row.get("pick"), list):
        return {name: without(body.get(name), row.get("ignore")) for name in pick}
    return body


def without(body: Json, names: object) -> Json:
    if isinstance(names, list) and isinstance(body, dict):
        return {name: held for name, held in body.items() if name not in names}
    return body


def deliveries(runtime: Runtime, watch: object) -> list[Json]:
    """What the app was sent at the watched path: waits for `count` requests, one unless the row says."""
    assert isinstance(watch, dict)
    return [delivery(each) for each in runtime.received(watch["path"], watch.get("count", 1))]


def delivery(request: dict[str, object]) -> Json:
    body = normal_body(str(request["body"]).encode("latin-1"))
    return {
        "method": str(request["method"]),
        "headers": normal_member("headers", cast("Json", request["headers"])),
        "body": body,
    }
