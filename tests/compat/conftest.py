"""Which runtime the rows are replayed against: noded, or with `--daprd PATH` that daprd."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import pytest

from tests.compat.runtimes import NODED_DAPRD, PLAIN, Runtime, Setting, running_daprd, running_noded, running_with


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--daprd", type=Path, default=None, help="replay the compat rows against this daprd binary")


class Runtimes:
    """Runtimes by setting, each started when it is first asked for."""

    def __init__(self, daprd: Path | None, stack: ExitStack) -> None:
        self._daprd = daprd
        self._stack = stack
        self._running: dict[Setting, Runtime] = {}

    def of(self, setting: Setting) -> Runtime:
        if setting not in self._running:
            self._running[setting] = self._stack.enter_context(self._run(setting))
        return self._running[setting]

    def own(self, setting: Setting) -> AbstractContextManager[Runtime]:
        """One for a case alone, without an app."""
        return running_with(NODED_DAPRD if self._daprd is None else (str(self._daprd),), setting)

    def _run(self, setting: Setting) -> AbstractContextManager[Runtime]:
        if setting != PLAIN:
            return self.own(setting)
        return running_noded() if self._daprd is None else running_daprd(self._daprd)


@pytest.fixture(scope="session")
def runtimes(request: pytest.FixtureRequest) -> Iterator[Runtimes]:
    daprd: Path | None = request.config.getoption("--daprd", default=None)
    if daprd is not None and not daprd.exists():
        pytest.skip(f"there is no daprd at {daprd}")
    with ExitStack() as stack:
        yield Runtimes(daprd, stack)


@pytest.fixture(scope="session")
def runtime(runtimes: Runtimes) -> Runtime:
    return runtimes.of(PLAIN)
