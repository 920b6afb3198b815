"""Proxying of apps' own gRPC services: a caller finds its callee's service on its own socket, as if it were there."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import grpc
import pytest
from google.protobuf import any_pb2
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from tests.daemon.grpc_app import WAIT_SECONDS, GrpcApp, Metadata, grpc_app
from tests.daemon.server_clients import app, eventually, grpc_client, resources, used
from tests.daemon_process import Daemon, running_daemon

TO_CALLEE = (("dapr-app-id", "callee"),)
APPS = {"caller": "default", "callee": "default", "guarded": "default", "narrow": "default"}


class Caller:
    """An app that calls: messages are bytes."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._channel = channel

    def unary_unary(self, method: str) -> Any:
        return self._channel.unary_unary(method, bytes, bytes)

    def unary_stream(self, method: str) -> Any:
        return self._channel.unary_stream(method, bytes, bytes)

    def stream_unary(self, method: str) -> Any:
        return self._channel.stream_unary(method, bytes, bytes)

    def stream_stream(self, method: str) -> Any:
        return self._channel.stream_stream(method, bytes, bytes)


@contextmanager
def caller(daemon: Daemon, app_id: str, **options: Any) -> Iterator[Caller]:
    with grpc_client(daemon, app_id, **options) as connected:
        yield Caller(connected.channel)


@pytest.fixture(scope="module")
def callee() -> Iterator[GrpcApp]:
    with grpc_app() as served:
        yield served


@pytest.fixture(scope="module")
def blue() -> Iterator[GrpcApp]:
    with grpc_app() as served:
        yield served


@pytest.fixture(scope="module")
def absent() -> Iterator[GrpcApp]:
    with grpc_app(listening=False) as served:
        yield served


@pytest.fixture(scope="module")
def daemon(callee: GrpcApp, blue: GrpcApp, absent: GrpcApp) -> Iterator[Daemon]:
    described = resources(
        app("caller"),
        app("guarded", apiToken="mine"),
        app("callee", channel=callee.channel, appToken="yours"),
        app("callee", "blue", channel=blue.channel),
        app("absent", channel=absent.channel),
        app("mute"),
        app("narrow", limits={"streams": 1, "concurrentRequests": 2}),
    )
    with running_daemon(described, APPS) as running:
        yield running


@pytest.fixture
def client(daemon: Daemon) -> Iterator[Caller]:
    with caller(daemon, "caller") as connected:
        yield connected


def failure(call: Any) -> tuple[grpc.StatusCode, str]:
    """How a unary call failed."""
    with pytest.raises(grpc.RpcError) as failed:
        call.result(timeout=WAIT_SECONDS)
    error = cast("grpc.Call", failed.value)
    return error.code(), error.details() or ""


def broken_off(answers: Iterator[bytes]) -> tuple[grpc.StatusCode, str]:
    """How a stream failed, whatever came before."""
    with pytest.raises(grpc.RpcError) as failed:
        list(answers)
    error = cast("grpc.Call", failed.value)
    return error.code(), error.details() or ""


def refused(client: Caller, method: str, metadata: tuple[tuple[str, str], ...]) -> tuple[grpc.StatusCode, str]:
    return failure(client.unary_unary(method).future(b"", metadata=metadata, timeout=WAIT_SECONDS))


# The four kinds of call.


def test_a_unary_call_passes(client: Caller) -> None:
    """A request and its answer arrive as they were sent."""
    assert client.unary_unary("/test.Echo/Unary")(b"hello", metadata=TO_CALLEE, timeout=WAIT_SECONDS) == b"hello"


def test_an_empty_message_is_a_message(client: Caller) -> None:
    """A message of no bytes is not the absence of one."""
    assert client.unary_unary("/test.Echo/Unary")(b"", metadata=TO_CALLEE, timeout=WAIT_SECONDS) == b""


def test_a_server_stream_passes(client: Caller) -> None:
    """Every message of an answer arrives, in order, and then its end."""
    answers = client.unary_stream("/test.Echo/Count")(b"500", metadata=TO_CALLEE, timeout=WAIT_SECONDS)
    assert [int(each) for each in answers] == list(range(500))


def test_a_client_stream_passes(client: Caller) -> None:
    """Every message of a request arrives, and its end lets the app answer."""
    messages = iter([b"x" * 100_000] * 20)
    assert client.stream_unary("/test.Echo/Join")(messages, metadata=TO_CALLEE, timeout=WAIT_SECONDS) == b"2000000"


