"""Which operation a path means: every row of the route table, cleaned and decoded as daprd does."""

from typing import cast

import pytest

from noded.calls import Exchange, HttpCall
from noded.errors import ApiError
from noded.route_table import HttpRoute
from noded.routes import HTTP_ROUTES, INVOKE, http_table
from tests.wire.recording_link import make_app

TABLE = http_table()
ROWS = [(route, method, version) for route in HTTP_ROUTES for method in route.methods for version in route.versions]
VALUES = {"{store}": "st", "{key}": "k", "{pubsub}": "ps", "{topic...}": "to/pic"}


def found(method: str, path: str) -> tuple[HttpRoute, list[str]]:
    call = HttpCall(make_app(), method.encode(), path.encode(), b"", [], b"", cast("Exchange", None))
    candidate = TABLE.find(call)
    return candidate.route, list(call.params)


def name(row: object) -> str:
    return row.pattern if isinstance(row, HttpRoute) else str(row)


@pytest.mark.parametrize(("route", "method", "version"), ROWS, ids=name)
def test_every_row_is_found_by_its_method_version_and_path(route: HttpRoute, method: str, version: str) -> None:
    """A path made from the pattern finds the row, and its fields are what stands in their place."""
    words = route.pattern.split("/")
    path = "/".join(VALUES.get(word, word) for word in words)
    fields = [VALUES[word] for word in words if word in VALUES]
    assert found(method, f"/{version}/{path}") == (route, fields)
    assert found(method, f"/{version}/{path}/") == (route, fields), "one trailing slash is tolerated"
    assert found(method, f"//{version}///./{path}") == (route, fields), "slashes and dots collapse"
    assert found(method, f"/x/../{version}/{path}") == (route, fields)


@pytest.mark.parametrize(("route", "method", "version"), ROWS, ids=name)
def test_another_verb_or_version_falls_to_invocation(route: HttpRoute, method: str, version: str) -> None:
    """Nothing answers 405: what no row matches is tried as service invocation."""
    path = "/".join(VALUES.get(word, word) for word in route.pattern.split("/"))
    assert found("PATCH", f"/{version}/{path}")[0] is INVOKE
    assert found(method, f"/v9.9/{path}")[0] is INVOKE
    assert found(method.lower(), f"/{version}/{path}")[0] is INVOKE


@pytest.mark.parametrize(
    "path", ["/", "/v1.0", "/v1.0/", "/v1.0/state", "/v1.0/state/s/k/more", "*", "x:1", "/nothing", "//"]
)
def test_a_path_of_no_row_falls_to_invocation(path: str) -> None:
    """Too short, too long or unknown: invocation sees to it."""
    assert found("GET", path)[0] is INVOKE


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/v1.0/state/s/a%2Fb", ["s", "a/b"]),
        ("/v1.0/state/s/a+b", ["s", "a b"]),
        ("/v1.0/state/s/a%2Bb%20c", ["s", "a+b c"]),
        ("/v1.0/state/s/%C3%A9", ["s", "é"]),
        ("/v1.0/state/s/%2e%2e", ["s", ".."]),
        ("/v1.0/state/%73/k", ["s", "k"]),
        ("/v1.0/state/s/a/../b", ["s", "b"]),
    ],
)
def test_fields_are_decoded_by_query_rules_within_their_segment(path: str, fields: list[str]) -> None:
    """`+` is a space, %2F stays in its segment, escaped dots are no dots; plain dots collapse even in keys."""
    route, params = found("GET", path)
    assert (route.operation, params) == ("GetState", fields)


@pytest.mark.parametrize(
    ("path", "topic"), [("a/b/c", "a/b/c"), ("a%2Fb", "a/b"), ("a//b/", "a/b"), ("x+y", "x y")], ids=str
)
def test_a_topic_may_have_slashes(path: str, topic: str) -> None:
    """The last field of publish takes all the rest."""
    assert found("POST", f"/v1.0/publish/ps/{path}")[1] == ["ps", topic]


@pytest.mark.parametrize("bad", ["%", "%2", "%zz", "%C", "a%"])
def test_a_broken_escape_is_an_error(bad: str) -> None:
    """It is refused before any handler runs, as daprd does."""
    with pytest.raises(ApiError):
        found("GET", f"/v1.0/state/s/{bad}")


def test_a_broken_escape_of_no_row_is_invocations_affair() -> None:
    """Only the fields of a row are decoded."""
    assert found("GET", "/v1.0/other/%zz")[0] is INVOKE


def test_bulk_and_transaction_are_not_keys() -> None:
    """A literal beats a field where both could match by their verb."""
    assert found("POST", "/v1.0/state/s/bulk")[0].operation == "GetBulkState"
    assert found("GET", "/v1.0/state/s/bulk")[0].operation == "GetState"
    assert found("DELETE", "/v1.0/state/s/transaction")[0].operation == "DeleteState"
