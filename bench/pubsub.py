"""How many events a second are published and delivered? Counted by the subscribing app, until the last has come."""

import json
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench.app import PUBSUB, TOPIC
from bench.client import request
from bench.load import WARM_UP_SECONDS, Target, cpu_seconds, h2load
from bench.records import Case, Conditions, Sample, Subject

EVENT = b'{"order":1,"quantity":3,"sku":"A-17"}'
_QUIET_SECONDS = 0.5
"""The backlog counts as delivered when no event came for so long."""
_DRAIN_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Count:
    """What the app counted; times by the monotonic clock of this machine."""

    events: int
    first_seconds: float
    last_seconds: float


def _count(port: int) -> Count:
    return Count(**json.loads(request(port, "GET", "/count")[1]))


def _drained(port: int) -> Count:
    """Wait until deliveries have ceased."""
    deadline = time.monotonic() + _DRAIN_SECONDS
    while True:
        count = _count(port)
        if max(count.last_seconds, deadline - _DRAIN_SECONDS) + _QUIET_SECONDS < time.monotonic():
            return count
        if time.monotonic() > deadline:
            return count
        time.sleep(0.05)


def publish_and_deliver(subject: Subject, conditions: Conditions) -> Sample:
    """Publish as fast as it is accepted; rate = events over the time from the first to the last delivery."""
    with tempfile.TemporaryDirectory() as directory:
        body = Path(directory) / "event.json"
        body.write_bytes(EVENT)
        path = f"/v1.0/publish/{PUBSUB}/{TOPIC}"
        headers = ("content-type: application/json",)
        publish = partial(
            h2load, Target(subject.publisher.http, path, body, headers, connections=conditions.connections)
        )
        publish(WARM_UP_SECONDS)
        _drained(subject.app_port)
        request(subject.app_port, "POST", "/reset", b"")
        before = cpu_seconds(subject.pids)
        outcome = publish(conditions.seconds)
        count = _drained(subject.app_port)
    took = max(count.last_seconds - count.first_seconds, 0.001)
    return Sample(
        rate=count.events / took,
        completed=count.events,
        failed=outcome.failed + max(outcome.completed - count.events, 0),
        seconds=took,
        cpu_seconds=cpu_seconds(subject.pids) - before,
        latency_ms=outcome.latency_ms,
    )


CASES = (Case("pubsub", "Publish and deliver, in-memory", publish_and_deliver),)
