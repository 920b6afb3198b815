"""A tenant's counters: plain integers with bounded labels."""

from tenancy.accounting import STATUS_BITS, CallUse, Peer, Usage, peer_of
from tenancy.tally import LATENCY_BOUNDS_MS, MOST, Cell, Spread, Tally


class Clock:
    """A time that passes when told to."""

    now = 0.0

    def tick(self) -> float:
        return self.now


def test_an_answer_is_counted_by_face_and_status() -> None:
    """Requests, and the bytes of their bodies both ways."""
    usage = Usage()
    usage.served(1, 200, 10, 20)
    usage.served(1, 200, 1, 2)
    usage.served(1, 404, 0, 0)

    cells = {divmod(key, 1 << STATUS_BITS): cell for key, cell in usage.answers.items()}
    assert {key: cell.count for key, cell in cells.items()} == {(1, 200): 2, (1, 404): 1}
    assert (cells[1, 200].bytes_in, cells[1, 200].bytes_out) == (11, 22)
    assert usage.totals() == (3, 11, 22)


def test_an_app_that_invents_statuses_makes_no_endless_series() -> None:
    """Statuses of an invoked app are its own to choose; what finds no room is counted as status 0."""
    usage = Usage()
    for status in range(5000):
        usage.served(0, status, 0, 0)

    assert len(usage.answers) <= MOST + 1
    assert usage.totals().requests == 5000


def test_only_bodies_past_a_kibibyte_are_spread() -> None:
    """Those below the first bound are what is left of the count."""
    usage = Usage()
    for size in (0, 1023, 1024, 5000):
        usage.served(0, 200, size, 1)

    (cell,) = usage.answers.values()
    assert cell.in_sizes is not None
    assert cell.in_sizes.counts[:4] == [0, 1, 0, 1]
    assert cell.out_sizes is None


def test_a_request_that_waited_is_timed() -> None:
    """In milliseconds, from when it came to when it is answered."""
    clock = Clock()
    usage = Usage(clock)
    usage.served(0, 200, 0, 0)
    since, clock.now = clock.now, 0.0125
    usage.served_late(0, 200, 0, 0, since)

    (cell,) = usage.answers.values()
    assert cell.times is not None
    assert {f"<= {cell.times.bounds[at]}": n for at, n in enumerate(cell.times.counts) if n} == {"<= 13": 1}
    assert abs(cell.milliseconds - 12.5) < 1e-9


def test_a_value_that_is_a_bound_counts_above_it() -> None:
    """As in daprd."""
    spread = Spread(LATENCY_BOUNDS_MS)
    for value in (1, 1.9, 100_000, 1e9):
        spread.add(value)

    assert spread.counts[:3] == [0, 2, 0]
    assert spread.counts[-1] == 2


def test_a_tally_is_bounded() -> None:
    """Names past the limit share one cell; the ones met before keep theirs."""
    tally: Tally[str] = Tally("(other)")
    for at in range(3 * MOST):
        tally.cell(str(at)).count += 1
    tally.cell("0").count += 1

    assert len(tally.cells) == MOST + 1
    assert tally.cells["0"].count == 2
    assert tally.cells["(other)"].count == 2 * MOST


def test_calls_between_two_apps_are_one_record_for_both() -> None:
    """It goes on when either is attached anew, so that neither's counters ever fall."""
    one, two = Usage(), Usage()
    peer = peer_of(one, ("ns", "two"), two, ("ns", "one"))

    again = Usage()
    assert peer is peer_of(again, ("ns", "two"), two, ("ns", "one"))
    assert peer is peer_of(again, ("ns", "two"), Usage(), ("ns", "one"))
    assert peer is not peer_of(two, ("ns", "one"), one, ("ns", "two"))
    assert isinstance(peer, Peer)


def test_a_cell_adds_up_what_it_is_told() -> None:
    """Count, bytes and time at once."""
    cell = Cell()
    cell.add(2000, 3, 0.5, LATENCY_BOUNDS_MS)
    cell.add(1, 3, 2.5, LATENCY_BOUNDS_MS)

    assert (cell.count, cell.bytes_in, cell.bytes_out, cell.milliseconds) == (2, 2001, 6, 3.0)
    assert cell.times is not None
    assert sum(cell.times.counts) == 1


def test_calls_are_told_apart_by_method_status_and_kind() -> None:
    """Streams of a method are not its unary calls."""
    usage = Usage()
    usage.calls.cell(CallUse(b"/a.B/C", 0)).count += 1
    usage.calls.cell(CallUse(b"/a.B/C", 0, streaming=True)).count += 1

    assert len(usage.calls.cells) == 2


def test_refusals_are_counted_by_limit() -> None:
    """A limit that was never met has no entry."""
    usage = Usage()
    for limit in ("locks", "jobs", "locks"):
        usage.refused(limit)

    assert usage.refusals == {"locks": 2, "jobs": 1}
