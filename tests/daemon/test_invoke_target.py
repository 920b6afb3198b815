"""Whom an invocation names, in every spelling, and the path that the app is sent."""

import base64
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noded.api.invoke_target import InvalidTarget, find_target, request_path, split_app
from noded.errors import ApiError


def basic(credentials: bytes) -> bytes:
    return b"Basic " + base64.b64encode(credentials)


def found(path: bytes, app_id: bytes | None = None, authorization: bytes | None = None) -> tuple[str, bytes] | None:
    target = find_target(path, app_id, authorization)
    return None if target is None else (target.app, request_path(target))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (b"/v1.0/invoke/a/method/b", ("a", b"/b")),
        (b"/v1.0/invoke/a/method/", ("a", b"/")),
        (b"/v1.0/invoke/a/method/b/c.d/", ("a", b"/b/c.d")),
        (b"/v1.0/invoke/a.ns/method/b", ("a.ns", b"/b")),
        (b"/v1.0/invoke/a/method/b/method/c", ("a", b"/b/method/c")),
        (b"///v1.0//invoke///a/method/b", ("a", b"/b")),
        (b"/v1.0/invoke/%61/method/b", ("a", b"/b")),
        (b"/v1.0/invoke/a%2Fmethod%2Fb", ("a", b"/b")),
        (b"/v1.0/invoke/a+b/method/c+d", ("a b", b"/c+d")),
        (b"/v1.0/invoke/a/method/b%20c", ("a", b"/b%20c")),
        (b"/v1.0/invoke/a/method/%C3%A4", ("a", b"/%C3%A4")),
        (b"/v1.0/invoke/a/method/100%25", ("a", b"/100%25")),
        (b"/v1.0/invoke/a/method/b%2Fc%2f..%2fd", ("a", b"/b/d")),
        (b"/v1.0/invoke/a/method/%2e%2e/%2e%2e/b", ("a", b"/b")),
        (b"/v1.0/invoke/a/method/.well-known/x", ("a", b"/.well-known/x")),
        (b"/v1.0/invoke/http%3A%2F%2Fh/method/x", ("http://h", b"/x")),
        (b"/v1.0/invoke/a", None),
        (b"/v1.0/invoke/a/method", None),
        (b"/v1.0/invoke/method/b", None),
        (b"/v1.0/invoke//method/b", None),
        (b"/v1.0-alpha1/invoke/a/method/b", None),
        (b"/v1.0/invoked/a/method/b", None),
        (b"/", None),
        (b"", None),
    ],
)
def test_the_path_names_app_and_method(path: bytes, expected: tuple[str, bytes] | None) -> None:
    """/v1.0/invoke/app/method/METHOD: decoded once as a whole, cleaned, and escaped again."""
    assert found(path) == expected


@pytest.mark.parametrize(
    ("authorization", "app"),
    [
        (basic(b"dapr-app-id:a"), "a"),
        (basic(b"Dapr-App-Id:a.ns"), "a.ns"),
        (basic(b"dapr-app-id:"), None),
        (basic(b"dapr-app-id"), None),
        (basic(b"dapr-app-id:a:b"), None),
        (basic(b"user:a"), None),
        (b"Basic !!!", None),
        (b"Basic ", None),
        (b"Bearer " + base64.b64encode(b"dapr-app-id:a"), None),
    ],
)
def test_basic_authorization_names_the_app(authorization: bytes, app: str | None) -> None:
    """Basic authorization counts when its user is dapr-app-id; anything else is not for us."""
    assert found(b"/x", None, authorization) == (app and (app, b"/x"))


def test_the_header_comes_first() -> None:
    """dapr-app-id beats Basic authorization, and both beat the path."""
    path = b"/v1.0/invoke/c/method/x"

    assert found(path, b"a", basic(b"dapr-app-id:b")) == ("a", path)
    assert found(path, None, basic(b"dapr-app-id:b")) == ("b", path)
    assert found(path, b"", None) == ("c", b"/x")


@pytest.mark.parametrize("path", [b"/%", b"/%2", b"/%zz", b"/v1.0/invoke/a/method/%g0"])
def test_a_broken_escape_is_an_error(path: bytes) -> None:
    """A path that cannot be decoded is 400, whoever is named."""
    with pytest.raises(ApiError) as refused:
        find_target(path, b"a", None)

    assert refused.value.http == 400


@pytest.mark.parametrize(
    ("method", "quoted"),
    [(b"a%23", '"a#"'), (b"%3F", '"?"'), (b"%00%22%5C", '"\\x00\\"\\\\"'), (b"%1b", '"\\x1b"'), (b"%7f", '"\\x7f"')],
)
def test_a_method_that_no_path_can_hold_is_refused(method: bytes, quoted: str) -> None:
    """`#`, `?`, NUL and control characters are refused once decoded; the text quotes them as Go does."""
    target = find_target(b"/" + method, b"a", None)
    assert target is not None

    with pytest.raises(InvalidTarget) as refused:
        request_path(target)
    assert str(refused.value).endswith(quoted.replace('"', '"/', 1))


def test_an_app_id_may_name_its_namespace() -> None:
    """`app` is of the caller's namespace, `app.namespace` of that one; more dots are an error."""
    assert split_app("a", "mine") == ("mine", "a")
    assert split_app("a.theirs", "mine") == ("theirs", "a")
    with pytest.raises(InvalidTarget, match=r"invalid app id a\.b\.c"):
        split_app("a.b.c", "mine")


segments = st.sampled_from(
    [b"..", b".", b"", b"a", b"%2e%2e", b"%2E", b"%2f", b"..%2f", b"%252e%252e", b"v1.0", b"%C3"]
)


@given(st.lists(segments, max_size=12).map(b"/".join), st.booleans())
def test_no_spelling_climbs_out(method: bytes, by_header: bool) -> None:  # noqa: FBT001
    """However `..` and separators are spelt, the app is sent an absolute path without any of them in it."""
    if by_header:
        target = find_target(b"/" + method, b"a", None)
    else:
        target = find_target(b"/v1.0/invoke/a/method/" + method, None, None)
    assert target is not None
    path = request_path(target)

    assert path.startswith(b"/")
    inner = unquote_to_bytes(path).split(b"/")[1:]
    assert not {b"..", b"."} & set(inner)
    assert b"" not in inner or path == b"/"
