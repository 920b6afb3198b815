r"""Whose turn it is: deficit round robin between tenants over bytes that nobody parsed yet.

    reads -> offer() --- tenant has time left ----------------> fed to its parser at once
                     \-- none: its backlog -> round() -> fed in slices, a quantum per tenant, then the loop polls

Cost is measured time. A tenant that used more than its quantum owes the difference. When nobody else waits, debts are
forgotten and the quantum is longer, so nobody is held back for nobody's sake. No IO: the clock and the loop come in.
Measured (design.md section 5): a quiet tenant beside a flood of 64 pipelining connections has a p50 within 4 times
its quiet value; served in order of arrival it was over 600 times.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

SLICE_BYTES = 2048
"""Parsed at one go: some 16 small requests, so that a 64 KiB read (some 800) cannot take the loop for itself."""
QUANTUM_NS = 50_000
"""A tenant's time in a round while others are about; about ten small requests."""
SOLO_QUANTUM_NS = 400_000
"""A tenant's time in a round when no other was seen for `SOLO_AFTER_NS`."""
SOLO_AFTER_NS = 100_000_000
FAIR_SLICE_NS = 2 * QUANTUM_NS
"""What a slice should cost while others are about: `SLICE_BYTES` may hold a hundred HTTP/2 requests. Half of it would
halve another's wait, which is short already, and cost a flood a sixth of its rate in smaller writes."""
SMALLEST_SLICE_BYTES = 256
TELLING_NS = 3000
"""A slice that cost less tells nothing of the next one: it was dropped, say, for its connection is closing."""
LATE_NS = QUANTUM_NS
"""The most that one answer given outside `feed` is charged: what was done before it may have been for another."""
RESUMED_PER_ROUND = 4
"""Paused connections that may read again in one round: resuming all at once makes the loop read for milliseconds."""


CROWDED_BYTES = 8 << 20
"""Of a tenant, waiting: beyond, whichever of its connections is read is then read no further."""
OVERRUN_BYTES = 4 * CROWDED_BYTES
"""Beyond, its new connections are refused. Each connection has a bound of its own, and is read once before it is known
what it holds: those that come and go faster than their tenant's turn would leave that without end."""


class Feeder(Protocol):
    """A connection that can take bytes."""

    slice_bytes: int
    """How much it takes at one go: `SLICE_BYTES`, or more while in the middle of one large body."""

    def feed(self, data: bytes) -> None:
        """Parse and act. Never raises: a peer's fault ends its connection."""

    def keep(self, size: int) -> None:
        """So many bytes wait their turn."""

    def feed_kept(self, data: bytes) -> None:
        """As `feed`, for bytes that waited."""

    def drained(self) -> None:
        """Everything offered was fed: it may read again if it paused."""


class Waiting:
    """Bytes of one connection that wait: whatever of it was read while it waited is fed together."""

    __slots__ = ("feeder", "pieces")

    def __init__(self, feeder: Feeder, piece: bytes) -> None:
        self.feeder = feeder
        self.pieces: list[bytes | memoryview] = [piece]


class Continued:
    """Work that goes on in its tenant's turn, in place of a connection."""

    __slots__ = ("_go_on",)

    slice_bytes = SLICE_BYTES

    def __init__(self, go_on: Callable[[], None]) -> None:
        self._go_on = go_on

    def feed(self, _data: bytes) -> None:
        """Never called: it has no bytes."""

    def keep(self, size: int) -> None:
        """No bytes wait."""

    def feed_kept(self, _data: bytes) -> None:
        """Go on."""
        self._go_on()

    def drained(self) -> None:
        """It reads nothing."""


class Turn:
    """One tenant's place in the order."""

    __slots__ = (
        "backlog",
        "deficit_ns",
        "epoch",
        "fair_slice_bytes",
        "growing",
        "held",
        "rested",
        "round_served_ns",
        "served_ns",
        "unparsed_bytes",
        "waiting",
    )

    def __init__(self) -> None:
        self.backlog: deque[Waiting] = deque()  # bounded: a connection stops reading past 64 KiB
        self.growing: dict[Feeder, Waiting] = {}
        """What of the backlog takes what is read next. A client that asks anew as it is answered else stays for ever
        with the small pieces that its answers once came in, and each piece costs a write."""
        self.held: deque[Feeder] = deque()
        """Connections that gave all they had and may be resumed."""
        self.deficit_ns = QUANTUM_NS
        self.epoch = 0
        self.unparsed_bytes = 0
        """In `backlog`."""
        self.waiting = False
        self.fair_slice_bytes = SLICE_BYTES
        """How much costs about `FAIR_SLICE_NS`, as its last slices were."""
        self.served_ns = 0
        """All time ever used: what `noded usage` shows as CPU."""
        self.round_served_ns = 0
        """The same, as its last round ended."""
        self.rested = False
        """Whether it was left out of its last round."""

    @property
    def crowded(self) -> bool:
        """Whether so much waits that no more should be read."""
        return self.unparsed_bytes > CROWDED_BYTES

    @property
    def overrun(self) -> bool:
        """Whether so much waits that no further connection should be taken."""
        return self.unparsed_bytes > OVERRUN_BYTES


