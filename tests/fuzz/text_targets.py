"""Query strings, paths, routing rules, resource files."""

import contextlib
import io
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote_to_bytes

from noded import check
from noded.api.invoke_target import InvalidTarget, find_target, request_path, split_app
from noded.calls import HttpCall
from noded.config.load import MAX_FILE_BYTES
from noded.errors import ApiError
from noded.query import metadata_of, pairs, unescape
from noded.route_table import Candidate, clean
from noded.routes import http_table
from noded.runtime.match import BadMatch, Match, MatchFailed
from noded.runtime.match_cost import TooCostly, cost_of
from noded.wire.known_heads import is_plain, plain_line, request_line
from tests.fuzz.cuts import split_choice
from tests.fuzz.lone_node import LoneNode, carry
from tests.fuzz.target import Target
from tests.wire.recording_link import read_answers

_TABLE = http_table()
METHODS = (b"GET", b"POST", b"PUT", b"DELETE", b"PATCH", b"OPTIONS")


def queries(query: bytes) -> None:
    """Names and values as Go's net/url gives them; a broken escape leaves its pair out and raises nothing."""
    found = pairs(query)
    assert len(found) <= query.count(b"&") + 1
    expected = []
    for piece in query.split(b"&"):
        name, _, value = piece.partition(b"=")
        if piece and not _broken(name) and not _broken(value):
            expected.append(tuple(_go(part) for part in (name, value)))
    assert found == expected
    metadata = metadata_of(query)
    assert all(("metadata." + name, value) in found for name, value in metadata.items())
    try:
        assert unescape(query) == _go(query)
    except ApiError:
        assert _broken(query)


def _go(text: bytes) -> str:
    return unquote_to_bytes(text.replace(b"+", b" ")).decode("utf-8", "surrogateescape")


def _broken(text: bytes) -> bool:
    pieces = text.split(b"%")[1:]
    return any(len(piece) < 2 or not set(piece[:2]) <= set(b"0123456789abcdefABCDEF") for piece in pieces)


def paths(raw: bytes) -> None:
    """A path finds the route that its cleaned form finds; what it names is decoded once; no answer is unforeseen."""
    choice, path = split_choice(raw)
    path = b"/" + bytes(each for each in path if 0x20 < each < 0x7F and each not in b"?#")
    method = METHODS[choice % len(METHODS)]
    assert _found(method, path) == _found(method, clean(path))
    assert clean(clean(path)) == clean(path)
    line = b"%b %b HTTP/1.1" % (method, path)
    if (plain := plain_line(line)) is not None:
        assert request_line(line) is not None
        assert is_plain(plain.group(2))
    _invoke_address(path)
    _ask(method, path)


def _found(method: bytes, path: bytes) -> tuple[Candidate, Sequence[str]] | None:
    call = HttpCall(None, method, path, b"", (), b"", None)  # type: ignore[arg-type]
    try:
        return _TABLE.find(call), call.params
    except ApiError:
        return None


def _invoke_address(path: bytes) -> None:
    try:
        target = find_target(path, None, None)
        if target is None:
            return
        written = request_path(target)
        split_app(target.app, "default")
    except (ApiError, InvalidTarget):
        return
    assert not {b"..", b"."} & set(written.split(b"?")[0].split(b"/"))
    assert not set(written) & set(b" \r\n\0#")


def _ask(method: bytes, path: bytes) -> None:
    node = LoneNode()
    wire, link = node.http1()
    request = b"%b %b HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n[]" % (method, path)
    listing = b"GET /v1.0/metadata HTTP/1.1\r\nHost: h\r\n\r\n"
    carry(wire, link, [request, request, listing])
    assert len(read_answers(bytes(link.sent), ended=link.shut_down)) == 3 or link.shut_down


EVENTS: tuple[dict[str, object], ...] = (
    {"type": "a", "data": {"n": 1.0, "items": [1.0, "x", None]}, "id": "1", "subject": ""},
    {"type": 1.0, "data": "text" * 200},
    {},
)


