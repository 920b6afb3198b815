"""Which gRPC calls the log of calls has, of those that come to no handler of ours.

daprd's log is the last of its interceptors, behind the lists of APIs and the token, and sees a unary call once its
message is read; streams and what is proxied it sees from their beginning. Limits are ours: they are told, as on HTTP.
Source: daprd 1.18 pkg/api/grpc/server.go, getMiddlewareOptions, and its log of the same calls.
"""

import json
import shutil
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import pytest

from tests.daemon.cli_process import until
from tests.daemon.grpc_app import grpc_app
from tests.daemon.server_clients import MEMORY, SERVICE, WAIT_SECONDS, app, resources
from tests.daemon_process import Daemon, end, start, wait_for_socket

TOKEN = ("dapr-api-token", "mine")
GET = SERVICE + "GetState"
SUBSCRIBE = SERVICE + "SubscribeTopicEventsAlpha1"
ASKED = b"\x0a\x06memory\x12\x01k"
"""A GetStateRequest."""
CONFIGURATION = """
apiVersion: dapr.io/v1alpha1
kind: Configuration
metadata: {name: c}
spec:
  logging: {apiLogging: {enabled: true}}
  api: {denied: [{name: metadata, version: v1, protocol: grpc}]}
"""


class Call(NamedTuple):
    """A call that one client makes, and what the log says of it."""

    agent: str
    path: str
    sent: bytes = ASKED
    metadata: tuple[tuple[str, str], ...] = (TOKEN,)
    told: int | None = None
    """The code; None: it is not told."""


CALLS = (
    Call("no-token", GET, metadata=()),
    Call("other-token", GET, metadata=(("dapr-api-token", "yours"),)),
    Call("stream-no-token", SUBSCRIBE, b"", ()),
    Call("unknown-no-token", SERVICE + "Nope", b"", ()),
    Call("proxied-no-token", "/test.Echo/Unary", b"", (("dapr-app-id", "callee"),)),
    Call("denied", SERVICE + "GetMetadata", b""),
    Call("unreadable", GET, b"\xff\xff"),
    Call("too-large", GET, bytes(5000)),
    Call("names-no-app", "/test.Echo/Unary", b""),
    Call("served", GET, told=0),
    Call("unknown", SERVICE + "Nope", b"", told=12),
    Call("proxied", "/test.Echo/Unary", b"", (TOKEN, ("dapr-app-id", "callee")), told=0),
    Call("proxied-to-none", "/test.Echo/Unary", b"", (TOKEN, ("dapr-app-id", "nobody")), told=2),
    Call("stream-unreadable", SUBSCRIBE, b"\xff\xff", told=13),
    Call("stream-without-request", SUBSCRIBE, b"", told=2),
)


class Log:
    """What a daemon that logs calls says of them."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon

    @contextmanager
    def client(self, agent: str, app_id: str = "guarded") -> Iterator[grpc.Channel]:
        options = (("grpc.primary_user_agent", agent),)
        with grpc.insecure_channel(f"unix:{self._daemon.grpc_socket(app_id)}", options=options) as channel:
            yield channel

    def codes(self, agent: str, path: str) -> list[object]:
        """Of one client's calls that ended, in order: another's, made now, comes after them."""
        with self.client(f"after-{agent}") as channel:
            channel.unary_unary(GET, bytes, bytes)(ASKED, metadata=(TOKEN,), timeout=WAIT_SECONDS)
        until(lambda: self._lines(f"after-{agent}"))
        return [each["code"] for each in self._lines(agent) if each["method"] == path]

    def _lines(self, agent: str) -> list[dict[str, object]]:
        whole, _, _ = self._daemon.log().rpartition("\n")
        lines = [json.loads(line) for line in whole.splitlines()]
        return [each for each in lines if str(each.get("useragent")).startswith(f"{agent} ")]


@pytest.fixture(scope="module")
def log() -> Iterator[Log]:
    root = Path(tempfile.mkdtemp(prefix="noded-"))
    (root / "configuration.yaml").write_text(CONFIGURATION)
    flags = ("--config", root / "configuration.yaml", "--log-as-json", "--max-body-size", "4Ki")
    with grpc_app() as callee:
        apps = [app("guarded", apiToken="mine"), app("callee", channel=callee.channel)]
        apps += [app("rated", limits={"requestsPerSecond": 1}), app("narrow", limits={"streams": 1})]
        daemon = Daemon(start(root, resources(MEMORY, *apps), *flags), root)
        try:
            for app_id in ("guarded", "callee", "rated", "narrow"):
                wait_for_socket(daemon.process, daemon.grpc_socket(app_id), daemon.log)
            yield Log(daemon)
        finally:
            end(daemon.process)
            shutil.rmtree(root)


def code_of(call: Any) -> int:
    """How it ended, once its answers are read."""
    with suppress(grpc.RpcError):
        list(call)
    code: int = call.code().value[0]
    return code


@pytest.mark.parametrize("call", CALLS, ids=lambda each: each.agent)
def test_a_call_without_a_handler_is_told_where_daprd_tells_it(log: Log, call: Call) -> None:
    """Not what lists, the token, or the reading of a unary message refuse; but methods and apps that are not there."""
    with log.client(call.agent) as channel:
        stream = channel.stream_stream(call.path, bytes, bytes)
        code = code_of(stream(iter([call.sent]), metadata=call.metadata, timeout=WAIT_SECONDS))

    assert log.codes(call.agent, call.path) == ([] if call.told is None else [call.told])
    assert call.told in {None, code}


def test_a_call_over_a_limit_is_told(log: Log) -> None:
    """Also a repeated one, whose head is known, and which gets no stream unless it must wait."""
    with log.client("rated", "rated") as channel:
        got = [channel.unary_unary(GET, bytes, bytes).future(ASKED).code().value[0] for _ in range(5)]

    assert got.count(grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]) > 1
    assert log.codes("rated", GET) == got


def test_a_stream_over_a_limit_is_told(log: Log) -> None:
    """Of two that are opened at once one is refused by its head, before it has a message; both are told."""
    ends = threading.Event()
    with log.client("narrow", "narrow") as channel:
        subscribe = channel.stream_stream(SUBSCRIBE, bytes, bytes)
        streams = [
            subscribe(iter(lambda: ends.wait(WAIT_SECONDS) and None, None), timeout=WAIT_SECONDS) for _ in range(2)
        ]
        for stream in streams:
            if not stream.add_callback(ends.set):  # it has ended already
                ends.set()
        got = [code_of(stream) for stream in streams]

    assert Counter(log.codes("narrow", SUBSCRIBE)) == Counter(got)
    assert got.count(grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]) == 1
