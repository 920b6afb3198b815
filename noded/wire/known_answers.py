"""Answer heads met before: parsed once by httptools, recognised byte for byte afterwards. No IO.

The other half of `known_heads.py`: an app answers most calls of a kind with the same head, at least within a second
(Date). What is not here, or is anything but a whole answer of known length on a connection that is kept, goes to the
parser.
"""

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from noded.calls import Header

MAX_HEADS: Final = 256
"""Per app; when it is full everything is forgotten and learnt anew."""
MAX_HEAD_BYTES: Final = 2048
HEAD_END: Final = b"\r\n\r\n"
_SPECIAL: Final = frozenset((b"transfer-encoding", b"trailer", b"upgrade"))
"""Headers that change how an answer is read."""


class KnownAnswer(Struct, gc=False):
    """What an answer's head means. One object for all such answers, so nothing but `parsed` is ever changed."""

    status: int
    headers: list[Header]
    """Names in lower case."""
    body_bytes: int
    parsed: object | None = None
    """For the receiver: what it made of this head, kept for when it comes again."""


class KnownAnswers:
    """The heads of one app's answers. A head is everything before the empty line."""

    __slots__ = ("_heads", "find")

    def __init__(self) -> None:
        self._heads: dict[bytes, KnownAnswer] = {}
        self.find = self._heads.get
        """The meaning of a head, or None."""

    def learn(self, answer: bytes, status: int, headers: Sequence[Header], body: bytes) -> None:
        """Remember the head of a whole `answer` that the parser accepted and that keeps its connection."""
        head, _, rest = answer.partition(HEAD_END)
        if len(head) > MAX_HEAD_BYTES or rest != body or any(name in _SPECIAL for name, _ in headers):
            return
        lengths = [value for name, value in headers if name == b"content-length"]
        if lengths != ([] if status == 204 and not body else [b"%d" % len(body)]):
            return
        if len(self._heads) >= MAX_HEADS:
            self._heads.clear()
        self._heads[head] = KnownAnswer(status, list(headers), len(body))
