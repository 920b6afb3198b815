"""What is particular to pubsub.in-memory: its delays and its own ceilings."""

import itertools
from pathlib import Path

import pytest

from components.contract import Delivery, Message, TopicName, Verdict
from components.pubsub import in_memory
from tests.conformance.pubsub.workbench import Bench, Clock, Room, Taker, run


def test_retries_wait_twice_as_long_each_time_up_to_half_a_minute(tmp_path: Path) -> None:
    """0.2 s before the second attempt, doubled each time, never more than 30 s."""
    clock = Clock()
    bench = Bench("pubsub.in-memory", clock, tmp_path)
    moments: list[float] = []

    def fail(delivery: Delivery) -> None:
        moments.append(clock.now)
        delivery.settle(Verdict.RETRY)

    bench.join(fail)
    run(bench.broker.publish(TopicName("orders"), Message(b"1")))
    clock.advance(130)

    delays = [round(later - sooner, 3) for sooner, later in itertools.pairwise(moments)]
    assert delays == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0, 30.0]


@pytest.mark.parametrize(("ceiling", "value"), [("GROUP_MESSAGES", 2), ("GROUP_BYTES", 4)])
def test_a_group_is_bounded_where_its_owner_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ceiling: str, value: int
) -> None:
    """The broker's own ceilings hold for a tenant without limits; what they drop is counted and charged to nobody."""
    monkeypatch.setattr(in_memory, ceiling, value)
    bench = Bench("pubsub.in-memory", Clock(), tmp_path)
    room = Room()
    taker = Taker()
    bench.join(taker, room=room)
    for body in (b"aa", b"bb", b"cc"):
        run(bench.broker.publish(TopicName("orders"), Message(body)))

    assert (taker.bodies, room.drops, room.messages, room.size_bytes) == ([b"aa", b"bb"], 1, 2, 4)


def test_a_message_is_shared_not_copied(tmp_path: Path) -> None:
    """All groups are given the very bytes that were published."""
    bench = Bench("pubsub.in-memory", Clock(), tmp_path)
    first, second = Taker(Verdict.ACK), Taker(Verdict.ACK)
    bench.join(first, group="a")
    bench.join(second, group="b")
    body = b"large" * 1000
    run(bench.broker.publish(TopicName("orders"), Message(body)))

    assert first.bodies[0] is body
    assert second.bodies[0] is body
