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


class PeerCall:
    """One call from an app to another, from its beginning."""

    __slots__ = ("_peer", "_sent", "_since", "_usage")

    def __init__(self, caller: App, peer: Peer, sent: int) -> None:
        """Begin it; `sent`: bytes of its body, as far as they are known."""
        self._usage = usage = caller.tenant.usage
        self._peer = peer
        self._sent = sent
        self._since = usage.time.now
        peer.begun += 1

    def answered_http(self, verb: bytes, status: int, received: int) -> None:
        """Count what it came to, of a call to an HTTP app. The clock is read."""
        self._peer.answered_http(self._usage, verb, status, received, self._sent, self._since)

    def answered_grpc(self, path: bytes, code: int, received: int) -> None:
        """Count what it came to, of a call to a gRPC app. The clock is read."""
        usage = self._usage
        cell = self._peer.calls.cell(CallUse(path, code))
        cell.add(received, self._sent, (usage.time.tick() - self._since) * 1000, usage.bounds_ms)
