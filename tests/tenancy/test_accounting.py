"""A tenant's counters: plain integers with bounded labels."""

import pytest

from tenancy.accounting import STATUS_CLASSES, Usage


@pytest.mark.parametrize(
    ("status", "counted"),
    [(100, "1xx"), (200, "2xx"), (204, "2xx"), (302, "3xx"), (429, "4xx"), (599, "5xx"), (600, "other"), (0, "other")],
)
def test_an_answer_is_counted_by_operation_and_class_of_status(status: int, counted: str) -> None:
    """An app that answers with an odd status makes no new label."""
    usage = Usage(operations=3)
    usage.served(1, status, 10, 20)

    assert usage.requests == [0, 1, 0]
    assert {counted: 1} == {name: n for name, n in zip(STATUS_CLASSES, usage.statuses, strict=True) if n}
    assert (usage.bytes_in, usage.bytes_out) == (10, 20)


def test_refusals_are_counted_by_limit() -> None:
    """A limit that was never met has no entry."""
    usage = Usage(operations=1)
    for limit in ("locks", "jobs", "locks"):
        usage.refused(limit)

    assert usage.refusals == {"locks": 2, "jobs": 1}