def test_a_bidirectional_stream_passes(client: Caller) -> None:
    """Each side may answer the other's messages while both are open; half-closing ends the call in order."""
    answered = threading.Semaphore(0)

    def ask() -> Iterator[bytes]:
        for number in range(50):
            yield b"%d" % number
            assert answered.acquire(timeout=WAIT_SECONDS)

    answers = []
    for message in client.stream_stream("/test.Echo/Chat")(ask(), metadata=TO_CALLEE, timeout=WAIT_SECONDS):
        answers.append(message)
        answered.release()

    assert answers == [b"re: %d" % number for number in range(50)]


# What goes with a call.


def test_metadata_and_trailers_pass_both_ways(client: Caller, callee: GrpcApp) -> None:
    """Names and values arrive as sent, binary ones too."""
    metadata = (*TO_CALLEE, ("x-mine", "a b"), ("x-mine-bin", b"\0\xff\1"), ("traceparent", "as it is"))
    _, call = client.unary_unary("/test.Echo/Unary").with_call(b"", metadata=metadata, timeout=WAIT_SECONDS)

    got = callee.metadata[-1]
    assert (got["x-mine"], got["x-mine-bin"], got["traceparent"]) == ("a b", b"\0\xff\1", "as it is")
    assert dict(call.initial_metadata()) == {"x-initial": "i", "x-initial-bin": b"\0\1"}
    assert dict(call.trailing_metadata()) == {"x-trailing": "t", "x-trailing-bin": b"\2\xff"}


def about_dapr(metadata: Metadata) -> Metadata:
    return {name: value for name, value in metadata.items() if name.startswith("dapr-")}


def test_who_calls_whom_is_the_daemons_to_say(daemon: Daemon, callee: GrpcApp) -> None:
    """The callee learns its caller from the daemon and gets its own token; what a caller sends of these is dropped."""
    lies = (("dapr-caller-app-id", "liar"), ("dapr-caller-namespace", "liar"), ("dapr-api-token", "mine"))
    with caller(daemon, "guarded") as client:
        client.unary_unary("/test.Echo/Unary")(b"", metadata=(*TO_CALLEE, *lies), timeout=WAIT_SECONDS)

    assert about_dapr(callee.metadata[-1]) == {
        "dapr-caller-app-id": "guarded",
        "dapr-caller-namespace": "default",
        "dapr-callee-app-id": "callee",
        "dapr-api-token": "yours",
    }


def test_an_api_token_is_asked_for(daemon: Daemon) -> None:
    """A guarded app's socket refuses a proxied call without its token, as it does any other."""
    with caller(daemon, "guarded") as client:
        assert refused(client, "/test.Echo/Unary", TO_CALLEE) == (
            grpc.StatusCode.UNAUTHENTICATED,
            "Unauthorized",
        )


def test_a_status_passes_with_its_details(client: Caller) -> None:
    """Code, text, details and trailers of a failure are the app's own."""
    packed = any_pb2.Any()
    packed.Pack(ErrorInfo(reason="BECAUSE", domain="test"))
    details = Status(code=5, message="not here: 100 % é", details=[packed]).SerializeToString()
    call = client.unary_unary("/test.Echo/Fail").future(details, metadata=TO_CALLEE, timeout=WAIT_SECONDS)

    assert failure(call) == (grpc.StatusCode.NOT_FOUND, "not here: 100 % é")
    assert dict(call.trailing_metadata()) == {"grpc-status-details-bin": details, "x-trailing": "t"}


def test_compressed_messages_pass(daemon: Daemon) -> None:
    """Compression is between the two apps: flag and encoding pass with the bytes."""
    with caller(daemon, "caller", compression=grpc.Compression.Gzip) as client:
        message = b"again and " * 10_000
        assert client.unary_unary("/test.Echo/Unary")(message, metadata=TO_CALLEE, timeout=15) == message


# How calls end early.


def test_a_deadline_reaches_the_app_and_holds(client: Caller, callee: GrpcApp) -> None:
    """The app knows how long its caller waits; then the caller is told and the app's side is cancelled."""
    callee.cancelled.clear()
    call = client.unary_unary("/test.Echo/Hang").future(b"", metadata=TO_CALLEE, timeout=1.0)

    assert failure(call)[0] == grpc.StatusCode.DEADLINE_EXCEEDED
    assert callee.cancelled.wait(WAIT_SECONDS)
    left = callee.deadlines[-1]
    assert left is not None
    assert 0 < left < 2.0


def test_cancelling_reaches_the_app(client: Caller, callee: GrpcApp) -> None:
    """A caller that cancels a stream ends it at the app too."""
    callee.cancelled.clear()
    answers = client.unary_stream("/test.Echo/Endless")(b"10", metadata=TO_CALLEE)
    next(answers)
    answers.cancel()

    assert callee.cancelled.wait(WAIT_SECONDS)


