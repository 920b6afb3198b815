"""Whom an invocation calls, and which method: three forms of address, one set of rules for paths.

    dapr-app-id: app[.namespace]                     the path is the method
    Authorization: Basic base64(dapr-app-id:app)     the path is the method
    /v1.0/invoke/app[.namespace]/method/METHOD

The path is decoded once, wholly, before anything is read from it, and encoded again for the app, so that no spelling of
`..` or of a separator means one thing here and another there. Source: daprd 1.18 pkg/api/http/directmessaging.go,
pkg/messaging/method/normalize.go, pkg/messaging/direct_messaging.go.
"""

import binascii
import re
from base64 import b64decode
from typing import NamedTuple
from urllib.parse import quote_from_bytes, unquote_to_bytes

from noded.errors import BAD_ESCAPE

_PLAIN = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~/$&,:;=@!*'()"
"""What a path may hold that needs no decoding; whether it needs cleaning is asked apart."""
PLAIN_PREFIX = b"/v1.0/invoke/"
"""Begins every path that names an app and is written as it is meant."""
_PREFIX = re.compile(rb"/*v1\.0/+invoke/+")
METHOD = b"/method/"
"""Stands between an app and its method."""
_SEGMENT = rb"[A-Za-z0-9\-_~$&,:;=@!*'()][A-Za-z0-9\-_.~$&,:;=@!*'()]*"
is_plain_method = re.compile(rb"%b(?:/%b)*" % (_SEGMENT, _SEGMENT)).fullmatch
"""Match a method that is sent as it came: nothing to decode, no empty segment, none that begins with a dot."""
_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_CONTROL = re.compile(rb"[\x01-\x1f\x7f]")
_FORBIDDEN = re.compile(rb"[#?\0]")
_LITERAL = "/$&+,:;=@!*'()[]"
"""What stays unescaped in a path beside letters, digits and `-_.~` (Go's net/url)."""


class InvalidTarget(ValueError):
    """An app id or method that daprd refuses; the text is daprd's."""


class Target(NamedTuple):
    """An address as the caller gave it."""

    app: str
    """`app` or `app.namespace`."""
    method: bytes
    """Decoded; not yet checked or cleaned where `clean` is False."""
    clean: bool = False


def find_target(path: bytes, app_id: bytes | None, authorization: bytes | None) -> Target | None:
    """Find the target in the escaped `path`, the dapr-app-id header or Basic authorization; None: nobody is named.

    Raises ApiError for a broken %-escape.
    """
    named = app_id or _basic(authorization)
    if named:
        return Target(named.decode("utf-8", "replace"), _decode(path))
    return _find_plain(path) or _find_in_path(_decode(path))


def split_app(app: str, namespace: str) -> tuple[str, str]:
    """Split `app` or `app.namespace` into (namespace, app id); without one it is the caller's `namespace`.

    Raises InvalidTarget for more than one dot.
    """
    app_id, dot, named = app.partition(".")
    if not dot:
        return namespace, app_id
    if "." in named:
        raise InvalidTarget(f"invalid app id {app}")
    return named, app_id


def request_path(target: Target) -> bytes:
    """The escaped path to send to the app: checked, `..` resolved, never above the root.

    Raises InvalidTarget for control characters, `#`, `?` and NUL.
    """
    if target.clean:
        return b"/" + target.method
    method = target.method
    if _FORBIDDEN.search(method):
        raise _refused(f"method contains forbidden character: {_quoted(method)}")
    control = _CONTROL.search(method)
    if control is not None:
        raise _refused(f"method contains control character at position {control.start()}: {_quoted(method)}")
    return quote_from_bytes(_clean(method), safe=_LITERAL).encode()


def _refused(problem: str) -> InvalidTarget:
    return InvalidTarget(f"rpc error: code = InvalidArgument desc = invalid method: {problem}")


def _quoted(method: bytes) -> str:
    """In Go's %q notation, as far as paths need it."""
    text = method.decode("utf-8", "replace").replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else _go_escape(c) for c in text) + '"'


def _go_escape(c: str) -> str:
    short = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\a": "\\a", "\b": "\\b", "\f": "\\f", "\v": "\\v"}
    return short.get(c) or (f"\\x{ord(c):02x}" if ord(c) < 0x80 else f"\\u{ord(c):04x}")


def _decode(path: bytes) -> bytes:
    if b"%" not in path:
        return path
    broken = _BAD_ESCAPE.search(path)
    if broken is not None:
        raise BAD_ESCAPE.error(text=path[broken.start() : broken.start() + 3].decode("latin-1"))
    return unquote_to_bytes(path)


def _clean(path: bytes) -> bytes:
    """An absolute path without empty, `.` and `..` segments, and without a slash at its end (Go's path.Clean)."""
    kept: list[bytes] = []
    for segment in path.split(b"/"):
        if segment == b"..":
            del kept[-1:]
        elif segment not in (b"", b"."):
            kept.append(segment)
    return b"/" + b"/".join(kept)


def _basic(authorization: bytes | None) -> bytes | None:
    """The app named in `Basic base64(dapr-app-id:app)`."""
    if authorization is None or not authorization.startswith(b"Basic "):
        return None
    try:
        user, *rest = b64decode(authorization[6:], validate=True).split(b":")
    except binascii.Error:
        return None
    return rest[0] if len(rest) == 1 and user.lower() == b"dapr-app-id" else None


def _find_plain(path: bytes) -> Target | None:
    """The target of a path that is written as it is meant, as nearly all are."""
    start = len(PLAIN_PREFIX)
    at = path.find(METHOD, start)
    if at <= start or not path.startswith(PLAIN_PREFIX) or path.translate(None, _PLAIN):
        return None
    if b"//" in path or path.find(b"/.", at) >= 0 or path[-1:] == b"/":
        return None
    return Target(path[start:at].decode(), path[at + len(METHOD) :], clean=True)


def _find_in_path(path: bytes) -> Target | None:
    prefix = _PREFIX.match(path)
    if prefix is None:
        return None
    rest = path[prefix.end() :]
    at = rest.find(METHOD)
    if at <= 0:
        return None
    app = unquote_to_bytes(rest[:at].replace(b"+", b" ")).decode("utf-8", "replace")
    return Target(app, rest[at + len(METHOD) :])
