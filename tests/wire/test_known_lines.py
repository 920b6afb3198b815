"""What a request line led to is remembered only where every line like it leads there."""

import pytest

from noded.calls import HttpCall
from noded.routes import http_table

TABLE = http_table()


def remembered(method: str, path: str) -> bool:
    call = HttpCall(None, method.encode(), path.encode(), b"", (), b"", None)  # type: ignore[arg-type]
    return TABLE.repeats(call, TABLE.find(call))


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1.0/state/statestore/key"),
        ("DELETE", "/v1.0/state/statestore/key"),
        ("POST", "/v1.0/state/statestore"),
        ("POST", "/v1.0/publish/pubsub/orders"),
        ("GET", "/v1.0/invoke/orders/method/list"),
        ("PUT", "/v1.0/metadata/note"),
    ],
)
def test_a_route_that_ends_in_a_field_is_remembered(method: str, path: str) -> None:
    """Whatever key, topic or method follows, the route is the same."""
    assert remembered(method, path)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1.0/state/statestore/bulk"),
        ("GET", "/v1.0/metadata"),
        ("GET", "/v1.0/healthz"),
        ("GET", "/v1.0/healthz/outbound"),
        ("GET", "/v1.0/healthz/nothing"),
        ("GET", "/v1.0/invoke"),
        ("GET", "/elsewhere/list"),
        ("POST", "/v1.0/publish/pubsub/a/b"),
    ],
)
def test_a_route_that_ends_in_a_word_is_not(method: str, path: str) -> None:
    """Another word in its place is another route, or none."""
    assert not remembered(method, path)
