"""What Go's net/http refuses of a request's head before anybody handles it, and in which words. No IO.

llhttp (by httptools) has parsed the head by then; what it refuses itself is answered 400 too. All of these answers end
the connection. Source: RFC 9110, RFC 9112; Go 1.26 net/http server.go, transfer.go, net/url.
"""

import re
from collections.abc import Sequence
from typing import Final

from noded.calls import Header

BAD_REQUEST: Final = b"400 Bad Request"
HEAD_TOO_LARGE: Final = b"431 Request Header Fields Too Large"
HEAD_SLACK_BYTES: Final = 4096
"""What Go reads of a head beyond its MaxHeaderBytes: one buffer."""

_NO_HOST: Final = b"400 Bad Request: missing required Host header"
_BAD_HOST: Final = b"400 Bad Request: malformed Host header"
_BAD_VERSION: Final = b"505 HTTP Version Not Supported: unsupported protocol version"
_TEXT: Final = b"Content-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n"
_UNSUPPORTED_ENCODING: Final = b"HTTP/1.1 501 Not Implemented\r\n" + _TEXT + b"Unsupported transfer encoding"
_EXPECTATION_FAILED: Final = b"HTTP/1.1 417 Expectation Failed\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"

_is_host = re.compile(rb"[0-9A-Za-z!$%&()*+,\-.:;=\[\]_~']*").fullmatch
_bad_escape = re.compile(rb"%(?![0-9A-Fa-f]{2})").search
_absolute = re.compile(rb"[A-Za-z][0-9A-Za-z+.-]*://([^/?#]*)([^#]*)").fullmatch


def refused(status: bytes) -> bytes:
    """Write the answer to what is no request; its body ends with the connection."""
    return b"HTTP/1.1 %b\r\n%b%b" % (status, _TEXT, status)


def unparsed(reason: str) -> bytes:
    """Write the answer to what llhttp did not parse, for the reason it gives."""
    if "invalid `Transfer-Encoding`" in reason:
        return _UNSUPPORTED_ENCODING
    return refused(_BAD_VERSION if "version" in reason else BAD_REQUEST)


def refusal(version: str, target: bytes, headers: Sequence[Header]) -> bytes | None:
    """Give the answer to a head that HTTP does not allow; None: it may be handled."""
    if version not in {"1.1", "1.0"}:
        return refused(BAD_REQUEST if version.startswith("0") else _BAD_VERSION)
    if b"%" in target and has_bad_escape(target):
        return refused(BAD_REQUEST)
    hosts = [value for name, value in headers if name == b"host"]
    if len(hosts) != 1:
        if hosts or version == "1.1":
            return refused(BAD_REQUEST if hosts else _NO_HOST)
    elif _is_host(hosts[0]) is None:
        return refused(_BAD_HOST)
    for name, value in headers:
        if name == b"transfer-encoding" and version == "1.1" and value.lower() != b"chunked":
            return _UNSUPPORTED_ENCODING
        if name == b"expect" and value.lower() not in {b"100-continue", b""}:
            return _EXPECTATION_FAILED
    return None


def has_bad_escape(target: bytes) -> bool:
    """Whether the path of a target holds a `%` that begins no escape; the query is not looked at."""
    return _bad_escape(target.partition(b"?")[0]) is not None


def origin_form(target: bytes, headers: list[Header]) -> bytes:
    """Give the path and query of a target; of an absolute one (RFC 9112 3.2.2), whose host replaces the header's."""
    found = _absolute(target)
    if found is None:
        return target
    authority, rest = found.groups()
    headers[:] = [(b"host", authority), *(each for each in headers if each[0] != b"host")]
    return rest if rest[:1] == b"/" else b"/" + rest
