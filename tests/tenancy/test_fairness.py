"""Whose turn it is, by a clock that only work moves: shares, latency, debts, and never a byte lost."""

import itertools
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenancy.fairness import (
    CROWDED_BYTES,
    FAIR_SLICE_NS,
    LATE_NS,
    OVERRUN_BYTES,
    QUANTUM_NS,
    RESUMED_PER_ROUND,
    SLICE_BYTES,
    SMALLEST_SLICE_BYTES,
    SOLO_AFTER_NS,
    SOLO_QUANTUM_NS,
    Turn,
    Turns,
)


@dataclass
class Node:
    """A loop and a clock, both stepped by hand."""

    now_ns: int = 0
    later: deque[Callable[[], None]] = field(default_factory=deque)
    log: list[str] = field(default_factory=list)
    """Who was fed, in order."""

    def __post_init__(self) -> None:
        self.turns = Turns(lambda: self.now_ns, self.later.append)

    def round(self) -> None:
        """Let the loop come around once."""
        for _ in range(len(self.later)):
            self.later.popleft()()

    def settle(self) -> None:
        for _ in range(100_000):
            if not self.later:
                return
            self.round()
        raise AssertionError("the rounds never end")


@dataclass(eq=False)
class Peer:
    """A connection of one tenant; parsing a byte takes `ns_per_byte`."""

    node: Node
    turn: Turn
    name: str = ""
    ns_per_byte: int = 10
    slice_bytes: int = SLICE_BYTES
    got: bytearray = field(default_factory=bytearray)
    sizes: list[int] = field(default_factory=list)
    resumed: int = 0
    kept: int = 0
    """Bytes told to wait and not fed yet."""
    on_feed: Callable[[bytes], None] | None = None

    def feed(self, data: bytes) -> None:
        self.node.now_ns += len(data) * self.ns_per_byte
        self.node.log.append(self.name)
        self.got += data
        self.sizes.append(len(data))
        if self.on_feed is not None:
            self.on_feed(data)

    def keep(self, size: int) -> None:
        self.kept += size

    def feed_kept(self, data: bytes) -> None:
        self.kept -= len(data)
        self.feed(data)

    def drained(self) -> None:
        self.resumed += 1

    def offer(self, data: bytes) -> bool:
        return self.node.turns.offer(self.turn, self, data)


def exhaust(node: Node, peer: Peer) -> None:
    """Use up a tenant's time, so that its next bytes wait."""
    while peer.offer(bytes(SLICE_BYTES)):
        pass


def test_a_tenant_with_time_left_is_fed_at_once() -> None:
    """No queue and no turn of the loop in the way of a quiet tenant."""
    node = Node()
    peer = Peer(node, Turn())
    assert peer.offer(b"request")
    assert peer.got == b"request"
    assert not node.later


def test_a_large_read_is_fed_in_slices() -> None:
    """No read takes the loop for itself: at most `slice_bytes` at one go, in order."""
    node = Node()
    peer = Peer(node, Turn(), ns_per_byte=0)
    data = bytes(range(256)) * 256
    assert peer.offer(data)
    assert bytes(peer.got) == data
    assert max(peer.sizes) == SLICE_BYTES


def test_a_slice_grows_with_what_its_connection_takes() -> None:
    """In the middle of a large body a connection takes more at once."""
    node = Node()
    peer = Peer(node, Turn(), ns_per_byte=0, slice_bytes=64 << 10)
    peer.offer(bytes(64 << 10))
    assert peer.sizes == [64 << 10]


def test_slices_are_cut_by_what_they_cost_while_others_are_about() -> None:
    """Two thousand bytes may be a hundred requests: a slice is cut so that it costs about two quanta at most."""
    node = Node()
    dear, other = Peer(node, Turn(), "dear", 200), Peer(node, Turn(), "other")
    for _ in range(20):
        while dear.kept < 32 * SLICE_BYTES:
            dear.offer(bytes(8 * SLICE_BYTES))
        other.offer(b"small")
        node.round()
    assert max(dear.sizes[2:]) <= FAIR_SLICE_NS // 200


