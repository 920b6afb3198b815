"""What an attack is."""

from dataclasses import dataclass

from tenancy.fairness import CROWDED_BYTES, OVERRUN_BYTES

PEERS = 5
LEFT_BYTES = OVERRUN_BYTES + CROWDED_BYTES
"""What peers that come and go may leave waiting for their tenant's turn."""


@dataclass(frozen=True)
class Behaviour:
    """What each of some peers does on its connections."""

    says: bytes
    peers: int = PEERS
    send_bytes: int = 1 << 30
    """At one go."""
    read_bytes: int = 0
    """At one go; 0: it never reads."""
    pause_seconds: float = 0.0
    """Between two goes; 0: as soon as the daemon takes or gives anything."""
    hangs_up: bool = False
    """Once all is said; else it stays."""
    bites: int = 0
    """Goes after which it hangs up and comes again; 0: never."""
    both_sockets: bool = False
    """So many peers on the gRPC socket too."""


@dataclass(frozen=True)
class Attack:
    """One row of the proof."""

    title: str
    behaviours: tuple[Behaviour, ...]
    keeps_bytes: int = 0
    """What the daemon may keep of it at the worst, by its structure."""
    in_one_go: bool = False
    """One JSON text, or one transaction, which nothing cuts: others' median stays, but whoever asks meanwhile waits for
    its end. A tenant's `requestBytes` says how long that may be."""
