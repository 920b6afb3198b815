"""What became of events, as they are counted. Source: daprd 1.18 pkg/runtime/subscription/postman."""

from collections.abc import Mapping
from typing import Final

from components.contract import Verdict
from noded.runtime.dead_letter import Outcome
from tenancy.accounting import CallUse
from tenancy.use import DROP, RETRY, SUCCESS, Reception

NO_ANSWER: Final = 500
"""The HTTP status that a call without an answer is counted by, as in daprd."""
_COUNTED: Final[Mapping[Outcome, tuple[str, str]]] = {
    Outcome.DONE: (SUCCESS, SUCCESS),
    Outcome.DROPPED: (DROP, SUCCESS),
    Outcome.FAILED: (RETRY, RETRY),
}
"""{what became of an event: its process_status and status}"""
_UNDELIVERED: Final = frozenset({Outcome.FAILED, Outcome.UNFIT})


def judged(reception: Reception, outcome: Outcome, since: float, *, gone: bool = False) -> None:
    """Count an event that the app has judged; `gone`: it has no such route (404)."""
    reception.came_to(*((DROP, DROP) if gone else _COUNTED[outcome]), since)


def http_answered(reception: Reception, outcome: Outcome, status: int, sizes: tuple[int, int], since: float) -> None:
    """Count an HTTP app's answer to one event, of (bytes sent, bytes received)."""
    sent, received = sizes
    if status == 200 and outcome is Outcome.DONE:
        reception.taken(sent, received, since)
        return
    reception.called(CallUse(b"POST", status), sent, received, since)
    judged(reception, outcome, since, gone=status == 404)


def concluded(reception: Reception, outcome: Outcome, verdict: Verdict) -> None:
    """Count a failed event once more as it goes to the dead letter topic, as daprd does; an unfit one wherever."""
    if outcome in _UNDELIVERED and verdict is Verdict.ACK:
        reception.came_to(DROP, DROP, reception.time.now)
    elif outcome is Outcome.UNFIT:
        reception.came_to(RETRY, RETRY, reception.time.now)


def batch_judged(reception: Reception, outcome: Outcome, verdict: Verdict) -> None:
    """Count one event of a batch by what the app said of it, or by where it went."""
    if outcome is Outcome.DONE:
        reception.in_batch(SUCCESS)
    else:
        reception.in_batch(RETRY if verdict is Verdict.RETRY else DROP)
