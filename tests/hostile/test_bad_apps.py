"""Apps that answer garbage, or nothing: their callers are told so, and nobody else notices."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing

import pytest

from tests.daemon.server_clients import MEMORY, app, http, operator, raw, resources
from tests.daemon_process import Daemon, running_daemon
from tests.hostile.bad_app import GRPC, HTTP1, HTTP2, SILENT, bad_app
from tests.hostile.scene import ATTACKER, NEIGHBOUR, attacked

KINDS = {"http": HTTP1, "h2c": HTTP2, "grpc": GRPC}
CALLS = 50


def _names() -> dict[tuple[str, str], str]:
    """{(protocol, kind of garbage): app id}."""
    kinds = [(protocol, kind) for protocol, garbage in KINDS.items() for kind in garbage]
    return {each: f"bad-{number}" for number, each in enumerate([*kinds, ("http", "silent")])}


NAMES = _names()


@pytest.fixture(scope="module")
def crowd() -> Iterator[Daemon]:
    """A daemon whose apps are all bad, but for the caller and a neighbour."""
    with ExitStack() as stack:
        documents: list[Mapping[str, object]] = [MEMORY, app(ATTACKER), app(NEIGHBOUR)]
        for (protocol, kind), name in NAMES.items():
            bad = stack.enter_context(bad_app(KINDS[protocol].get(kind, SILENT)))
            channel = {"protocol": protocol, "address": f"127.0.0.1:{bad.port}"}
            documents.append(app(name, channel=channel))
        apps = dict.fromkeys((ATTACKER, NEIGHBOUR), "default")
        daemon = stack.enter_context(running_daemon(resources(*documents), apps))
        operator(daemon, "/v1/usage")
        yield daemon


@pytest.mark.parametrize(("protocol", "kind"), [key for key in NAMES if key[1] != "silent"])
def test_garbage_is_an_error_of_the_call(crowd: Daemon, protocol: str, kind: str) -> None:
    """Whatever an app answers, a call to it ends in an error, again and again; the daemon keeps nothing of it."""
    name = NAMES[protocol, kind]
    with attacked(crowd), http(crowd, ATTACKER) as client:
        for _ in range(3):
            answer = client("POST", f"/v1.0/invoke/{name}/method/x", b"{}")
            assert answer.status >= 400, answer
    assert "Traceback" not in crowd.log()


def test_an_app_that_never_answers_keeps_its_callers_only(crowd: Daemon) -> None:
    """Calls to it wait; others are served, and what the waiting held is given back when the callers go."""
    name = NAMES["http", "silent"]
    request = b"POST /v1.0/invoke/%b/method/x HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}" % name.encode()
    with attacked(crowd, CALLS * (64 << 10)) as neighbour, ExitStack() as stack:
        callers = [stack.enter_context(closing(raw(crowd.http_socket(ATTACKER)))) for _ in range(CALLS)]
        for caller in callers:
            caller.sendall(request)
        neighbour.is_served()
        for caller in callers:
            caller.settimeout(0.01)
            with pytest.raises(TimeoutError):
                caller.recv(1)