def test_slices_are_whole_again_once_nobody_else_is_about() -> None:
    """Cutting small costs throughput, so it is done for somebody's sake only."""
    node = Node()
    alone = Peer(node, Turn(), "alone", 100)
    alone.offer(bytes(8 * SLICE_BYTES))
    node.settle()
    node.now_ns += SOLO_AFTER_NS
    for _ in range(2):
        alone.offer(bytes(64 * SLICE_BYTES))
        node.settle()
    assert alone.sizes[-1] == SLICE_BYTES


def test_what_a_connection_gives_back_is_fed_first() -> None:
    """It could not take it when its turn was; nothing that came later overtakes it."""
    node = Node()
    peer = Peer(node, Turn())
    exhaust(node, peer)
    node.settle()
    peer.got.clear()
    exhaust(node, peer)
    fed = len(peer.got)
    peer.offer(b"three")
    node.turns.give_back(peer.turn, peer, [b"one", b"two"])
    node.settle()
    assert bytes(peer.got[fed:]).replace(b"\0", b"") == b"onetwothree"
    assert peer.kept == 0


def test_an_answer_that_was_waited_for_is_charged_to_its_tenant() -> None:
    """A commit answers many: each pays for its own, and nobody for what was done while nobody was asked."""
    node = Node(now_ns=1)
    first, second = Turn(), Turn()

    def commit() -> None:
        for turn, cost_ns in ((first, 3000), (second, 5000), (first, 7000), (second, 10 * LATE_NS)):
            node.now_ns += cost_ns
            node.turns.answered(turn)

    node.turns.wake(commit)
    assert (first.served_ns, second.served_ns) == (10_000, 5000 + LATE_NS)
    node.now_ns += 1000
    node.turns.answered(first)
    assert first.served_ns == 10_000


@pytest.mark.parametrize(("first_cost", "second_cost"), [(10, 10), (5, 20), (1, 40)])
def test_two_flooding_tenants_get_equal_time(first_cost: int, second_cost: int) -> None:
    """Deficit round robin over measured time: however dear their requests are, each gets half, within 5 %."""
    node = Node()
    peers = [Peer(node, Turn(), "a", first_cost), Peer(node, Turn(), "b", second_cost)]
    for _ in range(3000):
        for peer in peers:
            while peer.kept < 8 * SLICE_BYTES:
                peer.offer(bytes(SLICE_BYTES))
        node.round()
    first, second = (peer.turn.served_ns for peer in peers)
    assert first + second > 100 * QUANTUM_NS
    assert abs(first - second) / (first + second) < 0.05


@pytest.mark.parametrize("connections", [1, 64])
def test_a_tenants_share_does_not_grow_with_its_connections(connections: int) -> None:
    """Turns belong to tenants: sixty-four connections of one get what one connection of the other gets."""
    node = Node()
    many, one = Turn(), Turn()
    crowd = [Peer(node, many, "many") for _ in range(connections)]
    single = Peer(node, one, "one")
    for _ in range(2000):
        while crowd[-1].kept < 8 * SLICE_BYTES:
            for peer in crowd:
                peer.offer(bytes(SLICE_BYTES))
        while single.kept < 8 * SLICE_BYTES:
            single.offer(bytes(SLICE_BYTES))
        node.round()
    assert abs(many.served_ns - one.served_ns) / (many.served_ns + one.served_ns) < 0.05


REQUEST_BYTES = 14
"""Of a request that HPACK made small."""
REQUEST_NS, WRITE_NS = 20_000, 40_000
"""What one costs, and what it costs to answer all that came in one slice."""


