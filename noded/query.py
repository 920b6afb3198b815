"""Query strings and escaped path segments, by the rules of Go's net/url as daprd applies them."""

from urllib.parse import unquote_to_bytes

from noded.errors import BAD_ESCAPE


def unescape(text: bytes) -> str:
    """Decode %XX and `+` (a space).

    Raises ApiError for a broken escape.
    """
    if b"+" in text:
        text = text.replace(b"+", b" ")
    if b"%" not in text:
        return text.decode("utf-8", "surrogateescape")
    at = text.find(b"%")
    while at >= 0:
        pair = text[at + 1 : at + 3]
        if len(pair) < 2 or not _is_hex(pair):
            raise BAD_ESCAPE.error(text=text[at : at + 3].decode("latin-1"))
        at = text.find(b"%", at + 3)
    return unquote_to_bytes(text).decode("utf-8", "surrogateescape")


def pairs(query: bytes) -> list[tuple[str, str]]:
    """The query's names and values, in order. A pair with a broken escape is left out, as Go does."""
    found = []
    for piece in query.split(b"&") if query else ():
        name, _, value = piece.partition(b"=")
        if piece and (decoded := _decoded(name, value)) is not None:
            found.append(decoded)
    return found


def metadata_of(query: bytes) -> dict[str, str]:
    """The `metadata.<name>=<value>` pairs; the first value of a name counts."""
    found: dict[str, str] = {}
    for name, value in pairs(query):
        if name.startswith("metadata."):
            found.setdefault(name[9:], value)
    return found


def _is_hex(pair: bytes) -> bool:
    return all(c in b"0123456789abcdefABCDEF" for c in pair)


def _decoded(name: bytes, value: bytes) -> tuple[str, str] | None:
    for text in (name, value):
        at = text.find(b"%")
        while at >= 0:
            if not _is_hex(text[at + 1 : at + 3]) or len(text) < at + 3:
                return None
            at = text.find(b"%", at + 3)
    return unescape(name), unescape(value)
