"""What follows from the outcome of a delivery: acknowledged, redelivered, or sent to the dead letter topic.

Without a resiliency policy a failure is final at its first attempt where there is a dead letter topic, as in daprd;
without one the broker redelivers. Source: dapr-api.md 1.5; daprd 1.18 pkg/runtime/subscription/subscription.go.
"""

from enum import Enum

from components.contract import ComponentError, Message, Verdict
from noded.app import PubSubBinding


class Outcome(Enum):
    """What became of one attempt."""

    DONE = "done"
    DROPPED = "dropped"
    """The app, or the event itself, says that another attempt is useless."""
    FAILED = "failed"
    """Another attempt may succeed."""
    UNFIT = "unfit"
    """No event can be made of it, or no route found: the app was not called. The broker decides, as for a failure."""


async def conclude(outcome: Outcome, binding: PubSubBinding, dead_letter_topic: str, message: Message) -> Verdict:
    """Settle with the broker what an outcome means. An event that cannot be dead-lettered comes again."""
    if outcome is Outcome.DONE:
        return Verdict.ACK
    if dead_letter_topic:
        return await _dead_letter(binding, dead_letter_topic, message)
    return Verdict.ACK if outcome is Outcome.DROPPED else Verdict.RETRY


async def _dead_letter(binding: PubSubBinding, topic: str, message: Message) -> Verdict:
    """Publish the broker's own bytes to another topic of the same broker."""
    if not binding.scopes.may_publish(topic):
        return Verdict.RETRY
    try:
        await binding.broker.publish(binding.names.topic(topic), message)
    except ComponentError:
        return Verdict.RETRY
    return Verdict.ACK
