"""Events to an HTTP app: one POST per message, its answer judged, the message settled.

A delivery is a request whose answer settles it: no task, nothing shared between subscriptions but the app's channel and
its deliveries in flight. It has a deadline; a slow or dead app holds its own credit at the broker and nothing else.
Source: dapr-api.md 1.5; daprd 1.18 pkg/runtime/subscription/postman/http.
"""

import logging
import time
from typing import ClassVar

import msgspec
from msgspec import Struct

from components.contract import Delivery, Message, Verdict
from noded import gobool
from noded.api.lenient_json import decoded
from noded.app import App, PubSubBinding
from noded.calls import Header
from noded.channel_contract import AppResponse, ChannelError
from noded.channel_exchange import AppCall, AppRequest, GatheringSink
from noded.config.records import SubscriptionSpec
from noded.runtime import events
from noded.runtime.dead_letter import Outcome, conclude
from noded.runtime.deliveries import Deliveries, run
from noded.runtime.events import NotAnEvent
from noded.runtime.match import MatchFailed
from noded.runtime.reception import NO_ANSWER, concluded, http_answered
from noded.runtime.routes import Routes
from noded.wire.http1 import MalformedRequest, header_lines, request_head
from tenancy.use import DROP, SUCCESS, Reception

log = logging.getLogger("noded.deliver")

DELIVERY_SECONDS = 60.0
"""An app that has not answered by then has failed the attempt. daprd waits for ever; Envoy's route timeout is 15 s."""
PLACE_SECONDS = 3600.0
"""How long an event waits for its turn at an app of limited concurrency, before that. daprd waits for ever."""

MAX_ANSWER_BYTES = 16 << 20
"""Of an answer to an event, as of any answer that is gathered; a larger one is a failed attempt."""
CLOUDEVENTS_JSON = b"application/cloudevents+json"

_MAX_PLAIN_HEADS = 1024
"""Of one subscription: heads of plain events, by the size of their bodies; more are forgotten and learnt anew."""
_NO_TRACE_LINES = header_lines(events.NO_TRACE_HEADERS)
_decode_answer = msgspec.json.Decoder(dict[str, object]).decode


class HttpSubscription:
    """One topic's consumer at the broker, for one HTTP app."""

    pausable: ClassVar[bool] = True

    def __init__(self, app: App, binding: PubSubBinding, spec: SubscriptionSpec, deliveries: Deliveries) -> None:
        assert app.channel is not None, "an app without an HTTP channel has no HTTP subscription"
        self._binding = binding
        self._channel = app.channel
        self._spec = spec
        self._deliveries = deliveries
        self._usage = app.tenant.usage
        self.reception = Reception(app.tenant.usage, spec.pubsub_name, spec.topic)
        self._raw = is_raw(spec)
        self._routes = Routes(spec.rules)
        self._headers = _headers(spec.pubsub_name, app.spec.app_token)
        self._heads: dict[bytes, bytes] = {}  # {target: what every head to it begins with}; as many as there are rules
        self._plain_target = None if self._raw else self._routes.only
        self._plain_heads: dict[int, bytes] = {}  # {bytes of the body: head of an event without a trace}
        self.closed = False

    def __call__(self, delivery: Delivery) -> None:
        """Take a message from the broker."""
        self._deliveries.start(self, delivery)

    def begin(self, delivery: Delivery) -> None:
        """Send it to the app. Bytes that are no event, and events past their time, never reach it."""
        try:
            request = self._request(delivery.message)
        except (NotAnEvent, MatchFailed):
            self.conclude(delivery, Outcome.UNFIT)
        except MalformedRequest:
            self.conclude(delivery, Outcome.FAILED)
        except Exception:
            log.exception("delivery failed")  # inside the daemon: the broker redelivers it
            self.settle(delivery, Verdict.RETRY)
        else:
            self._send(delivery, request)

    def close(self) -> None:
        """Begin no more deliveries; those under way go on, though the broker no longer listens."""
        self.closed = True
        self._deliveries.forget(self)

    def conclude(self, delivery: Delivery, outcome: Outcome) -> None:
        """Settle with the broker what an attempt came to."""
        if outcome is Outcome.DONE:
            self.settle(delivery, Verdict.ACK)
        else:
            run(self._conclude(delivery, outcome))

    async def _conclude(self, delivery: Delivery, outcome: Outcome) -> None:
        verdict = Verdict.RETRY
        try:
            verdict = await conclude(outcome, self._binding, self._spec.dead_letter_topic, delivery.message)
            concluded(self.reception, outcome, verdict)
        finally:
            self.settle(delivery, verdict)

    def settle(self, delivery: Delivery, verdict: Verdict) -> None:
        """Give a delivery back to the broker, and let the next begin."""
        delivery.settle(verdict)
        self._deliveries.done()

    def _send(self, delivery: Delivery, request: AppRequest | None) -> None:
        if request is None:
            self.conclude(delivery, Outcome.DROPPED)
            return
        self._usage.delivered += 1
        attempt = _Attempt(self, delivery, len(request.body or b""), self.reception.time.now)
        exchange = self._channel.open(request, attempt, DELIVERY_SECONDS, PLACE_SECONDS)
        if not exchange.closed:
            attempt.exchange = exchange

    def _request(self, message: Message) -> AppRequest | None:
        """The request that gives a message to the app. None: it goes nowhere.

        Raises NotAnEvent, MatchFailed; MalformedRequest where the app's own headers cannot be sent.
        """
        body = message.data
        if message.facts is events.UNTRACED and self._plain_target is not None and not message.metadata:
            return self._plain_request(self._plain_target, body)
        if self._raw:
            body, event = events.wrap_raw(message, self._spec.topic, self._spec.pubsub_name)
        else:
            event = events.read(message)
        target = self._routes.choose(event, message, body)
        if target is None or (event.expiration is not None and event.has_expired(time.time())):
            self.reception.came_to(DROP, SUCCESS if target is None else DROP, self.reception.time.now)
            return None
        trace = event.trace_headers()
        lines = _NO_TRACE_LINES if trace is events.NO_TRACE_HEADERS else header_lines(trace)
        if message.metadata:
            lines += header_lines(events.metadata_headers(message.metadata))
        return AppRequest(b"POST", target, (), body, None, self._head(target, len(body), lines))

    def _plain_request(self, target: bytes, body: bytes) -> AppRequest:
        """As `_request`, for an event that the daemon wrapped and that says nothing which a delivery depends on."""
        size = len(body)
        head = self._plain_heads.get(size)
        if head is None:
            head = self._head(target, size, _NO_TRACE_LINES)
            if len(self._plain_heads) >= _MAX_PLAIN_HEADS:
                self._plain_heads.clear()
            self._plain_heads[size] = head
        return AppRequest(b"POST", target, (), body, None, head)

    def _head(self, target: bytes, size: int, lines: bytes) -> bytes:
        start = self._heads.get(target) or self._start(target)
        return b"%bcontent-length: %d\r\n%b\r\n" % (start, size, lines)

    def _start(self, target: bytes) -> bytes:
        """Write what every head to `target` begins with: all but what is each event's own."""
        start = self._heads[target] = request_head(b"POST", target, self._channel.host, self._headers)[:-2]
        return start


