"""Limits of a running daemon: what is refused, how it is told, and what is counted, over HTTP and gRPC."""

import queue
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from itertools import chain
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import QuotaFailure, RetryInfo
from grpc_status import rpc_status

from noded.proto import metadata_pb2, pubsub_pb2, state_pb2
from tests.daemon.server_clients import (
    MEMORY,
    PUBSUB,
    SQLITE,
    Answer,
    GrpcClient,
    HttpClient,
    app,
    eventually,
    grpc_client,
    http,
    operator,
    quota,
    raw,
    read_all,
    recording_app,
    resources,
    used,
)
from tests.daemon_process import Daemon, running_daemon, start, wait_for_socket, write_resources

LIMITS: dict[str, dict[str, object]] = {
    "free": {},
    "rated": {"requestsPerSecond": 2},
    "rated-grpc": {"requestsPerSecond": 2},
    "flooding": {"requestsPerSecond": 2},
    "connected": {"connections": 2},
    "streaming": {"streams": 1},
    "small": {"requestBytes": 1000},
    "storing": {"stateKeys": 3, "stateBytes": 200},
}
APPS = [app(name, limits=limits) for name, limits in LIMITS.items()]
QUOTED = [app("one", "team"), app("two", "team")]
QUOTAS = [quota("team", "team", perApp={"stateKeys": 2}, total={"stateKeys": 3})]
NAMES = {**dict.fromkeys(LIMITS, "default"), "one": "team", "two": "team"}


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with running_daemon(resources(SQLITE, MEMORY, PUBSUB, *APPS, *QUOTED, *QUOTAS), NAMES) as running:
        yield running


def details_of(error: grpc.RpcError) -> tuple[QuotaFailure, RetryInfo]:
    status = rpc_status.from_call(error)  # type: ignore[arg-type]
    assert status is not None
    failure, retry = QuotaFailure(), RetryInfo()
    assert status.details[0].Unpack(failure)
    assert status.details[1].Unpack(retry)
    return failure, retry


def save(client: HttpClient, key: str, value: object, store: str = "statestore", **item: object) -> Answer:
    return client("POST", f"/v1.0/state/{store}", [{"key": key, "value": value, **item}])


def test_a_rate_is_refused_with_429_and_when_to_come_again(daemon: Daemon) -> None:
    """Two a second, a burst of two: the third is told which limit, whose, how much, and when; then it is served."""
    with http(daemon, "rated") as client:
        answers = [client("GET", "/v1.0/metadata") for _ in range(6)]
        refused = [answer for answer in answers if answer.status == 429]
        assert refused
        told = refused[0].json
        assert told["errorCode"] == "ERR_QUOTA_EXCEEDED"
        assert int(refused[0].headers["retry-after"]) >= 1
        details = told["details"]
        assert isinstance(details, list)
        failure, retry = details
        assert failure["@type"] == "type.googleapis.com/google.rpc.QuotaFailure"
        assert failure["violations"] == [{"subject": "default/rated", "description": "requestsPerSecond 2"}]
        assert retry["@type"] == "type.googleapis.com/google.rpc.RetryInfo"
        time.sleep(float(retry["retry_delay"].rstrip("s")))
        assert client("GET", "/v1.0/metadata").status == 200
        assert client("GET", "/v1.0/healthz/outbound").status == 204, "health is not limited"
    assert used(daemon, "default/rated")["requestsPerSecond"]["refused"] == len(refused)


def test_a_rate_on_grpc_is_resource_exhausted_with_the_same_details(daemon: Daemon) -> None:
    """The status carries QuotaFailure and RetryInfo in its details, as clients decode them."""
    with grpc_client(daemon, "rated-grpc") as client:
        error = next(error for _ in range(10) if (error := failure_of(client)) is not None)
        assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        failure, retry = details_of(error)
        assert failure.violations[0].subject == "default/rated-grpc"
        assert failure.violations[0].description == "requestsPerSecond 2"
        assert retry.retry_delay.ToTimedelta().total_seconds() > 0


def failure_of(client: GrpcClient) -> grpc.RpcError | None:
    """Make a call; why it failed."""
    try:
        client("GetMetadata", metadata_pb2.GetMetadataRequest())
    except grpc.RpcError as error:
        return error
    return None