def test_a_caller_that_dies_ends_its_calls(daemon: Daemon, callee: GrpcApp) -> None:
    """When a caller's connection closes, its streams end at the app."""
    callee.cancelled.clear()
    with caller(daemon, "caller") as client:
        next(client.unary_stream("/test.Echo/Endless")(b"10", metadata=TO_CALLEE))

    assert callee.cancelled.wait(WAIT_SECONDS)


def test_an_app_that_dies_is_unavailable_and_may_come_back(client: Caller, absent: GrpcApp) -> None:
    """An app not up yet, or gone in the middle of a call, is UNAVAILABLE; it is found as soon as it is up."""
    to_absent = (("dapr-app-id", "absent"),)
    unary = client.unary_unary("/test.Echo/Unary")
    code, text = failure(unary.future(b"", metadata=to_absent, timeout=WAIT_SECONDS))
    assert code == grpc.StatusCode.UNAVAILABLE
    assert "cannot reach the app" in text

    absent.start()
    assert unary(b"1", metadata=to_absent, timeout=WAIT_SECONDS) == b"1"
    answers = client.unary_stream("/test.Echo/Endless")(b"10", metadata=to_absent, timeout=WAIT_SECONDS)
    next(answers)
    absent.stop()
    assert broken_off(answers)[0] in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}

    absent.start()
    assert unary(b"2", metadata=to_absent, timeout=WAIT_SECONDS) == b"2"


# Whom a call names.


def test_the_callees_name_goes_before_the_apps(client: Caller) -> None:
    """dapr-callee-app-id is asked first, dapr-app-id where there is none."""
    both = (("dapr-app-id", "nobody"), ("dapr-callee-app-id", "callee"))
    assert client.unary_unary("/test.Echo/Unary")(b"1", metadata=both, timeout=WAIT_SECONDS) == b"1"


def test_a_name_may_have_a_namespace(client: Caller, callee: GrpcApp, blue: GrpcApp) -> None:
    """`app.namespace` is that namespace's app; `app` is the one of the caller's own."""
    before = len(callee.metadata)
    client.unary_unary("/test.Echo/Unary")(b"", metadata=(("dapr-app-id", "callee.blue"),), timeout=WAIT_SECONDS)

    assert len(callee.metadata) == before
    assert blue.metadata[-1]["dapr-caller-namespace"] == "default"


def test_an_app_may_call_itself(daemon: Daemon) -> None:
    """An app's own service is found under its own name."""
    with caller(daemon, "callee") as client:
        assert client.unary_unary("/test.Echo/Unary")(b"me", metadata=TO_CALLEE, timeout=15) == b"me"


@pytest.mark.parametrize(
    ("named", "code", "text"),
    [
        ("nope", grpc.StatusCode.UNKNOWN, "timeout waiting for address for app id nope"),
        ("callee.red", grpc.StatusCode.UNKNOWN, "timeout waiting for address for app id callee"),
        ("a.b.c", grpc.StatusCode.UNKNOWN, "invalid app id a.b.c"),
        ("", grpc.StatusCode.UNKNOWN, "app id is empty"),
        ("mute", grpc.StatusCode.UNAVAILABLE, "app mute has no gRPC channel"),
    ],
)
def test_a_name_that_leads_nowhere(client: Caller, named: str, code: grpc.StatusCode, text: str) -> None:
    """A call that finds no app says why, in daprd's words where daprd has some."""
    assert refused(client, "/test.Echo/Unary", (("dapr-app-id", named),)) == (code, text)


def test_a_call_without_a_name_goes_nowhere(client: Caller) -> None:
    """A foreign service without an app's name is UNKNOWN."""
    text = "cannot proxy request: missing dapr-callee-app-id or dapr-app-id metadata"
    assert refused(client, "/test.Echo/Unary", ()) == (grpc.StatusCode.UNKNOWN, text)


def test_a_method_the_app_does_not_have_is_the_apps_to_refuse(client: Caller) -> None:
    """UNIMPLEMENTED comes from the app."""
    assert refused(client, "/test.Echo/Nope", TO_CALLEE) == (grpc.StatusCode.UNIMPLEMENTED, "Method not found!")


@pytest.mark.parametrize("method", ["/dapr.proto.runtime.v1.Dapr/Nope", "/TaskHubSidecarService/Hello"])
def test_the_runtimes_own_services_are_never_proxied(client: Caller, method: str) -> None:
    """A method of Dapr's API that is not served here is UNIMPLEMENTED, whatever app the call names."""
    assert refused(client, method, TO_CALLEE)[0] == grpc.StatusCode.UNIMPLEMENTED


# Limits.


def test_a_message_over_the_limit_is_refused(client: Caller) -> None:
    """A message may have the size of any other request's body, and no more."""
    call = client.unary_unary("/test.Echo/Unary").future(bytes(5 << 20), metadata=TO_CALLEE, timeout=WAIT_SECONDS)
    text = "grpc: received message larger than max (5242880 vs. 4194304)"
    assert failure(call) == (grpc.StatusCode.RESOURCE_EXHAUSTED, text)


