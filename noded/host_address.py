"""What this host is to others, as daprd tells it to an app that another app calls.

Source: dapr utils/host.go; pkg/messaging/direct_messaging.go, addForwardedHeadersToMetadata; RFC 7239.
"""

import ipaddress
import socket
from collections.abc import Mapping
from contextlib import suppress

from noded.calls import Header

_NOWHERE = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))
"""Addresses kept for documentation (RFC 5737, RFC 3849): the way there is the way out, and nothing is sent."""


def forwarded_headers(environ: Mapping[str, str]) -> tuple[Header, ...]:
    """The headers that say by which host a call came. DAPR_HOST_IP goes before the address the kernel would take."""
    name = socket.gethostname()
    address = environ.get("DAPR_HOST_IP") or _own_address()
    headers, parts = [], []
    if address:
        node = _node(address)
        headers.append((b"x-forwarded-for", address.encode()))
        parts.append(f"for={node};by={node}")
    if name:
        headers.append((b"x-forwarded-host", name.encode()))
        parts.append(f"host={name}")
    if parts:
        headers.append((b"forwarded", ";".join(parts).encode()))
    return tuple(headers)


def _own_address() -> str:
    """The address this host would use to reach others; "" where it has no way out."""
    for family, target in _NOWHERE:
        with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.connect((target, 80))
            return str(sock.getsockname()[0])
    return ""


def _node(address: str) -> str:
    """An address as RFC 7239 writes it: version 6 in brackets, quoted."""
    with suppress(ValueError):
        if ipaddress.ip_address(address).version == 6:
            return f'"[{address}]"'
    return address
