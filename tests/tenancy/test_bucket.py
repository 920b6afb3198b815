"""Token buckets, on a clock of the test's own."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenancy.bucket import Bucket

rates = st.floats(0.01, 1e9)
costs = st.floats(0, 2e9)
starts = st.floats(0, 1e7)


def flood(bucket: Bucket, start: float, seconds: float, cost: float, step: float) -> float:
    """Ask every `step` seconds, whatever the answer; return what was admitted."""
    admitted, asked = 0.0, 0
    while asked * step < seconds:
        if not bucket.take(start + asked * step, cost):
            admitted += cost
        asked += 1
    return admitted


@pytest.mark.parametrize(
    ("rate", "asks_per_token", "tokens"),
    [(0.5, 400, 200), (1, 400, 200), (7, 3, 2000), (1000, 1.01, 5000), (1000, 17.3, 5000), (123_456.7, 3, 9000)],
)
def test_under_a_flood_the_rate_is_kept_within_one_percent(rate: float, asks_per_token: float, tokens: int) -> None:
    """Once the burst is spent, a flood gets its rate: not more, and not less."""
    bucket = Bucket(rate)
    bucket.debit(1000.0, bucket.burst)
    seconds = tokens / rate

    admitted = flood(bucket, 1000.0, seconds, 1.0, 1 / (rate * asks_per_token))

    assert math.isclose(admitted / seconds, rate, rel_tol=0.01)


def test_a_flood_that_waits_as_told_gets_the_whole_rate() -> None:
    """A client that retries exactly after Retry-After is served each time."""
    bucket = Bucket(300.0)
    bucket.debit(5.0, bucket.burst)
    now, served = 5.0, 0
    while now < 15.0:
        if wait := bucket.take(now, 1.0):
            now += wait
        else:
            served += 1

    assert math.isclose(served / 10, 300.0, rel_tol=0.01)


def test_requests_of_mixed_size_with_replies_known_later_keep_the_rate() -> None:
    """Bytes of replies are charged after the fact; the sum still keeps the rate."""
    bucket = Bucket(1000.0)
    bucket.debit(0.0, bucket.burst)
    now, moved = 0.0, 0.0
    for turn in range(2000):
        size = (turn * 7919) % 3000
        if wait := bucket.take(now, size):
            now += wait
            assert bucket.take(now, size) == 0.0
        bucket.debit(now, size / 2)
        moved += size * 1.5

    assert math.isclose(moved / now, 1000.0, rel_tol=0.01)


def test_a_burst_is_one_seconds_worth() -> None:
    """A quiet app may ask a second's worth at once, and no more however long it was quiet."""
    bucket = Bucket(10.0)

    assert [bucket.take(1e6, 1.0) for _ in range(10)] == [0.0] * 10
    assert bucket.take(1e6, 1.0) > 0


def test_a_rate_below_one_still_admits_one() -> None:
    """A tenth a second is one request every ten seconds, not none."""
    bucket = Bucket(0.1)

    assert bucket.take(0.0, 1.0) == 0.0
    assert math.isclose(10.0, bucket.take(0.0, 1.0))
    assert bucket.take(10.0, 1.0) == 0.0


def test_a_request_larger_than_the_burst_waits_for_a_full_bucket_and_leaves_a_debt() -> None:
    """Nothing is un-admittable, and the rate holds: who took five seconds' worth waits for it afterwards."""
    bucket = Bucket(100.0)

    assert bucket.take(0.0, 500.0) == 0.0
    assert math.isclose(4.0, bucket.take(0.0, 0.0))
    assert math.isclose(5.0, bucket.take(0.0, 500.0))
    assert bucket.take(5.0, 500.0) == 0.0


@given(rates, costs, st.lists(st.tuples(st.floats(0, 3), costs), max_size=6), starts)
def test_waiting_as_long_as_told_is_enough(
    rate: float, cost: float, before: list[tuple[float, float]], now: float
) -> None:
    """Whatever happened before, retry-after is never zero, and after it the request fits."""
    bucket = Bucket(rate)
    for pause, taken in before:
        now += pause
        bucket.debit(now, min(taken, rate * 100))
    wait = bucket.take(now, cost)
    if wait:
        assert wait > 0
        assert bucket.take(now + wait, cost) == 0.0


@given(rates, costs, costs)
def test_a_refusal_takes_nothing(rate: float, spent: float, cost: float) -> None:
    """Being refused does not push the next chance away."""
    bucket = Bucket(rate)
    bucket.debit(1.0, spent)
    used = bucket.used(1.0)
    if bucket.take(1.0, cost):
        assert used == bucket.used(1.0)


def test_raising_the_rate_takes_effect_at_once() -> None:
    """What comes back from now on comes at the new rate; nothing is given for the past."""
    bucket = Bucket(1.0)
    bucket.debit(100.0, 1.0)
    bucket.set_rate(1000.0, 100.5)

    assert bucket.take(100.5, 1.0) > 0
    assert bucket.take(100.501, 1.0) == 0.0
    assert bucket.take(100.501, 1.0) > 0


def test_lowering_the_rate_takes_effect_at_once() -> None:
    """What was saved up at the old rate is cut to the new burst."""
    bucket = Bucket(1000.0)
    bucket.set_rate(2.0, 50.0)

    assert [bucket.take(50.0, 1.0) == 0.0 for _ in range(3)] == [True, True, False]
    assert math.isclose(0.5, bucket.take(50.0, 1.0))
