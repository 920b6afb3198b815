"""What two correct runtimes may differ in, made equal: random ids, etags, times, ports."""

import base64
import json
import re

Json = dict[str, "Json"] | list["Json"] | str | int | float | bool | None

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
PATTERNS = (
    (re.compile(r"current=[^,]*, expect"), "current=<etag>, expect"),
    (UUID, "<uuid>"),
    (re.compile(r"\b[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}\b"), "<traceparent>"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)"), "<time>"),
    (re.compile(r"127\.0\.0\.1:\d+"), "<address>"),
)


CLIENT_HEADERS = {
    "host",
    "accept-encoding",
    "content-length",
    "transfer-encoding",
    "connection",
    "dapr-authority",
    "dapr-grpc-accept-encoding",
    "dapr-caller-app-id",
    "dapr-caller-namespace",
    "dapr-callee-app-id",
}
"""Headers the app gets that are not compared: what every HTTP client adds in its own way; and who calls whom, which
daprd tells on calls from one sidecar to another only, and noded, being one for all, on every call."""
CLIENT_AGENTS = ("Go-http-client/", "grpc-python/")


def normal_text(text: str) -> str:
    for pattern, placeholder in PATTERNS:
        text = pattern.sub(placeholder, text)
    return text


def normal_json(value: Json) -> Json:
    """A JSON value with every text normal, every etag replaced, and only the headers that are compared."""
    if isinstance(value, dict):
        return {name: normal_member(name, held) for name, held in value.items()}
    if isinstance(value, list):
        return [normal_json(each) for each in value]
    return normal_text(value) if isinstance(value, str) else value


def normal_member(name: str, value: Json) -> Json:
    if name == "etag":
        return "<etag>"
    if name == "data_base64":
        return {"decoded": normal_body(base64.b64decode(str(value)))}
    if name == "headers" and isinstance(value, dict):
        return normal_json({header: text for header, text in sorted(value.items()) if is_compared(header, str(text))})
    return normal_json(value)


def is_compared(header: str, text: str) -> bool:
    """Whether a header the app got is compared."""
    return header not in CLIENT_HEADERS and not (header == "user-agent" and text.startswith(CLIENT_AGENTS))


def normal_body(body: bytes) -> Json:
    """A body as it is compared: JSON objects and arrays by structure, anything else by its text (bytes as Latin-1)."""
    text = body.decode("latin-1") if b"\0" in body else body.decode("utf-8", "backslashreplace")
    if text[:1] not in {"{", "["}:
        return normal_text(text)
    try:
        return normal_json(json.loads(text))
    except ValueError:
        return normal_text(text)