def test_one_apps_rate_is_not_anothers(daemon: Daemon) -> None:
    """While one is refused, its neighbour is served."""
    with http(daemon, "flooding") as rated, http(daemon, "free") as free:
        eventually(lambda: rated("GET", "/v1.0/metadata").status, lambda status: status == 429)
        assert [free("GET", "/v1.0/metadata").status for _ in range(20)] == [200] * 20


def test_connections_over_the_limit_are_closed(daemon: Daemon) -> None:
    """HTTP and gRPC sockets count together; a connection that ends makes room; the refusal is an event."""
    with ExitStack() as open_:
        first = open_.enter_context(http(daemon, "connected"))
        assert first("GET", "/v1.0/metadata").status == 200
        held = open_.enter_context(closing(raw(daemon.grpc_socket("connected"))))
        eventually(lambda: used(daemon, "default/connected")["connections"]["used"], lambda count: count == 2)
        with closing(raw(daemon.http_socket("connected"))) as third:
            assert read_all(third) == b""
        assert used(daemon, "default/connected")["connections"]["refused"] == 1
        held.close()
        eventually(lambda: used(daemon, "default/connected")["connections"]["used"], lambda count: count == 1)
        with http(daemon, "connected") as again:
            assert again("GET", "/v1.0/metadata").status == 200
    events = operator(daemon, "/v1/events")
    assert isinstance(events, list)
    assert ("default/connected", "connections") in [(event["tenant"], event["limit"]) for event in events]


def test_streams_over_the_limit_are_refused(daemon: Daemon) -> None:
    """One stream at a time: the second is RESOURCE_EXHAUSTED, and served once the first has ended."""

    def subscribe(client: GrpcClient) -> Any:
        asked = pubsub_pb2.SubscribeTopicEventsRequestInitialAlpha1(pubsub_name="pubsub", topic="t")
        request = pubsub_pb2.SubscribeTopicEventsRequestAlpha1(initial_request=asked).SerializeToString()
        return client.stream(chain([request], iter(queue.SimpleQueue[bytes]().get, None)))

    with grpc_client(daemon, "streaming") as client:
        first = subscribe(client)
        next(first)
        with pytest.raises(grpc.RpcError) as caught:
            next(subscribe(client))
        assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert details_of(caught.value)[0].violations[0].description == "streams 1"
        first.cancel()
        eventually(lambda: used(daemon, "default/streaming")["streams"]["used"], lambda count: count == 0)
        next(subscribe(client))


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (("POST", "/v1.0/state/statestore"), (400, "ERR_MALFORMED_REQUEST")),
        (("POST", "/v1.0/state/statestore/bulk"), (400, "ERR_MALFORMED_REQUEST")),
        (("POST", "/v1.0/state/statestore/transaction"), (400, "ERR_MALFORMED_REQUEST")),
        (("POST", "/v1.0-alpha1/state/statestore/query"), (400, "ERR_BODY_READ")),
        (("PUT", "/v1.0/metadata/k"), (400, "ERR_BODY_READ")),
        (("POST", "/v1.0/publish/pubsub/t"), (500, "ERR_PUBSUB_PUBLISH_MESSAGE")),
        (("POST", "/v1.0/invoke/small/method/x"), (500, "ERR_DIRECT_INVOKE")),
        (("POST", "/v1.0/nothing"), (404, "ERR_DIRECT_INVOKE")),
        (("GET", "/v1.0/state/statestore/k"), (204, None)),
        (("DELETE", "/v1.0/state/statestore/k"), (204, None)),
        (("GET", "/v1.0/healthz"), (204, None)),
    ],
)
@pytest.mark.parametrize("size", [1001, 100_000])
def test_a_body_over_the_limit_is_a_read_error_of_its_route(
    daemon: Daemon, asked: tuple[str, str], told: tuple[int, str | None], size: int
) -> None:
    """As daprd answers it, route by route, never 413; where the body means nothing it is ignored."""
    with http(daemon, "small") as client:
        answer = client(*asked, b"1" * size)
        assert (answer.status, answer.json["errorCode"] if answer.body else None) == told


