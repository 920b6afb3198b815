"""Handlers of fuzz targets run on a loop of their own, closed after each test."""

from collections.abc import Iterator

import pytest

from tests.fuzz.lone_node import close_loop


@pytest.fixture(autouse=True)
def _loop() -> Iterator[None]:
    yield
    close_loop()
