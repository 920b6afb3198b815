"""Header sections met before: parsed once by httptools, recognised byte for byte afterwards. No IO.

A client sends the same headers with every request of a kind, so most requests need only their request line read. What
is not here, or is anything but a plain request of known length, goes to the parser. The same idea serves HTTP/2, whose
header blocks are cached by their bytes. Measured: 2 of 8 us of a small GET.
"""

import re
from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from noded.calls import Header

MAX_SECTIONS: Final = 256
"""Per app; when it is full everything is forgotten and learnt anew."""
MAX_SECTION_BYTES: Final = 2048
_SPECIAL: Final = frozenset((b"transfer-encoding", b"connection", b"expect", b"upgrade", b"traceparent"))
"""Headers that change how a request is read, or that change with every request and are not worth keeping."""

request_line = re.compile(rb"(GET|POST|PUT|DELETE|PATCH|OPTIONS) (/[!-~]*) HTTP/1\.1").fullmatch
"""Match a plain request line: origin-form, printable ASCII. Source: RFC 9112 3."""


plain_line = re.compile(rb"([A-Z]+ /[!->@-~]*/)([0-9A-Za-z_:=@~-][0-9A-Za-z_:=@~.-]*) HTTP/1\.1").fullmatch
"""Match a request line without a query whose last segment is as it reads: all up to it, and it."""


_PLAIN: Final = b"-etaoinsrhldcumfpgwybvkxjqz0123456789_.:=@~ETAOINSRHLDCUMFPGWYBVKXJQZ"
"""What a plain segment is made of."""


def is_plain(segment: bytes) -> bool:
    """Whether a last segment is as it reads, as in `plain_line`: no escape, no query, not `.` or `..`."""
    return segment.isalnum() or (segment != b"" and segment[0] != 46 and not segment.strip(_PLAIN))


class KnownHead(Struct, gc=False):
    """What a header section means. One object for all its requests, so nothing but `parsed` is ever changed."""

    headers: tuple[Header, ...]
    """Names in lower case."""
    body_bytes: int
    parsed: object | None = None
    """For the receiver: what it made of these headers, kept for when they come again."""


class KnownHeads:
    """The sections of one app's clients. A section is everything between the request line and the empty line."""

    __slots__ = ("_sections", "find")

    def __init__(self) -> None:
        self._sections: dict[bytes, KnownHead] = {}
        self.find = self._sections.get
        """The meaning of a section, or None."""

    def learn(self, section: bytes, headers: Sequence[Header], body_bytes: int) -> None:
        """Remember a section that the parser accepted, unless it is special."""
        if len(section) > MAX_SECTION_BYTES or any(name in _SPECIAL for name, _ in headers):
            return
        lengths = [value for name, value in headers if name == b"content-length"]
        if lengths != ([b"%d" % body_bytes] if lengths else []) or (body_bytes and not lengths):
            return
        if len(self._sections) >= MAX_SECTIONS:
            self._sections.clear()
        self._sections[section] = KnownHead(tuple(headers), body_bytes)
