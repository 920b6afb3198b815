"""The dispatcher of a daemon whose requests over HTTP are counted by path as well. Others do not pay for it."""

from noded.calls import Ended, HttpCall, Reply
from noded.dispatch import Dispatcher
from noded.metrics_paths import PathLabels
from noded.route_table import UNKNOWN_VERB, VERBS, Candidate, RouteTable
from tenancy.fairness import Turns
from tenancy.tally import Cell

_VERBS = {verb.encode(): verb for verb in VERBS}


class PathDispatcher(Dispatcher):
    """Counts every request once more, by path."""

    def __init__(self, table: RouteTable, turns: Turns, labels: PathLabels) -> None:
        super().__init__(table, turns)
        self._labels = labels

    def _finish(self, call: HttpCall, candidate: Candidate, reply: Reply) -> None:
        super()._finish(call, candidate, reply)
        self._cell(call, reply.status).count += 1

    def _finish_late(self, call: HttpCall, candidate: Candidate, reply: Reply, since: float) -> None:
        super()._finish_late(call, candidate, reply, since)
        self._cell(call, reply.status).count += 1
        self._took(call, reply.status, since)

    def _ending(self, call: HttpCall, candidate: Candidate) -> Ended:
        ending = super()._ending(call, candidate)
        since = self._turns.now

        def ended(status: int, sent: int) -> None:
            ending(status, sent)
            self._cell(call, status).count += 1
            self._took(call, status, since)

        return ended

    def _took(self, call: HttpCall, status: int, since: float) -> None:
        milliseconds = (self._turns.now - since) * 1000
        self._cell(call, status).took(milliseconds, call.app.tenant.usage.bounds_ms)

    def _cell(self, call: HttpCall, status: int) -> Cell:
        verb = _VERBS.get(call.method, UNKNOWN_VERB)
        return call.app.tenant.usage.paths.cell((verb, self._labels.label(call.path), status))
