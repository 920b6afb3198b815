"""Which runtime the rows are replayed against: noded, or with `--daprd PATH` that daprd."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.compat.runtimes import Runtime, running_daprd, running_noded


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--daprd", type=Path, default=None, help="replay the compat rows against this daprd binary")


@pytest.fixture(scope="session")
def runtime(request: pytest.FixtureRequest) -> Iterator[Runtime]:
    daprd: Path | None = request.config.getoption("--daprd", default=None)
    if daprd is None:
        with running_noded() as noded:
            yield noded
        return
    if not daprd.exists():
        pytest.skip(f"there is no daprd at {daprd}")
    with running_daprd(daprd) as recorded:
        yield recorded
