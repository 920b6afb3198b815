"""What is read from the load generators' reports."""

from collections.abc import Callable

import pytest

from bench.load import Outcome, parse_ghz, parse_h2load, parse_times

H2LOAD = """\
finished in 2.00s, 20312.00 req/s, 3.93MB/s
requests: 40631 total, 40656 started, 40631 done, 40600 succeeded, 31 failed, 1 errored, 0 timeout
status codes: 40600 2xx, 0 3xx, 30 4xx, 0 5xx
traffic: 7.87MB (8248093) total, 5.77MB (6054019) headers (space savings 0.00%), 1.47MB (1543978) data
                     min         max         mean         sd        +/- sd
time for request:      176us      9.61ms      1.57ms      1.02ms    74.33%
"""
GHZ = """\

Summary:
  Count:\t21000
  Total:\t2.10 s
  Slowest:\t9.12 ms
  Fastest:\t0.21 ms
  Average:\t1.51 ms
  Requests/sec:\t10000.00

Latency distribution:
  50 % in 1.40 ms
  99 % in 4.25 ms

Status code distribution:
  [OK]            20990 responses
  [Unavailable]   10 responses
"""


def test_h2load_only_good_answers_count_as_done() -> None:
    """2xx are completed; other statuses, errors and timeouts are failures."""
    outcome = parse_h2load(H2LOAD)

    assert (outcome.completed, outcome.failed) == (40600, 31)
    assert (outcome.seconds, outcome.latency_ms, outcome.body_bytes) == (2.0, 1.57, 1543978)


def test_ghz_only_ok_counts_as_done() -> None:
    """Every other gRPC status is a failure."""
    outcome = parse_ghz(GHZ)

    assert (outcome.completed, outcome.failed, outcome.seconds, outcome.latency_ms) == (20990, 10, 2.1, 1.51)
    assert outcome.p99_ms == 4.25


def test_the_99th_percentile_of_good_answers_is_read_from_the_log() -> None:
    """One of a hundred may take longer; refused requests and too few say nothing."""
    lines = [f"17000000000000{number:03}\t204\t{number}" for number in range(1, 201)]
    assert parse_times("\n".join([*lines, "17000000000000999\t500\t9999999"])) == 0.199
    assert parse_times("\n".join(lines[:99])) is None


@pytest.mark.parametrize("parse", [parse_h2load, parse_ghz])
def test_anything_else_is_refused(parse: Callable[[str], Outcome]) -> None:
    """A generator that reports nothing must not read as a rate of zero."""
    with pytest.raises(ValueError, match="not a"):
        parse("connection refused")
