"""How many calls a second from app to app pass through one core? HTTP to HTTP; daprd needs a hop between two."""

from bench.client import request
from bench.load import Target, sample_target
from bench.records import Case, Conditions, Sample, Subject

PATH = "/v1.0/invoke/target/method/orders/1"


def call(subject: Subject, conditions: Conditions) -> Sample:
    """The caller GETs a path of the target app."""
    status, body = request(subject.caller.http, "GET", PATH)
    assert (status, body) == (200, b'{"ok":true}'), (subject.name, status, body)
    target = Target(subject.caller.http, PATH, connections=conditions.connections)
    return sample_target(subject, conditions.seconds, target)


CASES = (Case("invoke", "Invocation, app to app, HTTP", call),)
