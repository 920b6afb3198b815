"""The app's API token over HTTP: who is asked for it, and how far it goes. `wire_token` rows hold the form."""

import pytest

from noded.api_token import streams_with_token, with_token
from noded.calls import HttpCall, Reply
from tests.wire.recording_link import Rig

STATE = b"GET /v1.0/state/s/k HTTP/1.1\r\nHost: h\r\n%b\r\n"
MINE = b"Dapr-Api-Token: secret\r\n"


def asked(request: bytes) -> tuple[int, list[HttpCall]]:
    """The status, and what came through."""
    through: list[HttpCall] = []

    def handle(call: HttpCall) -> None:
        through.append(call)
        call.exchange.reply(Reply(200))

    rig = Rig(with_token(b"secret", handle))
    rig.feed(request)
    return rig.answers()[0].status, through


@pytest.mark.parametrize("given", [b"", b"Dapr-Api-Token: \r\n", b"Dapr-Api-Token: secre\r\n"])
def test_who_has_no_token_is_refused(given: bytes) -> None:
    """None, an empty one and another one are alike."""
    assert asked(STATE % given) == (401, [])


def test_the_token_goes_no_further() -> None:
    """It is the app's own: nobody it calls is to see it. Every copy of it is taken off."""
    status, (call,) = asked(STATE % (MINE * 2))
    assert status == 200
    assert [name for name, _ in call.headers] == [b"host"]


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"GET /v1.0/healthz", 200),
        (b"GET /v1.0/healthz/outbound/", 200),
        (b"GET /v1.0/h%65althz", 200),
        (b"POST /v1.0/healthz", 401),
        (b"GET /v1.0/healthz/other", 401),
        (b"GET /v1.0/healthz%zz", 400),
    ],
)
def test_health_is_open_to_all(line: bytes, status: int) -> None:
    """Whoever watches the daemon needs no app's token; only these questions are free."""
    assert asked(b"%b HTTP/1.1\r\nHost: h\r\n\r\n" % line)[0] == status


def test_a_body_is_not_waited_for_where_the_token_is_wrong() -> None:
    """It is not wanted, so the answer need not wait for its end."""
    rig = Rig(with_token(b"secret", lambda _: None), streams_with_token(b"secret", lambda _: False))
    rig.feed(b"POST /v1.0/state/s HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n1")
    assert rig.answers()[0].status == 401