class Turns:
    """The order of all tenants of the node."""

    def __init__(self, clock_ns: Callable[[], int], soon: Callable[[Callable[[], None]], object]) -> None:
        self.clock_ns = clock_ns
        self._soon = soon
        self._waiting: deque[Turn] = deque()
        self._epoch = 0
        self._scheduled = False
        self._last: Turn | None = None
        self._switched_ns = 0
        self._quantum_ns = QUANTUM_NS
        self._late_ns = 0  # since when what is done outside `feed` was charged to nobody; 0: not known
        self.now = 0.0
        """When the slice being fed began, in seconds: a clock good enough for token buckets, read once a slice."""

    def offer(self, turn: Turn, feeder: Feeder, data: bytes) -> bool:
        """Feed `data` now if it is this tenant's turn, else keep it. False: some of it was kept."""
        if turn.epoch != self._epoch:
            rounds, turn.epoch = self._epoch - turn.epoch, self._epoch
            turn.deficit_ns = min(self._quantum_ns, turn.deficit_ns + rounds * self._quantum_ns)
        if turn.waiting or turn.deficit_ns <= 0:
            self._keep(turn, feeder, data)
            return False
        size = len(data)
        if size <= turn.fair_slice_bytes or (size <= feeder.slice_bytes and not self._cuts(feeder)):
            start = self.clock_ns()
            self.now = start * 1e-9
            if turn is not self._last:
                self._switch(turn, start)
            feeder.feed(data)
            cost = self.clock_ns() - start
            turn.deficit_ns -= cost
            turn.served_ns += cost
            return True
        self._keep(turn, feeder, data)
        self._serve(turn)
        return not turn.backlog

    def tick(self) -> float:
        """Read the clock, for what happens outside `feed`: an app's answer, a commit. `now` is that from here on."""
        self.now = now = self.clock_ns() * 1e-9
        return now

    def wake(self, function: Callable[[], None]) -> None:
        """Run what was asked for outside the loop, by its time; `answered` charges it."""
        self._late_ns = now_ns = self.clock_ns()
        self.now = now_ns * 1e-9
        function()
        self._late_ns = 0

    def spent(self, turn: Turn, cost_ns: int) -> None:
        """Charge work done for a tenant outside `feed`: replies of apps and brokers, say."""
        turn.deficit_ns -= cost_ns
        turn.served_ns += cost_ns

    def answered(self, turn: Turn) -> None:
        """Charge an answer that was waited for: what was done since `wake`, or since the answer before it."""
        if self._late_ns:
            now_ns = self.clock_ns()
            self.spent(turn, min(now_ns - self._late_ns, LATE_NS))
            self._late_ns = now_ns

    def give_back(self, turn: Turn, feeder: Feeder, pieces: Sequence[bytes]) -> None:
        """Keep what a connection could not take when it was fed, ahead of what else waits of this tenant's."""
        data = b"".join(pieces)
        turn.backlog.appendleft(Waiting(feeder, data))
        turn.unparsed_bytes += len(data)
        feeder.keep(len(data))
        self._wait(turn)

    def go_on(self, turn: Turn, function: Callable[[], None]) -> None:
        """Call `function` when the tenant has its turn again, ahead of its other work: what was begun is ended first.

        So of requests that are done in pieces one at a time takes memory, however many connections have one.
        """
        turn.backlog.appendleft(Waiting(Continued(function), b""))
        self._wait(turn)

    def hold(self, turn: Turn, feeder: Feeder) -> None:
        """Let `feeder.drained` be called in a later round, few at a time."""
        turn.held.append(feeder)
        self._wait(turn)

    def forget(self, turn: Turn, feeder: Feeder) -> None:
        """Drop what a closed connection still had waiting."""
        if gone := [entry for entry in turn.backlog if entry.feeder is feeder]:
            turn.backlog = deque(entry for entry in turn.backlog if entry.feeder is not feeder)
            turn.unparsed_bytes -= sum(len(piece) for entry in gone for piece in entry.pieces)
            turn.growing.pop(feeder, None)
        if turn.held:
            turn.held = deque(entry for entry in turn.held if entry is not feeder)

    def _switch(self, turn: Turn, now_ns: int) -> None:
        """Another tenant is about."""
        self._last = turn
        self._switched_ns = now_ns
        self._quantum_ns = QUANTUM_NS

    def _cuts(self, feeder: Feeder) -> bool:
        """Whether its slices are to be cut smaller: others are about, and it is not inside a large body."""
        return self._quantum_ns == QUANTUM_NS and feeder.slice_bytes == SLICE_BYTES

    def _feed_kept(self, turn: Turn, feeder: Feeder, data: bytes) -> None:
        start = self.clock_ns()
        self.now = start * 1e-9
        if turn is not self._last:
            self._switch(turn, start)
        turn.unparsed_bytes -= len(data)
        feeder.feed_kept(data)
        cost_ns = self.clock_ns() - start
        self.spent(turn, cost_ns)
        if len(data) >= SMALLEST_SLICE_BYTES and cost_ns >= TELLING_NS:
            fair = len(data) * FAIR_SLICE_NS // (cost_ns + 1)
            turn.fair_slice_bytes = min(max(fair, SMALLEST_SLICE_BYTES), SLICE_BYTES)

    def _keep(self, turn: Turn, feeder: Feeder, data: bytes) -> None:
        growing = turn.growing.get(feeder)
        if growing is None:
            growing = turn.growing[feeder] = Waiting(feeder, data)
            turn.backlog.append(growing)
        else:
            growing.pieces.append(data)
        turn.unparsed_bytes += len(data)
        feeder.keep(len(data))
        self._wait(turn)

    def _wait(self, turn: Turn) -> None:
        if not turn.waiting:
            turn.waiting = True
            turn.round_served_ns = turn.served_ns
            self._waiting.append(turn)
        if not self._scheduled:
            self._scheduled = True
            self._soon(self._round)

    def _round(self) -> None:
        """Give every waiting tenant one quantum, then let the loop poll."""
        waiting = self._waiting
        alone = len(waiting) == 1
        if alone and self.clock_ns() - self._switched_ns > SOLO_AFTER_NS:
            self._quantum_ns = SOLO_QUANTUM_NS
        quantum = self._quantum_ns
        rounds = 1 if alone else self._rounds_until_one_may()
        self._epoch += rounds
        for _ in range(len(waiting)):
            turn = waiting.popleft()
            turn.epoch = self._epoch
            turn.deficit_ns = self._alone(turn) if alone else min(quantum, turn.deficit_ns + rounds * quantum)
            self._serve(turn)
            turn.round_served_ns = turn.served_ns
            if turn.backlog or turn.held:
                waiting.append(turn)
            else:
                turn.waiting = False
        self._scheduled = bool(waiting)
        if waiting:
            waiting.rotate()  # who comes first finds the caches full of what the loop did
            self._soon(self._round)

    def _alone(self, turn: Turn) -> int:
        """Give time to a tenant that waits alone: what it owes is forgotten.

        But the loop polls between what its connections cost since the last round, as they came and went, and its next
        slice: others may have come meanwhile.
        """
        between_ns = turn.served_ns - turn.round_served_ns
        turn.rested = between_ns >= self._quantum_ns and not turn.rested
        return 0 if turn.rested else self._quantum_ns

    def _rounds_until_one_may(self) -> int:
        """How many rounds it takes until the least indebted of those who wait has time: those before serve nobody."""
        return max(1, -max(turn.deficit_ns for turn in self._waiting) // self._quantum_ns + 1)

    def _serve(self, turn: Turn) -> None:
        backlog = turn.backlog
        while backlog and turn.deficit_ns > 0:
            entry = backlog.popleft()
            feeder = entry.feeder
            if turn.growing.get(feeder) is entry:
                del turn.growing[feeder]
            data = entry.pieces[0] if len(entry.pieces) == 1 else b"".join(entry.pieces)
            size = turn.fair_slice_bytes if self._cuts(feeder) else feeder.slice_bytes
            if len(data) > size:
                view = memoryview(data)
                entry.pieces = [view[size:]]
                backlog.appendleft(entry)
                data = view[:size]
            self._feed_kept(turn, feeder, bytes(data))
            backlog = turn.backlog
        for _ in range(min(RESUMED_PER_ROUND, len(turn.held)) if not backlog and turn.deficit_ns > 0 else 0):
            turn.held.popleft().drained()