def test_an_answer_over_the_limit_is_refused(client: Caller) -> None:
    """The same holds for an app's answer."""
    answers = client.unary_stream("/test.Echo/Endless")(b"%d" % (5 << 20), metadata=TO_CALLEE, timeout=WAIT_SECONDS)
    assert broken_off(answers)[0] == grpc.StatusCode.RESOURCE_EXHAUSTED


def test_streams_are_counted(daemon: Daemon) -> None:
    """A call of more than one message is one of its caller's streams while it lasts; others pass beside it."""
    with caller(daemon, "narrow") as client:
        endless = client.unary_stream("/test.Echo/Endless")
        first = endless(b"10", metadata=TO_CALLEE)
        next(first)
        next(first)
        assert used(daemon, "default/narrow")["streams"]["used"] == 1

        second = broken_off(endless(b"10", metadata=TO_CALLEE, timeout=WAIT_SECONDS))
        assert second[0] == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "streams" in second[1]
        assert client.unary_unary("/test.Echo/Unary")(b"1", metadata=TO_CALLEE, timeout=15) == b"1"

        first.cancel()
        eventually(lambda: used(daemon, "default/narrow")["streams"]["used"] == 0)
        assert len(list(client.unary_stream("/test.Echo/Count")(b"3", metadata=TO_CALLEE, timeout=15))) == 3


def test_a_declared_stream_is_counted_at_once(daemon: Daemon) -> None:
    """With dapr-stream a call is a stream before its first message."""
    with caller(daemon, "narrow") as client:
        hang = client.unary_unary("/test.Echo/Hang")
        declared = (*TO_CALLEE, ("dapr-stream", "true"))
        first = hang.future(b"", metadata=declared, timeout=WAIT_SECONDS)
        eventually(lambda: used(daemon, "default/narrow")["streams"]["used"] == 1)

        assert refused(client, "/test.Echo/Unary", declared)[0] == grpc.StatusCode.RESOURCE_EXHAUSTED
        first.cancel()
        eventually(lambda: used(daemon, "default/narrow")["streams"]["used"] == 0)


def test_requests_are_counted(daemon: Daemon) -> None:
    """Calls under way are requests of their caller's, and end with it."""
    with caller(daemon, "narrow") as client:
        hang = client.unary_unary("/test.Echo/Hang")
        under_way = [hang.future(b"", metadata=TO_CALLEE, timeout=WAIT_SECONDS) for _ in range(2)]
        eventually(lambda: used(daemon, "default/narrow")["concurrentRequests"]["used"] == 2)

        code, text = refused(client, "/test.Echo/Unary", TO_CALLEE)
        assert (code, "concurrentRequests" in text) == (grpc.StatusCode.RESOURCE_EXHAUSTED, True)
        for call in under_way:
            call.cancel()
        eventually(lambda: used(daemon, "default/narrow")["concurrentRequests"]["used"] == 0)


# Memory.


def resident_bytes(daemon: Daemon) -> int:
    status = Path(f"/proc/{daemon.process.pid}/status").read_text(encoding="ascii")
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) << 10


def test_a_slow_caller_slows_the_app_and_keeps_no_memory(daemon: Daemon, client: Caller, callee: GrpcApp) -> None:
    """What a caller does not read stays with the app: the daemon holds a window of it, not the rest."""
    before, produced = resident_bytes(daemon), callee.produced
    streams = []
    for _ in range(8):
        answers = client.unary_stream("/test.Echo/Endless")(b"%d" % (1 << 20), metadata=TO_CALLEE)
        next(answers)
        streams.append(answers)
    eventually(lambda: _stands_still(callee))

    assert resident_bytes(daemon) - before < 20 << 20
    assert callee.produced - produced < 8 * 64
    assert client.unary_unary("/test.Echo/Unary")(b"1", metadata=TO_CALLEE, timeout=WAIT_SECONDS) == b"1"
    for answers in streams:
        answers.cancel()


def _stands_still(callee: GrpcApp) -> bool:
    produced = callee.produced
    return not threading.Event().wait(0.2) and callee.produced == produced


def test_a_large_stream_passes_in_little_memory(daemon: Daemon, client: Caller) -> None:
    """A quarter of a GiB goes through in a window's memory."""
    before = resident_bytes(daemon)
    messages = (bytes(1 << 20) for _ in range(256))
    joined = client.stream_unary("/test.Echo/Join")(messages, metadata=TO_CALLEE, timeout=60)

    assert joined == b"%d" % (256 << 20)
    assert resident_bytes(daemon) - before < 20 << 20