def rules(raw: bytes) -> None:
    """A rule is refused with BadMatch when it is written, or gives a truth value or MatchFailed for any event."""
    text = raw.decode("utf-8", "replace")
    with contextlib.suppress(TooCostly):
        cost_of(text)
    try:
        match = Match(text)
    except BadMatch:
        return
    assert match.cost.weight >= len(text)
    for event in EVENTS:
        seen = (
            event if match.cost.attributes is None else {k: v for k, v in event.items() if k in match.cost.attributes}
        )
        outcomes = [_outcome(match, each) for each in (event, seen)]
        assert outcomes[0] == outcomes[1], "a rule looks at what its cost does not name"


def _outcome(match: Match, event: dict[str, object]) -> object:
    try:
        return match(event)
    except MatchFailed:
        return "failed"


def resources(raw: bytes) -> None:
    """A resource file gives records or problems, each with a line that is there; nothing is raised."""
    with tempfile.NamedTemporaryFile(suffix=".yaml") as file:
        file.write(raw)
        file.flush()
        checked = check.check([Path(file.name)], {"A": "b"})
        check.run([Path(file.name)], out := io.StringIO(), as_json=True)
    json.loads(out.getvalue())
    assert len(raw) < MAX_FILE_BYTES
    for problem in (*checked.problems, *checked.warnings):
        assert (
            0
            <= problem.line
            <= raw.count(b"\n") + raw.count(b"\r") + raw.count(b"\xc2\x85") + raw.count(b"\xe2\x80") + 2
        )
        assert str(problem)


PATH_WORDS = (
    b"/v1.0/state/s/", b"/v1.0/invoke/b/method/", b"/v1.0/publish/p/", b"/v1.0/metadata/", b"/bulk", b"//",
    b"/..", b"/./", b"%2F", b"%2e%2e", b"%", b"%ff", b"+", b"%00", b"||", b"%7C%7C", b"/v1.0-alpha1/",
    b"healthz/outbound",
)  # fmt: skip
RULE_SEEDS = (
    b'event.type == "a"', b"has(event.data.n) && event.data.n > 0", b'event.data.items.exists(i, i == "x")',
    b'event.subject.matches("^a{1,3}$")',
    b"event.data['n'] in [1.0, 2.0]", b'event.type.startsWith("a") || !has(event.id)',
    b"size(event.data.items) > 1 ? true : false", b"event.all(k, k != '')",
    b'event["type"] == "a"',
    b"// c\nevent.id == '1'",
    b"(event).type == 'a'",
    b"{'event': 1}.event == 1", b"[event][0].id == '1'", b'r"\\d" == "x" + event.id',
)  # fmt: skip
YAML = (b"a: &a [1, *a]\nb: *a\n", b"- " * 200, b"{" * 100, b"\xff\xfe")

TARGETS = (
    Target(
        "query_strings",
        queries,
        (b"a=b&metadata.x=%20y&c", b"metadata.a=1&metadata.a=2", b"%zz=1&+=%2b&=&&"),
        (b"%", b"&", b"=", b"metadata.", b"+", b"%ff"),
        1024,
    ),
    Target(
        "paths",
        paths,
        tuple(
            bytes((at,)) + start + last
            for at in range(len(METHODS))
            for start in (*PATH_WORDS[:4], b"/v1.0/publish/bulk/p/", b"/x")
            for last in (b"k", b"%ff", b"a/../b", b"bulk")
        ),
        PATH_WORDS,
        512,
    ),
    Target(
        "cel_rules",
        rules,
        RULE_SEEDS,
        (
            b"event",
            b".exists(x, ",
            b".matches('",
            b"has(",
            b"[",
            b"'''",
            b"\\",
            b"event.type",
            b" in ",
            b"//",
            b"{1,9}",
            b"?",
            b"`",
        ),
        1200,
    ),
    Target(
        "yaml_resources",
        resources,
        YAML,
        (
            b"---\n",
            b"&a ",
            b"*a",
            b"!!str ",
            b"{",
            b"- ",
            b": ",
            b"|\n ",
            b"'",
            b"\t",
            b"~",
            b"1Mi",
            b"true",
            b"\xe2\x80\xa8",
            b"spec:",
            b"<<: ",
        ),
    ),
)
