"""What hostile peers cost another tenant's answers: a few times their quiet median at the most, and bounded memory.

The 99th percentiles need a quiet machine: `python -m tests.hostile --check`.
"""

from collections.abc import Iterator

import pytest

from tests.hostile.attacks import ATTACKS
from tests.hostile.latency import Arena, arena, what_is_lacking
from tests.hostile.scene import NOISE_BYTES, memory_bytes

pytestmark = pytest.mark.skipif(what_is_lacking() != "", reason=what_is_lacking())

P50_TIMES = 6.0
"""One to four, measured: an attacker who keeps the daemon busy has a slice of it, then the neighbour. In order of
arrival it were hundreds."""
PAIRS = 6
"""At most: other work on the machine may fall into one time of a pair and not the other."""
SECONDS = 0.3


@pytest.fixture(scope="module")
def scene() -> Iterator[Arena]:
    with arena() as scene:
        yield scene


@pytest.mark.parametrize("name", ATTACKS)
def test_a_hostile_peer_costs_its_neighbours_little(scene: Arena, name: str) -> None:
    """Their median stays within a few times its quiet value; the daemon keeps what the attack's structure lets it."""
    before = scene.settled()
    ratios: list[float] = []
    while len(ratios) < PAIRS and min(ratios, default=P50_TIMES) >= P50_TIMES:
        ratios.append(scene.pair(name, SECONDS).p50_ratio)
    grown = memory_bytes(scene.daemon, "VmHWM") - before
    assert min(ratios) < P50_TIMES, ratios
    assert grown <= ATTACKS[name].keeps_bytes + NOISE_BYTES, f"grew by {grown / 2**20:.1f} MiB"
    assert "Traceback" not in scene.daemon.log()
