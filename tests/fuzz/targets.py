"""Every fuzz target, by name, with the inputs kept for it."""

from collections.abc import Mapping
from pathlib import Path

from tests.fuzz import body_targets, grpc_targets, http1_targets, http2_targets, journal_targets, text_targets
from tests.fuzz.target import Target

CORPUS = Path(__file__).parent / "corpus"

TARGETS: Mapping[str, Target] = {
    target.name: target
    for module in (http1_targets, http2_targets, grpc_targets, body_targets, text_targets, journal_targets)
    for target in module.TARGETS
}


def corpus(target: Target) -> list[bytes]:
    """What a target begins with: its seeds, and the inputs kept in `corpus/<target>/`, in the order of their names."""
    folder = CORPUS / target.name
    kept = [path.read_bytes() for path in sorted(folder.iterdir())] if folder.is_dir() else []
    return [*target.seeds, *kept]
