"""Text of YAML scalars to values. Each parser raises ValueError with the reason; the field says what is allowed."""

import math
import re
from decimal import Decimal

from noded.runtime.match import check_match

TRUE = frozenset({"true", "yes", "on", "y"})
FALSE = frozenset({"false", "no", "off", "n"})

QUANTITY_UNITS = {
    "": 1,
    "k": 10**3,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
    "P": 10**15,
    "Ki": 1 << 10,
    "Mi": 1 << 20,
    "Gi": 1 << 30,
    "Ti": 1 << 40,
    "Pi": 1 << 50,
}
"""Kubernetes' suffixes of quantities, decimal and binary."""
DURATION_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
"""Go's units of time.ParseDuration, in seconds; it takes both micro signs."""
MAX_QUANTITY = (1 << 63) - 1
DAY_SECONDS = 86_400.0
MAX_ID = (1 << 32) - 2
"""Of users and groups; the next number means "none" to the kernel."""

_QUANTITY = re.compile(r"([0-9]{1,19}(?:\.[0-9]{1,9})?)([A-Za-z]{0,2})")
_DURATION = re.compile(r"([0-9]{0,15}(?:\.[0-9]{0,9})?)([a-zµμ]+)")
_MODE = re.compile(r"0?o?([0-7]{3})")
_INTEGER = re.compile(r"[0-9]{1,19}")
_NUMBER = re.compile(r"[0-9]{1,19}(?:\.[0-9]{1,15})?(?:[eE][-+]?[0-9]{1,2})?")


def parse_bool(text: str) -> bool:
    """Read a boolean as YAML 1.1 spells it."""
    word = text.lower()
    if word not in TRUE and word not in FALSE:
        raise ValueError("is not true or false")
    return word in TRUE


def parse_text(text: str) -> str:
    """Take text that is not empty and holds no control characters."""
    if not text.strip():
        raise ValueError("is empty")
    if not text.isprintable():
        raise ValueError("holds a control character")
    return text


def parse_match(text: str) -> str:
    """Take a routing rule's CEL expression that compiles and whose cost is bounded."""
    if not text.strip():
        raise ValueError("is empty")
    return check_match(text)


def parse_quantity(text: str) -> int:
    """Read `500`, `500k`, `10Mi`, `1.5Gi`: a whole number, a fraction of one rounded up."""
    match = _QUANTITY.fullmatch(text)
    if match is None or match[2] not in QUANTITY_UNITS:
        raise ValueError("is not a quantity")
    value = math.ceil(Decimal(match[1]) * QUANTITY_UNITS[match[2]])
    if value > MAX_QUANTITY:
        raise ValueError("is too large")
    return value


def parse_rate(text: str) -> float:
    """Read a quantity above zero, fractions kept: so many a second."""
    value = float(text) if _NUMBER.fullmatch(text) else float(parse_quantity(text))
    if value <= 0:
        raise ValueError("is not above zero: leave the field out for no limit")
    return value


def parse_share(text: str) -> float:
    """Read a number from 0 to 1."""
    if not _NUMBER.fullmatch(text):
        raise ValueError("is not a number")
    value = float(text)
    if value > 1:
        raise ValueError("is above 1")
    return value


def parse_duration(text: str) -> float:
    """Read a Go duration (`1h2m3.5s`, `500ms`, `0`) as seconds; negative ones are refused."""
    if text == "0":
        return 0.0
    seconds, end = 0.0, 0
    while end < len(text):
        match = _DURATION.match(text, end)
        if match is None or match[1] in {"", "."} or match[2] not in DURATION_UNITS:
            raise ValueError("is not a duration")
        seconds += float(match[1]) * DURATION_UNITS[match[2]]
        end = match.end()
    if not end:
        raise ValueError("is not a duration")
    return seconds


def parse_seconds(text: str) -> float:
    """Read `5` or a Go duration: some time above zero, a day at most."""
    return _brief(text, 1.0)


def parse_milliseconds(text: str) -> float:
    """Read `500`, or a Go duration, as seconds: some time above zero, a day at most."""
    return _brief(text, 1e-3)


def _brief(text: str, unit: float) -> float:
    seconds = int(text) * unit if _INTEGER.fullmatch(text) else parse_duration(text)
    if not 0 < seconds <= DAY_SECONDS:
        raise ValueError("is not above zero and at most a day")
    return seconds


def parse_path(text: str) -> str:
    """Take a path of an app, its query included; the slash it begins with may be left out."""
    if not text.isascii() or not text.isprintable() or " " in text or "#" in text:
        raise ValueError("is not a path")
    return "/" + text.removeprefix("/")


def parse_mode(text: str) -> int:
    """Read permission bits, octal: `0750`, `750`, `0o750`."""
    match = _MODE.fullmatch(text)
    if match is None:
        raise ValueError("is not a file mode")
    return int(match[1], 8)


def parse_count(text: str) -> int:
    """Read a whole number from 1."""
    value = parse_quantity(text)
    if value < 1:
        raise ValueError("is below 1")
    return value


def parse_id(text: str) -> int:
    """Read the number of a user or group."""
    if not _INTEGER.fullmatch(text) or int(text) > MAX_ID:
        raise ValueError("is not the number of a user or group")
    return int(text)


def parse_port(text: str) -> int:
    """Read a TCP port; 0 asks for a free one."""
    if not _INTEGER.fullmatch(text) or int(text) > 65535:
        raise ValueError("is not a port")
    return int(text)


def parse_address(text: str) -> str:
    """Take `host:port` or `unix:/path`."""
    if text.startswith("unix:"):
        if not text.startswith("unix:/"):
            raise ValueError("names a socket by no absolute path")
        return parse_text(text)
    host, colon, port = text.rpartition(":")
    if not colon or not is_host(host) or not _INTEGER.fullmatch(port) or not 0 < int(port) <= 65535:
        raise ValueError("is not an address")
    return parse_text(text)


def is_host(text: str) -> bool:
    """Whether a host may be called so: looking up another (an empty label, one of over 63 letters) is no OSError."""
    try:
        return bool(text.encode("idna"))
    except UnicodeError:
        return False
