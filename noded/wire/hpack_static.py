"""The static table of HPACK. Source: RFC 7541, appendix A."""

from typing import Final

from noded.wire.fields import Field, field_of

_STATIC_TEXT: Final = b"""
:authority
:method GET
:method POST
:path /
:path /index.html
:scheme http
:scheme https
:status 200
:status 204
:status 206
:status 304
:status 400
:status 404
:status 500
accept-charset
accept-encoding gzip, deflate
accept-language
accept-ranges
accept
access-control-allow-origin
age
allow
authorization
cache-control
content-disposition
content-encoding
content-language
content-length
content-location
content-range
content-type
cookie
date
etag
expect
expires
from
host
if-match
if-modified-since
if-none-match
if-range
if-unmodified-since
last-modified
link
location
max-forwards
proxy-authenticate
proxy-authorization
range
referer
refresh
retry-after
server
set-cookie
strict-transport-security
transfer-encoding
user-agent
vary
via
www-authenticate
"""


def _static_table() -> tuple[Field, ...]:
    """Give the fields of RFC 7541, appendix A, at their indices; index 0 is never looked up."""
    fields = [line.partition(b" ") for line in _STATIC_TEXT.split(b"\n")[:-1]]
    return tuple(field_of(name, value) for name, _, value in fields)


STATIC: Final = _static_table()
FIRST_DYNAMIC: Final = len(STATIC)
"""Index of the newest entry of a dynamic table."""
LAST_STATIC: Final = FIRST_DYNAMIC - 1