def test_a_grpc_message_over_the_limit_is_resource_exhausted(daemon: Daemon) -> None:
    """The message names both sizes; the channel lives on."""
    with grpc_client(daemon, "small") as client:
        big = state_pb2.SaveStateRequest(store_name="statestore")
        big.states.add(key="k", value=bytes(2000))
        with pytest.raises(grpc.RpcError) as caught:
            client("SaveState", big)
        assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        client("GetMetadata", metadata_pb2.GetMetadataRequest())


def test_requests_at_one_moment_are_bounded() -> None:
    """While one request is being answered the second is refused, HTTP or gRPC; afterwards there is room again."""
    with recording_app("slow") as callee:
        busy = app("a", channel=callee.channel, limits={"concurrentRequests": 1})
        with ExitStack() as open_:
            daemon = open_.enter_context(running_daemon(resources(busy), {"a": "default"}))
            first, second = (open_.enter_context(http(daemon, "a")) for _ in range(2))
            caller = open_.enter_context(grpc_client(daemon, "a"))
            pool = open_.enter_context(ThreadPoolExecutor(1))
            calling = pool.submit(first, "GET", "/v1.0/invoke/a/method/slow")
            eventually(lambda: callee.at("/slow"))
            refused = second("GET", "/v1.0/metadata")
            assert refused.status == 429
            assert "concurrentRequests" in str(refused.json["message"])
            error = failure_of(caller)
            assert error is not None
            assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
            assert second("GET", "/v1.0/healthz/outbound").status == 204, "health is not limited"
            assert calling.result(10).status == 200
            assert second("GET", "/v1.0/metadata").status == 200


# Stored data: exact.


def stored(daemon: Daemon, subject: str) -> tuple[float, float]:
    usage = used(daemon, subject)
    return usage.get("stateKeys", {"used": 0})["used"], usage.get("stateBytes", {"used": 0})["used"]


def cost(app_id: str, key: str, value: str, namespace: str = "default") -> int:
    """Bytes of the whole key and of the value as JSON."""
    return len(f"{namespace}.{app_id}||{key}") + len(value) + 2


def test_stored_keys_and_bytes_are_exact(daemon: Daemon) -> None:
    """An overwrite is charged its difference, a delete gives all back, a refusal changes nothing."""
    with http(daemon, "storing") as client:
        assert save(client, "a", "x" * 10).status == 204
        assert stored(daemon, "default/storing") == (1, cost("storing", "a", "x" * 10))
        assert save(client, "a", "y" * 30).status == 204
        assert stored(daemon, "default/storing") == (1, cost("storing", "a", "y" * 30))
        refused = save(client, "b", "z" * 200)
        assert (refused.status, refused.json["errorCode"]) == (429, "ERR_QUOTA_EXCEEDED")
        assert "stateBytes" in str(refused.json["message"])
        assert stored(daemon, "default/storing") == (1, cost("storing", "a", "y" * 30))
        assert save(client, "a", "z" * 300).status == 429
        assert client("GET", "/v1.0/state/statestore/a").body == b'"' + b"y" * 30 + b'"', "the old value stands"
        assert client("DELETE", "/v1.0/state/statestore/a").status == 204
        assert stored(daemon, "default/storing") == (0, 0)


def test_many_at_once_are_all_or_nothing(daemon: Daemon) -> None:
    """A transaction that does not fit leaves nothing; one that frees as much as it takes fits."""
    with http(daemon, "storing") as client:

        def transact(*operations: tuple[str, str]) -> Answer:
            listed = [{"operation": what, "request": {"key": key, "value": "v"}} for what, key in operations]
            return client("POST", "/v1.0/state/statestore/transaction", {"operations": listed})

        assert transact(("upsert", "a"), ("upsert", "b"), ("upsert", "c"), ("upsert", "d")).status == 429
        assert stored(daemon, "default/storing") == (0, 0)
        assert transact(("upsert", "a"), ("upsert", "b"), ("upsert", "c")).status == 204
        assert transact(("delete", "a"), ("upsert", "d")).status == 204
        assert stored(daemon, "default/storing")[0] == 3
        many = [{"key": key, "value": "v"} for key in ("b", "e")]
        assert client("POST", "/v1.0/state/statestore", many).status == 429
        assert client("GET", "/v1.0/state/statestore/e").status == 204, "not there"
        for key in ("b", "c", "d"):
            client("DELETE", f"/v1.0/state/statestore/{key}")
        assert stored(daemon, "default/storing") == (0, 0)


