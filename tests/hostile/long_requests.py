"""Attacks by requests that are long: in their heads, in what they hold, or in how much there is of it."""

from noded.wire.hpack import encode_integer
from noded.wire.huffman import encode
from tests.hostile.records import LEFT_BYTES, Attack, Behaviour
from tests.hostile.scene import END_HEADERS, END_STREAM, HEADERS, PREFACE, block, frame, settings

_STREAMS = 100
_GET = block(b"/v1.0/healthz")
_ENTRY = b'{"entryId":"%d","event":{"a":%d},"contentType":"application/json"}'


def _heads(title: str, *fields: bytes) -> Attack:
    """Requests whose heads have further fields, with values in Huffman's code that are not to be indexed."""
    head = _GET
    for text in fields:
        coded = encode(text)
        head += b"\0\x01a" + encode_integer(len(coded), 0x7F, 0x80) + coded
    says = (frame(HEADERS, END_STREAM | END_HEADERS, 2 * number + 1, head) for number in range(_STREAMS))
    opening = PREFACE + settings()
    return Attack(title, (Behaviour(opening + b"".join(says), hangs_up=True, both_sockets=True),), LEFT_BYTES)


def _posts(title: str, path: bytes, body: bytes, times: int = 1, *, in_one_go: bool = False) -> Attack:
    says = b"POST /v1.0/%b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (path, len(body), body)
    return Attack(title, (Behaviour(says * times, hangs_up=True),), LEFT_BYTES, in_one_go)


def _listed(item: bytes, count: int) -> bytes:
    """A JSON array of so many items, each with its number in two places."""
    return b"[%b]" % b",".join(item % (number, number) for number in range(count))


def _items(count: int) -> bytes:
    return _listed(b'{"key":"k%d","value":%d}', count)


def _json(items: int) -> bytes:
    """Of some 30 bytes an item."""
    return _listed(b'{"a":%d,"b":[%d,"\\u00e9"]}', items)


def _value(items: int) -> bytes:
    return b'[{"key":"k","value":%b}]' % _json(items)


def _operations(count: int) -> bytes:
    return b'{"operations":%b}' % _listed(b'{"operation":"upsert","request":{"key":"k%d","value":%d}}', count)


_LINES = b"A:%d\r\n" * 900 % tuple(range(900))
_MANY_LINES = b"GET /v1.0/healthz HTTP/1.1\r\nHost: x\r\n%b\r\n" % _LINES * 500
_TRANSACTION = b"state/memory/transaction"

LONG_REQUESTS = {
    "long_heads": _heads("long heads, HPACK", b"0123456789abcdef" * 500),
    "rare_heads": _heads("long heads of rare symbols", bytes(range(0x80, 0x100)) * 16),
    "mixed_heads": _heads("long heads of some rare symbols", b"0123456789abcde\\" * 500),
    "many_fields": _heads("heads of many fields", *[b"0123456789abcdef"] * 240),
    "many_lines": Attack("heads of many lines", (Behaviour(_MANY_LINES, hangs_up=True),), LEFT_BYTES),
    "batches": _posts("saves of 1,000 items", b"state/memory", _items(1000), 5),
    "long_batches": _posts("saves of 20,000 items", b"state/memory", _items(20_000)),
    "bulk_keys": _posts(
        "bulk gets of 100,000 keys", b"state/memory/bulk", b'{"keys":%b}' % _listed(b'"k%d.%d"', 100_000)
    ),
    "bulk_events": _posts("bulk publishes of 20,000", b"publish/bulk/pubsub/t", _listed(_ENTRY, 20_000)),
    "values": _posts("saves of values of 64 KiB", b"state/memory", _value(2000), 50),
    "large_values": _posts("saves of values of 3 MiB", b"state/memory", _value(100_000), in_one_go=True),
    "large_events": _posts("events of 3 MiB", b"publish/pubsub/t", _json(100_000), in_one_go=True),
    "operations": _posts("transactions of 50", _TRANSACTION, _operations(50), 50),
    "many_operations": _posts("transactions of 1,000", _TRANSACTION, _operations(1000), 10, in_one_go=True),
    "most_operations": _posts("transactions of 20,000", _TRANSACTION, _operations(20_000), in_one_go=True),
}
"""By the name that selects it."""
