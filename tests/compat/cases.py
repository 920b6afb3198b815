"""The rows as data: cases of exchanges, read from rows/*.yaml.

case: what it shows
exchanges, in order, on one runtime; an HTTP one is
  request: VERB TARGET      `${etag}`, here and in headers and body: the last ETag seen
  headers, body
  after_seconds             waits first
  watch: {path, count}      collects what the app is sent there, in `delivered`
  pick, ignore, sort        what of the reply is compared
  status, type, reply_headers, reply, delivered     the recorded answer; an absent one must be absent
a gRPC one is
  call: RPC or /service/method, request, metadata
  code, message, details, headers, reply            the recorded answer
either of these may say
  ends: true                it ends the runtime, so its case has one of its own; waits for it
  exits                     the recorded exit code
one of bytes (files whose name begins with wire) is
  send                      HTTP/1.1 as it goes on the wire; `${a*300}` is 300 times `a`
  answers, kept             the recorded answers, and whether the connection lives on
and all may have
  noded: {because, ...}     where noded answers otherwise on purpose: the reason, and the fields it replaces;
                            None takes a field out of the comparison
A file may have a `setting`: flags, environment, configuration and components of a runtime of its own, without an app.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import yaml

from tests.compat.grpc_rows import GrpcConversation
from tests.compat.http_rows import HttpConversation
from tests.compat.runtimes import Runtime, Setting
from tests.compat.wire_rows import WireConversation

ROWS = Path(__file__).parent / "rows"
ANSWERS = {
    "answers",
    "kept",
    "status",
    "type",
    "reply_headers",
    "reply",
    "delivered",
    "code",
    "message",
    "details",
    "headers_back",
    "exits",
}

Row = dict[str, object]


class Conversation(Protocol):
    """The exchanges of one case with one runtime."""

    def send(self, row: Row) -> Row:
        """Send a row's request; the answer, as a row keeps it."""


class Case(NamedTuple):
    """A case and the file it stands in."""

    path: Path
    name: str
    exchanges: list[Row]
    pending: str
    setting: Setting

    @property
    def ends(self) -> bool:
        """Whether it ends its runtime."""
        return any(row.get("ends") for row in self.exchanges)


def all_cases() -> list[Case]:
    return [case for path in sorted(ROWS.glob("*.yaml")) for case in cases_of(path)]


def cases_of(path: Path) -> list[Case]:
    document = yaml.safe_load(path.read_text())
    setting = setting_of(document)
    return [Case(path, each["case"], each["exchanges"], each.get("pending", ""), setting) for each in document["cases"]]


def setting_of(document: Mapping[str, Any]) -> Setting:
    """What a file's runtime is started with."""
    given = document.get("setting", {})
    environment = tuple(given.get("environment", {}).items())
    flags = tuple(given.get("flags", ()))
    return Setting(flags, environment, given.get("configuration", ""), given.get("components"))


def conversation(path: Path, runtime: Runtime) -> Conversation:
    """Start a case: over gRPC, or as bytes, for the files whose name says so, else over HTTP."""
    if path.name.startswith("wire"):
        return WireConversation(runtime)
    return GrpcConversation(runtime) if path.name.startswith("grpc") else HttpConversation(runtime)


def expected(row: Row, runtime: Runtime) -> Row:
    """The answer a row asks of a runtime."""
    answer = {name: value for name, value in row.items() if name in ANSWERS}
    if runtime.name == "noded" and isinstance(row.get("noded"), dict):
        answer |= {name: value for name, value in row["noded"].items() if name in ANSWERS}  # type: ignore[attr-defined]
    return {name: value for name, value in answer.items() if value is not None}