def test_what_expires_is_given_back(daemon: Daemon) -> None:
    """An item past its ttl makes room, whether or not anybody asks for it."""
    with http(daemon, "storing") as client:
        for store in ("statestore", "memory"):
            assert save(client, "t", "v", store, metadata={"ttlInSeconds": "1"}).status == 204
        assert stored(daemon, "default/storing")[0] == 2
        eventually(lambda: stored(daemon, "default/storing"), lambda found: found == (0, 0))
        for key in ("a", "b", "c"):
            assert save(client, key, "v").status == 204
        assert save(client, "d", "v").status == 429
        for key in ("a", "b", "c"):
            client("DELETE", f"/v1.0/state/statestore/{key}")


def test_a_namespaces_quota_holds_for_each_and_for_all(daemon: Daemon) -> None:
    """A perApp is a ceiling of every app there, total one of all together; the refusal says whose it was."""
    with http(daemon, "one", "team") as one, http(daemon, "two", "team") as two:
        assert [save(one, key, "v").status for key in "abc"] == [204, 204, 429]
        first = save(one, "c", "v").json["details"][0]  # type: ignore[index]
        assert first["violations"][0] == {"subject": "team/one", "description": "stateKeys 2"}
        assert [save(two, key, "v").status for key in "ab"] == [204, 429]
        second = save(two, "b", "v").json["details"][0]  # type: ignore[index]
        assert second["violations"][0] == {"subject": "team", "description": "stateKeys 3"}
        assert stored(daemon, "team")[0] == 3
        assert save(one, "a", "changed").status == 204, "an overwrite takes no key"


def test_limits_change_while_the_daemon_runs() -> None:
    """SIGHUP: lower, higher, gone; the node's too. Counts stay, connections stay, and what is stored stays."""
    with running_daemon(resources(SQLITE, app("a")), {"a": "default"}) as daemon, http(daemon, "a") as client:

        def change(*more: dict[str, object], **limits: object) -> None:
            write_resources(daemon.root, resources(SQLITE, app("a", limits=limits), *more))
            daemon.process.send_signal(signal.SIGHUP)

        def new_key() -> int:
            keys.append(f"k{len(keys)}")
            return save(client, keys[-1], "v").status

        keys: list[str] = []
        assert [new_key() for _ in range(3)] == [204] * 3
        change(stateKeys=2)
        eventually(new_key, lambda status: status == 429)
        kept = stored(daemon, "default/a")[0]
        assert kept >= 3, "a lowered limit evicts nothing"
        change(stateKeys=100_000)
        eventually(new_key, lambda status: status == 204)
        change(quota("node", None, total={"stateKeys": 1}))
        eventually(new_key, lambda status: status == 429)
        change()
        eventually(new_key, lambda status: status == 204)
        change(requestsPerSecond=1)
        eventually(lambda: client("GET", "/v1.0/metadata").status, lambda status: status == 429)


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_counts_are_right_after_a_restart(end: str) -> None:
    """Recounted from the store itself, after a clean end and after kill -9."""
    described = resources(SQLITE, app("a", limits={"stateKeys": 5}))
    with running_daemon(described, {"a": "default"}) as daemon:
        with http(daemon, "a") as client:
            for key in "abc":
                assert save(client, key, "v" * 10).status == 204
            assert save(client, "a", "w").status == 204
        kept: tuple[float, float] = (3, cost("a", "a", "w") + 2 * cost("a", "b", "v" * 10))
        assert stored(daemon, "default/a") == kept
        ending = signal.SIGTERM if end == "stop" else signal.SIGKILL
        daemon.process.send_signal(ending)
        daemon.process.wait(15)
        again = restarted(daemon, described)
        try:
            assert stored(again, "default/a") == kept
            with http(again, "a") as client:
                assert client("GET", "/v1.0/state/statestore/a").body == b'"w"'
                assert [save(client, key, "v").status for key in "def"] == [204, 204, 429]
        finally:
            again.stop()


def restarted(daemon: Daemon, described: dict[str, str]) -> Daemon:
    """A new daemon on the directories of one that ended, once it answers."""
    again = Daemon(start(daemon.root, described), daemon.root)
    wait_for_socket(again.process, again.grpc_socket("a"), again.log)
    return again
