from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.state.rig import BACKENDS, Rig, Store


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path / "state")
    yield made
    made.close()


@pytest.fixture(params=BACKENDS)
def store(request: pytest.FixtureRequest, rig: Rig) -> Store:
    """Every backend in turn."""
    component_type, metadata = BACKENDS[request.param]
    return Store(rig, rig.open(component_type, metadata))
