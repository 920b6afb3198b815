"""The spine of a request: find its operation, admit its tenant, do it, answer, account.

    wire -> http() -> route -> gate.admit -> handler, stepped in place -> reply -> gate.release, usage

No task is made: a handler runs where the bytes arrived, and one that waits for a commit is resumed by it.
An error of any kind ends in an answer here; it never reaches the connection.
"""

import logging
import math
from functools import partial

from components.completion import Completion
from noded.calls import TEXT, Ended, HttpCall, Reply
from noded.errors import QUOTA_EXCEEDED, QUOTA_FAILURE, RETRY_INFO, UNEXPECTED, ApiError
from noded.lanes import NotInline
from noded.route_table import Candidate, Later, RouteTable, Running
from tenancy.admission import LimitExceeded, Refusal
from tenancy.fairness import Turns
from tenancy.tenant import Tenant

log = logging.getLogger("noded.dispatch")

_BAD_REQUEST = Reply(400, b"400 Bad Request", TEXT)
TOO_LARGE = "stream too large"
"""What daprd says of a body over the limit."""


class Dispatcher:
    """Runs HTTP requests for every connection of the daemon."""

    def __init__(self, table: RouteTable, turns: Turns) -> None:
        self._table = table
        self._turns = turns

    def http(self, call: HttpCall) -> None:
        """Answer one request, now or when its handler has what it waits for."""
        candidate = call.candidate or self._find(call)
        if candidate is None:
            return
        tenant = call.app.tenant
        if candidate.limited:
            refusal = tenant.gate.admit(self._turns.now, len(call.body))
            if refusal is not None:
                tenant.refused(refusal)
                call.exchange.reply(error_reply(quota_exceeded(refusal)))
                return
        if candidate.handler is None:
            self._stream(call, candidate)
        elif call.too_large and (row := candidate.route.too_large) is not None:
            self._finish(call, candidate, error_reply(row.error(text=TOO_LARGE)))
        else:
            try:  # the first of `_step`s, written out: nearly every request ends in it
                answer = candidate.handler(call)
                waits_for = None if isinstance(answer, (Reply, Later)) else answer.send(None)
            except StopIteration as end:
                answer = end.value
            except Exception as error:  # noqa: BLE001 - a request's failure is its own
                answer = self._failed(call, error)
            if isinstance(answer, Reply):
                self._finish(call, candidate, answer)
            elif isinstance(answer, Later):
                answer.waits_for.on_done(partial(self._answer, call, candidate, answer, self._turns.now))
            else:
                self._wait(call, candidate, answer, waits_for, self._turns.now)

    def _find(self, call: HttpCall) -> Candidate | None:
        """Find a call's route, to be remembered where its line will come again. None: answered already."""
        try:
            candidate = self._table.find(call)
        except ApiError:
            call.exchange.reply(_BAD_REQUEST)
            return None
        if call.line is not None and self._table.repeats(call, candidate):
            call.app.known_lines.learn(call.line, candidate, call.params)
        return candidate

    def streams(self, call: HttpCall) -> bool:
        """Whether the request's body goes to its handler piece by piece."""
        try:
            return self._table.find(call).handler is None
        except ApiError:
            return False

    def _step(self, call: HttpCall, candidate: Candidate, running: Running, since: float) -> None:
        """Run the handler on, as what it waited for is there, until it ends or waits again."""
        try:
            waits_for = running.send(None)
        except StopIteration as end:
            self._finish_late(call, candidate, end.value, since)
        except Exception as error:  # noqa: BLE001 - a request's failure is its own
            self._finish_late(call, candidate, self._failed(call, error), since)
        else:
            self._wait(call, candidate, running, waits_for, since)

    def _answer(self, call: HttpCall, candidate: Candidate, later: Later, since: float) -> None:
        """Answer, as what it waited for is there."""
        try:
            reply = later.answer()
        except Exception as error:  # noqa: BLE001 - as in _step
            reply = self._failed(call, error)
        self._finish_late(call, candidate, reply, since)

    def _wait(self, call: HttpCall, candidate: Candidate, running: Running, waits_for: object, since: float) -> None:
        if isinstance(waits_for, Completion):
            waits_for.on_done(partial(self._step, call, candidate, running, since))
            return
        running.close()
        self._finish(call, candidate, self._failed(call, NotInline(f"{waits_for!r} awaited in place")))

    def _stream(self, call: HttpCall, candidate: Candidate) -> None:
        call.exchange.ended = self._ending(call, candidate)
        raw = candidate.route.raw
        assert raw is not None
        try:
            raw(call)
        except Exception as error:  # noqa: BLE001 - as in _step
            call.exchange.reply(self._failed(call, error))

    def _ending(self, call: HttpCall, candidate: Candidate) -> Ended:
        """What is to be done when an answer that is streamed, or waited for outside, is over."""
        tenant = call.app.tenant
        size = len(call.body)
        since = self._turns.now

        def ended(status: int, sent: int) -> None:
            tenant.gate.release(self._turns.now, sent)
            tenant.usage.served_late(candidate.index, status, size, sent, since)

        return ended

    def _finish(self, call: HttpCall, candidate: Candidate, reply: Reply) -> None:
        call.exchange.reply(reply)
        tenant = call.app.tenant
        size = len(reply.body)
        if candidate.limited:
            tenant.gate.release(self._turns.now, size)
        tenant.usage.served(candidate.index, reply.status, len(call.body), size)

    def _finish_late(self, call: HttpCall, candidate: Candidate, reply: Reply, since: float) -> None:
        """As `_finish`, for a request that waited since then."""
        call.exchange.reply(reply)
        tenant = call.app.tenant
        size = len(reply.body)
        if candidate.limited:
            tenant.gate.release(self._turns.now, size)
        tenant.usage.served_late(candidate.index, reply.status, len(call.body), size, since)

    def _failed(self, call: HttpCall, error: Exception) -> Reply:
        return error_reply(as_api_error(call.app.tenant, error))


def as_api_error(tenant: Tenant, error: BaseException) -> ApiError:
    """What an app is told of any failure; one that nobody foresaw is logged and counted."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, LimitExceeded):
        tenant.refused(error.refusal)
        return quota_exceeded(error.refusal)
    tenant.usage.errors += 1
    log.error("request failed", exc_info=error, extra={"app": tenant.id})
    return UNEXPECTED.error(text=f"internal error: {type(error).__name__}; the daemon's log says more")


def quota_exceeded(refusal: Refusal) -> ApiError:
    """Say which limit, whose, how much, and when to try again."""
    error = QUOTA_EXCEEDED.error(
        {
            "@type": QUOTA_FAILURE,
            "violations": [{"subject": refusal.subject, "description": f"{refusal.name} {refusal.allowed:.15g}"}],
        },
        {"@type": RETRY_INFO, "retry_delay": f"{max(refusal.retry_after_seconds, 0.001):.3f}s"},
        text=refusal,
    )
    error.retry_after_seconds = refusal.retry_after_seconds
    return error


def error_reply(error: ApiError) -> Reply:
    """An error on HTTP: shape A or B, with Retry-After where waiting helps."""
    if error.retry_after_seconds is None:
        return Reply(error.http, error.json())
    seconds = b"%d" % max(1, math.ceil(error.retry_after_seconds))
    return Reply(error.http, error.json(), headers=((b"retry-after", seconds),))