@dataclass(eq=False)
class AskingPeer(Peer):
    """A connection whose client asks anew, in one piece, as many times as it was answered in one."""

    pieces: deque[int] = field(default_factory=deque)
    """Requests on their way here, as they will be read."""
    answered: int = 0

    def feed(self, data: bytes) -> None:
        """Answer the requests that `data` completes."""
        self.got += data
        complete = len(self.got) // REQUEST_BYTES - self.answered
        self.answered += complete
        self.node.now_ns += WRITE_NS + complete * REQUEST_NS
        if complete:
            self.pieces.append(complete)

    def ask(self) -> None:
        """Read what came, each piece by itself."""
        for _ in range(len(self.pieces)):
            self.offer(bytes(REQUEST_BYTES * self.pieces.popleft()))


def test_who_was_once_read_in_small_pieces_gets_an_equal_share() -> None:
    """Each piece costs a write. What is read while a connection waits is fed as one, so its pieces grow together."""
    node = Node()
    shares: list[list[AskingPeer]] = []
    for pieces in ([1] * 32, [32]):
        turn = Turn()
        shares.append([AskingPeer(node, turn, pieces=deque(pieces)) for _ in range(64)])
    for _ in range(5000):
        for peer in itertools.chain(*shares):
            peer.ask()
        node.round()
    first, second = (sum(peer.answered for peer in peers) for peers in shares)
    assert first + second > 10_000
    assert abs(first - second) / (first + second) < 0.01


def test_rounds_that_would_serve_nobody_are_left_out() -> None:
    """Where all who wait owe time, the first who has paid is served in the next round, and who owes more waits on."""
    node = Node()
    debtors = [Peer(node, Turn(), name, owed) for name, owed in (("six", 6 * QUANTUM_NS), ("nine", 9 * QUANTUM_NS))]
    for peer in debtors:
        peer.offer(b"x")
        peer.offer(b"y")
    node.log.clear()
    node.round()
    assert node.log == ["six"]
    assert debtors[1].turn.deficit_ns == -2 * QUANTUM_NS


def test_debt_is_paid_in_rounds_of_others_too() -> None:
    """Who owes and asks for nothing meanwhile is served at once when others had as much time."""
    node = Node()
    dear, one, two = (Peer(node, Turn(), name) for name in ("dear", "one", "two"))
    dear.ns_per_byte = 10 * QUANTUM_NS
    dear.offer(b"x")
    for _ in range(20):
        for peer in (one, two):
            while peer.kept < 8 * SLICE_BYTES:
                peer.offer(bytes(SLICE_BYTES))
        node.round()
    assert dear.offer(b"y"), "fed before offer returned"


