"""Whether an accepted connection may stay: for the node's descriptors, for what its app has waiting, for who it is."""

import asyncio

from noded.app import App
from noded.descriptors import Descriptors
from tenancy.admission import COUNTED_RETRY_SECONDS, Refusal
from tenancy.fairness import OVERRUN_BYTES
from tenancy.identity import Unidentified, allowed, peer_of


def welcome(app: App, transport: asyncio.BaseTransport, descriptors: Descriptors) -> bool:
    """Ask the kernel; a refusal for want of descriptors or memory is counted and in the event log."""
    sock, tenant = transport.get_extra_info("socket"), app.tenant
    refusal = descriptors.refusal(sock.fileno(), tenant.gate.app.used["connections"]) or _overrun(app)
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


def _overrun(app: App) -> Refusal | None:
    """Why an app with so much unread that it never catches up may not connect; None: it has not."""
    if not app.turn.overrun:
        return None
    waiting = app.turn.unparsed_bytes
    return Refusal("memory", "app", app.tenant.id, OVERRUN_BYTES, waiting, COUNTED_RETRY_SECONDS)
