"""Whatever several tenants do at once, and whatever they call things, each sees what it would see alone."""

import pytest
from hypothesis import Phase

from tests.proof.isolation import prove


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_each_tenant_sees_what_it_would_see_alone() -> None:
    """State, bulk, transactions, etags, events one by one, in bulk and by stream, calls, notes, listings.

    The same examples every time; thousands by hand: `python -m tests.proof.isolation`.
    """
    prove(30, 40, Phase.generate)
