"""Calls between apps, counted once for both."""

from noded.app import App
from tenancy.accounting import CallUse, Peer, peer_of


def peer_between(caller: App, callee: App) -> Peer:
    """The record of calls from one app to another, or to itself."""
    return peer_of(
        caller.tenant.usage,
        (callee.namespace, callee.app_id),
        callee.tenant.usage,
        (caller.namespace, caller.app_id),
    )


def answered(peer: Peer, caller: App, use: CallUse, sizes: tuple[int, int], since: float) -> None:
    """Count an answered call, (bytes sent, bytes received), that began then and ends now."""
    usage = caller.tenant.usage
    sent, received = sizes
    peer.calls.cell(use).add(received, sent, (usage.time.now - since) * 1000, usage.bounds_ms)
