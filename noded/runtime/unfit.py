"""A subscription whose `rawPayload` is no word for yes or no: no message of it reaches the app, each one fails.

As in daprd it stands, and is listed: a failed message goes to the dead letter topic, or back to the broker.
Source: daprd 1.18 pkg/runtime/subscription/subscription.go.
"""

from typing import ClassVar

from components.contract import Delivery, Verdict
from noded.app import App, PubSubBinding
from noded.config.records import SubscriptionSpec
from noded.runtime.dead_letter import Outcome, conclude
from noded.runtime.deliveries import Deliveries, run
from noded.runtime.reception import concluded
from tenancy.use import Reception


class UnfitSubscription:
    """One topic's consumer at the broker, of which nothing can be made."""

    __slots__ = ("_binding", "_deliveries", "_reception", "_spec", "closed")

    pausable: ClassVar[bool] = True

    def __init__(self, app: App, binding: PubSubBinding, spec: SubscriptionSpec, deliveries: Deliveries) -> None:
        self._binding = binding
        self._spec = spec
        self._deliveries = deliveries
        self._reception = Reception(app.tenant.usage, spec.pubsub_name, spec.topic)
        self.closed = False

    def __call__(self, delivery: Delivery) -> None:
        """Take a message from the broker."""
        self._deliveries.start(self, delivery)

    def begin(self, delivery: Delivery) -> None:
        """Fail it."""
        run(self._fail(delivery))

    def close(self) -> None:
        """Take no more."""
        self.closed = True
        self._deliveries.forget(self)

    async def _fail(self, delivery: Delivery) -> None:
        verdict = Verdict.RETRY
        try:
            verdict = await conclude(Outcome.UNFIT, self._binding, self._spec.dead_letter_topic, delivery.message)
            concluded(self._reception, Outcome.UNFIT, verdict)
        finally:
            delivery.settle(verdict)
            self._deliveries.done()