def test_nobody_is_always_the_first_of_a_round() -> None:
    """The first finds the processor's caches full of what the loop did: its time buys less."""
    node = Node()
    peers = [Peer(node, Turn(), name, QUANTUM_NS // SLICE_BYTES) for name in "ab"]
    firsts = []
    for _ in range(6):
        for peer in peers:
            while peer.kept < 8 * SLICE_BYTES:
                peer.offer(bytes(SLICE_BYTES))
        node.log.clear()
        node.round()
        firsts.append(node.log[0])
    assert firsts[0] != firsts[1]
    assert firsts == firsts[:2] * 3


def test_a_quiet_tenant_is_served_at_once_beside_a_flood() -> None:
    """Its small request does not queue behind what others piled up."""
    node = Node()
    flood, quiet = Peer(node, Turn(), "flood"), Peer(node, Turn(), "quiet")
    for _ in range(200):
        while flood.kept < 32 * SLICE_BYTES:
            flood.offer(bytes(SLICE_BYTES))
        node.round()
        assert quiet.offer(b"small"), "fed before offer returned"
    assert bytes(quiet.got) == b"small" * 200


def test_between_two_polls_a_flood_takes_one_quantum() -> None:
    """The loop polls after each round, and a round gives each tenant about QUANTUM_NS, never its whole backlog."""
    node = Node()
    flood, other = Peer(node, Turn(), "flood"), Peer(node, Turn(), "other")
    slice_ns = SLICE_BYTES * flood.ns_per_byte
    for _ in range(50):
        for peer in (flood, other):
            while peer.kept < 64 * SLICE_BYTES:
                peer.offer(bytes(SLICE_BYTES))
        before = node.now_ns
        node.round()
        assert node.now_ns - before <= 2 * (QUANTUM_NS + slice_ns)


def test_debt_of_a_dear_request_is_paid_in_later_rounds() -> None:
    """Who used ten quanta at once waits while another is served, and then has its turn again."""
    node = Node()
    dear, other = Peer(node, Turn(), "dear", 10 * QUANTUM_NS // 100), Peer(node, Turn(), "other")
    exhaust(node, other)
    dear.offer(bytes(100))
    assert dear.turn.deficit_ns < -8 * QUANTUM_NS
    dear.offer(b"next")
    node.log.clear()
    while "dear" not in node.log:
        while other.kept < 8 * SLICE_BYTES:
            other.offer(bytes(SLICE_BYTES))
        node.round()
    assert node.log.count("other") * SLICE_BYTES * other.ns_per_byte > 7 * QUANTUM_NS


def test_debt_is_forgiven_when_nobody_else_waits() -> None:
    """Nobody is held back for nobody's sake: the next round serves it, whatever it owes."""
    node = Node()
    alone = Peer(node, Turn(), "alone", 100 * QUANTUM_NS)
    alone.offer(b"x")
    assert alone.turn.deficit_ns < -90 * QUANTUM_NS
    assert not alone.offer(b"y")
    node.round()
    assert bytes(alone.got) == b"xy"


def test_a_tenant_alone_for_a_while_gets_longer_turns() -> None:
    """The loop polls less often where nobody else was seen for SOLO_AFTER_NS, and as often as before once one is."""
    node = Node()
    alone, other = Peer(node, Turn(), "alone"), Peer(node, Turn(), "other")

    def one_round() -> int:
        while alone.kept < 64 * SLICE_BYTES:
            alone.offer(bytes(SLICE_BYTES))
        before = node.now_ns
        node.round()
        return node.now_ns - before

    one_round()
    assert one_round() < 2 * QUANTUM_NS
    node.now_ns += SOLO_AFTER_NS
    one_round()
    assert one_round() >= SOLO_QUANTUM_NS
    other.offer(b"hello")
    one_round()
    assert one_round() < 2 * QUANTUM_NS


def test_work_done_elsewhere_is_charged() -> None:
    """Time spent for a tenant outside its parser counts against its share, and in its books."""
    node = Node()
    peer = Peer(node, Turn())
    peer.offer(b"x")
    node.turns.spent(peer.turn, 2 * QUANTUM_NS)
    assert not peer.offer(b"y")
    node.settle()
    assert bytes(peer.got) == b"xy"
    assert peer.turn.served_ns == 2 * QUANTUM_NS + 2 * peer.ns_per_byte


def test_paused_connections_are_resumed_a_few_at_a_time() -> None:
    """Resuming all at once would make the loop read for milliseconds."""
    node = Node()
    turn = Turn()
    peers = [Peer(node, turn) for _ in range(3 * RESUMED_PER_ROUND)]
    for peer in peers:
        node.turns.hold(turn, peer)
    resumed = []
    while node.later:
        node.round()
        resumed.append(sum(peer.resumed for peer in peers))
    assert resumed[:3] == [RESUMED_PER_ROUND, 2 * RESUMED_PER_ROUND, 3 * RESUMED_PER_ROUND]
    assert [peer.resumed for peer in peers] == [1] * len(peers)


def test_nobody_is_resumed_while_its_tenant_has_bytes_waiting() -> None:
    """What was read is served first: a backlog does not grow."""
    node = Node()
    turn = Turn()
    busy, paused = Peer(node, turn, ns_per_byte=QUANTUM_NS), Peer(node, turn)
    rival = Peer(node, Turn(), ns_per_byte=QUANTUM_NS)
    rival.offer(b"r" * 10)
    busy.offer(b"b" * 5)
    for _ in range(5):
        busy.offer(b"b")
    node.turns.hold(turn, paused)
    while not paused.resumed:
        assert node.later
        node.round()
    assert len(busy.got) == 10


def test_what_a_lost_connection_had_waiting_is_dropped() -> None:
    """Nothing is fed to a connection that is gone, nor is it resumed; its neighbours lose nothing."""
    node = Node()
    turn = Turn()
    gone, stays = Peer(node, turn), Peer(node, turn)
    exhaust(node, gone)
    stays.offer(b"kept")
    node.turns.hold(turn, gone)
    before = len(gone.got)
    node.turns.forget(turn, gone)
    node.settle()
    assert (len(gone.got), gone.resumed) == (before, 0)
    assert bytes(stays.got) == b"kept"


def test_a_connection_that_is_lost_while_it_is_fed_is_fed_no_more() -> None:
    """The rest of its own read, cut in slices, is dropped with it."""
    node = Node()
    peer = Peer(node, Turn(), ns_per_byte=0)
    peer.on_feed = lambda _: node.turns.forget(peer.turn, peer)
    peer.offer(bytes(3 * SLICE_BYTES))
    node.settle()
    assert len(peer.got) == SLICE_BYTES


def test_what_waits_of_a_tenant_is_counted_until_it_is_fed_or_dropped() -> None:
    """Beyond CROWDED_BYTES its connections should be read no further, beyond OVERRUN_BYTES none be taken."""
    node = Node()
    turn = Turn()
    peers = [Peer(node, turn) for _ in range(5)]
    turn.deficit_ns = -100 * QUANTUM_NS
    seen = []
    for peer in peers:
        peer.offer(bytes(CROWDED_BYTES))
        seen.append((turn.crowded, turn.overrun))
    assert seen == [(False, False), *[(True, False)] * 3, (True, True)]
    assert OVERRUN_BYTES == 4 * CROWDED_BYTES
    node.turns.forget(turn, peers[0])
    assert turn.unparsed_bytes == 4 * CROWDED_BYTES
    node.turns.give_back(turn, peers[1], [b"one", b"two"])
    assert turn.overrun
    node.settle()
    assert turn.unparsed_bytes == 0


STEPS = st.lists(
    st.tuples(st.integers(0, 5), st.integers(0, 3 * SLICE_BYTES), st.sampled_from(["offer", "round", "dear", "hold"])),
    max_size=80,
)


@given(STEPS)
def test_no_byte_is_lost_or_reordered_whatever_happens(steps: list[tuple[int, int, str]]) -> None:
    """Every connection is fed exactly what was offered for it, in that order, under any interleaving."""
    node = Node()
    turns = [Turn(), Turn(), Turn()]
    peers = [Peer(node, turns[number % 3], str(number)) for number in range(6)]
    offered = [bytearray() for _ in peers]
    held = 0
    for number, (which, size, what) in enumerate(steps):
        peer = peers[which]
        if what == "round":
            node.round()
        elif what == "hold":
            node.turns.hold(peer.turn, peer)
            held += 1
        else:
            peer.ns_per_byte = 1000 if what == "dear" else 5
            data = bytes([number % 256]) * size
            offered[which] += data
            peer.offer(data)
    node.settle()
    assert [bytes(peer.got) for peer in peers] == [bytes(each) for each in offered]
    assert sum(peer.resumed for peer in peers) == held
    assert not any(turn.backlog or turn.held or turn.waiting for turn in turns)


@given(STEPS)
def test_time_used_is_time_measured(steps: list[tuple[int, int, str]]) -> None:
    """The tenants' books add up to what the clock went on."""
    node = Node()
    peers = [Peer(node, Turn(), str(number)) for number in range(6)]
    for which, size, what in steps:
        if what == "round":
            node.round()
        else:
            peers[which].offer(bytes(size))
    node.settle()
    assert sum(peer.turn.served_ns for peer in peers) == node.now_ns


def test_between_what_connections_cost_and_a_slice_the_loop_polls() -> None:
    """Once a tenant's peers that come and go cost a quantum, a round is left out. One: it is served all the same."""
    node = Node()
    turn = Turn()
    peer = Peer(node, turn, ns_per_byte=QUANTUM_NS // SMALLEST_SLICE_BYTES)
    while peer.offer(bytes(SMALLEST_SLICE_BYTES)):
        pass
    peer.offer(bytes(20 * SMALLEST_SLICE_BYTES))
    fed = [len(peer.got)]
    for _ in range(6):
        node.turns.spent(turn, QUANTUM_NS)
        node.round()
        fed.append(len(peer.got))
    served = [after > before for before, after in itertools.pairwise(fed)]
    assert served in ([False, True] * 3, [True, False] * 3)


def test_nobody_is_resumed_whose_time_is_used_up() -> None:
    """Reading is work, too: a connection is resumed in its tenant's turn."""
    node = Node()
    one, other = Peer(node, Turn()), Peer(node, Turn())
    node.turns.hold(one.turn, one)
    node.turns.hold(other.turn, other)
    node.turns.spent(one.turn, 10 * QUANTUM_NS)
    node.round()
    assert (one.resumed, other.resumed) == (0, 1)
    node.settle()
    assert one.resumed == 1


def test_what_is_dropped_tells_nothing_of_what_the_next_slice_costs() -> None:
    """A connection that is closing takes its bytes for nothing; the next one's are cut by what slices cost before."""
    node = Node()
    turn = Turn()
    dear, closing, other = Peer(node, turn, "dear", 200), Peer(node, turn, "closing", 0), Peer(node, Turn(), "other")
    for _ in range(60):
        for peer in (dear, closing):
            while peer.kept < SLICE_BYTES:
                peer.offer(bytes(2 * SLICE_BYTES))
        other.offer(b"small")
        node.round()
    assert closing.got
    assert max(dear.sizes[2:]) <= FAIR_SLICE_NS // 200


def test_work_in_pieces_lets_others_in_between() -> None:
    """Each piece waits for its tenant's turn and is charged; another's request is not behind all of them."""
    node = Node()
    worker, other = Peer(node, Turn(), "worker"), Peer(node, Turn(), "other")
    left = 20

    def piece() -> None:
        nonlocal left
        left -= 1
        node.now_ns += QUANTUM_NS
        node.log.append("piece")
        if left:
            node.turns.go_on(worker.turn, piece)

    worker.on_feed = lambda _: node.turns.go_on(worker.turn, piece)
    worker.offer(b"request")
    for _ in range(3):
        node.round()
    other.offer(b"small")
    node.settle()
    assert node.log.index("other") <= 1 + 4
    assert node.log.count("piece") == 20
    assert worker.turn.served_ns >= 20 * QUANTUM_NS
    assert not worker.turn.waiting


def test_work_in_pieces_is_ended_before_its_tenant_begins_more() -> None:
    """Of many connections that bring large requests one at a time has its memory."""
    node = Node()
    turn = Turn()
    under_way: set[str] = set()
    most = 0

    def begin(peer: Peer, _data: bytes) -> None:
        nonlocal most
        under_way.add(peer.name)
        most = max(most, len(under_way))
        node.turns.go_on(turn, partial(piece, peer.name, 5))

    def piece(name: str, left: int) -> None:
        node.now_ns += QUANTUM_NS
        if left:
            node.turns.go_on(turn, partial(piece, name, left - 1))
        else:
            under_way.remove(name)

    for name in "abcd":
        peer = Peer(node, turn, name)
        peer.on_feed = partial(begin, peer)
        peer.offer(b"request")
    node.settle()
    assert not under_way
    assert most == 1