class _Attempt(GatheringSink, Struct, eq=False):
    """One attempt at one message: takes the app's answer."""

    subscription: HttpSubscription
    delivery: Delivery
    sent: int
    """Bytes of the event."""
    since: float
    exchange: AppCall | None = None

    _max_bytes = MAX_ANSWER_BYTES

    def on_answer(self, status: int, headers: list[Header], body: bytes) -> None:
        """Take an answer that is whole at once; an empty success, as most are, says no more than that."""
        if status != 200 or body:
            super().on_answer(status, headers, body)
            return
        self.exchange = None
        self.subscription.reception.taken(self.sent, 0, self.since)
        self.subscription.settle(self.delivery, Verdict.ACK)

    def on_whole(self, status: int, headers: list[Header], body: bytes) -> None:
        """Judge the answer."""
        outcome = judge(AppResponse(status, tuple(headers), body))
        http_answered(self.subscription.reception, outcome, status, (self.sent, len(body)), self.since)
        self.subscription.conclude(self.delivery, outcome)

    def on_error(self, _: ChannelError) -> None:
        """The app did not answer."""
        http_answered(self.subscription.reception, Outcome.FAILED, NO_ANSWER, (self.sent, 0), self.since)
        self.subscription.conclude(self.delivery, Outcome.FAILED)


def judge(answer: AppResponse) -> Outcome:
    """Read an app's answer to an event.

    A success without a status in its body, or with a body that is no JSON object, is a success.
    """
    if not 200 <= answer.status < 300:
        return Outcome.DROPPED if answer.status == 404 else Outcome.FAILED
    match _status(answer.body) if answer.body else "":
        case "" | "SUCCESS":
            return Outcome.DONE
        case "DROP":
            return Outcome.DROPPED
        case _:
            return Outcome.FAILED


def is_raw(spec: SubscriptionSpec) -> bool:
    """Whether the subscriber wants events made from raw payloads."""
    return spec.metadata.get("rawPayload", "") in gobool.TRUE


def says_what_it_takes(spec: SubscriptionSpec) -> bool:
    """Whether `rawPayload` is a word for yes or no, or absent. If not, no event can be made for the subscription."""
    word = spec.metadata.get("rawPayload", "")
    return not word or word in gobool.TRUE or word in gobool.FALSE


def _status(body: bytes) -> str:
    """The `status` of an answer; its name in any case, as Go reads it. "" where there is none or it is no string."""
    try:
        answer = decoded(_decode_answer, body)
    except (msgspec.DecodeError, RecursionError):
        return ""
    for name, value in answer.items():
        if name == "status" or name.lower() == "status":
            return value if isinstance(value, str) else ""
    return ""


def _headers(pubsub_name: str, app_token: str | None) -> tuple[Header, ...]:
    headers = ((b"content-type", CLOUDEVENTS_JSON), (b"pubsubname", pubsub_name.encode()))
    return headers if app_token is None else (*headers, (b"dapr-api-token", app_token.encode()))
