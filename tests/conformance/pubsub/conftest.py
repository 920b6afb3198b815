"""Runs the suite on every broker of the registry."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from components.registry import PUBSUBS
from tests.conformance.pubsub.workbench import Bench, Clock, run


@pytest.fixture(params=sorted(name for name, backend in PUBSUBS.items()))
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    made = Bench(request.param, Clock(), tmp_path)
    yield made
    run(made.broker.aclose())
