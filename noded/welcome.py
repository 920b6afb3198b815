"""Whether an accepted connection may stay: the node has a descriptor to spare, and the peer is who it must be."""

import asyncio

from noded.app import App
from noded.descriptors import Descriptors
from tenancy.identity import Unidentified, allowed, peer_of


def welcome(app: App, transport: asyncio.BaseTransport, descriptors: Descriptors) -> bool:
    """Ask the kernel; a refusal for want of descriptors is counted and in the event log."""
    sock, tenant = transport.get_extra_info("socket"), app.tenant
    refusal = descriptors.refusal(sock.fileno(), tenant.gate.app.used["connections"])
    if refusal is not None:
        tenant.refused(refusal)
        return False
    identity = app.spec.identity
    if not identity.uids and not identity.gids:
        return True
    try:
        peer = peer_of(sock)
    except Unidentified:
        return False
    return allowed(peer, identity.uids, identity.gids)
