"""How many calls a second from app to app pass through one core? HTTP to HTTP; daprd needs a hop between two."""

from functools import partial

from bench.client import request
from bench.load import Target, h2load, sample
from bench.records import Case, Conditions, Sample, Subject

PATH = "/v1.0/invoke/target/method/orders/1"


def call(subject: Subject, conditions: Conditions) -> Sample:
    """The caller GETs a path of the target app."""
    status, body = request(subject.caller.http, "GET", PATH)
    assert (status, body) == (200, b'{"ok":true}'), (subject.name, status, body)
    return sample(subject, conditions.seconds, partial(h2load, Target(subject.caller.http, PATH)))


CASES = (Case("invoke", "Invocation, app to app, HTTP", call),)
