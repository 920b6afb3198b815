"""Events to an HTTP app: one POST per message, its answer judged, the message settled.

A delivery is a coroutine stepped in place: no task, nothing shared between subscriptions but the app's channel and its
deliveries in flight. It has a deadline; a slow or dead app holds its own credit at the broker and nothing else.
Source: dapr-api.md 1.5; daprd 1.18 pkg/runtime/subscription/postman/http.
"""

import time

import msgspec

from components.contract import Delivery, Message, Verdict
from noded.app import App, PubSubBinding
from noded.calls import Header
from noded.channel_contract import AppChannel, AppResponse, ChannelError
from noded.config.records import SubscriptionSpec
from noded.runtime import events
from noded.runtime.dead_letter import Outcome, conclude
from noded.runtime.deliveries import Deliveries, run
from noded.runtime.events import Event, NotAnEvent
from noded.runtime.routes import Routes

DELIVERY_SECONDS = 60.0
"""An app that has not answered by then has failed the attempt. daprd waits for ever; Envoy's route timeout is 15 s."""

CLOUDEVENTS_JSON = b"application/cloudevents+json"

_decode_answer = msgspec.json.Decoder(dict[str, object]).decode


class HttpSubscription:
    """One topic's consumer at the broker, for one HTTP app."""

    __slots__ = ("_binding", "_channel", "_deliveries", "_headers", "_raw", "_routes", "_spec", "_usage", "closed")

    def __init__(self, app: App, binding: PubSubBinding, spec: SubscriptionSpec, deliveries: Deliveries) -> None:
        assert app.channel is not None, "an app without a channel has no HTTP subscription"
        self._binding = binding
        self._channel: AppChannel = app.channel
        self._spec = spec
        self._deliveries = deliveries
        self._usage = app.tenant.usage
        self._raw = is_raw(spec)
        self._routes = Routes(spec.rules)
        self._headers = _headers(spec.pubsub_name, app.spec.app_token)
        self.closed = False

    def __call__(self, delivery: Delivery) -> None:
        """Take a message from the broker."""
        self._deliveries.start(self, delivery)

    def begin(self, delivery: Delivery) -> None:
        """Send it to the app."""
        run(self._deliver(delivery))

    def close(self) -> None:
        """Begin no more deliveries; those under way go on, though the broker no longer listens."""
        self.closed = True
        self._deliveries.forget(self)

    async def _deliver(self, delivery: Delivery) -> None:
        verdict = Verdict.RETRY
        try:
            outcome = await self._attempt(delivery.message)
            verdict = await conclude(outcome, self._binding, self._spec.dead_letter_topic, delivery.message)
        finally:
            delivery.settle(verdict)
            self._deliveries.done()

    async def _attempt(self, message: Message) -> Outcome:
        """Give the app one message. Bytes that are no event, and events past their time, never reach it."""
        body = message.data
        try:
            if self._raw:
                body, event = events.wrap_raw(message, self._spec.topic, self._spec.pubsub_name)
            else:
                event = events.read(message)
        except NotAnEvent:
            return Outcome.DROPPED
        target = self._routes.choose(event, message, body)
        if target is None or (event.expiration is not None and event.has_expired(time.time())):
            return Outcome.DROPPED
        self._usage.delivered += 1
        return await self._post(target, self._headers_for(message, event), body)

    async def _post(self, target: bytes, headers: tuple[Header, ...], body: bytes) -> Outcome:
        try:
            answer = await self._channel.call(b"POST", target, headers, body, DELIVERY_SECONDS)
        except ChannelError:
            return Outcome.FAILED
        return judge(answer)

    def _headers_for(self, message: Message, event: Event) -> tuple[Header, ...]:
        headers = self._headers + event.trace_headers()
        return (*headers, *events.metadata_headers(message.metadata)) if message.metadata else headers


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
    return spec.metadata.get("rawPayload", "") in {"1", "t", "T", "TRUE", "true", "True"}


def _status(body: bytes) -> str:
    """The `status` of an answer; its name in any case, as Go reads it. "" where there is none or it is no string."""
    try:
        answer = _decode_answer(body)
    except (msgspec.DecodeError, RecursionError):
        return ""
    for name, value in answer.items():
        if name == "status" or name.lower() == "status":
            return value if isinstance(value, str) else ""
    return ""


def _headers(pubsub_name: str, app_token: str | None) -> tuple[Header, ...]:
    headers = ((b"content-type", CLOUDEVENTS_JSON), (b"pubsubname", pubsub_name.encode()))
    return headers if app_token is None else (*headers, (b"dapr-api-token", app_token.encode()))
