"""A node short of descriptors or memory: it refuses what is new, goes on with what it has, and recovers."""

import os
import time
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import grpc
import pytest

from noded.descriptors import Descriptors
from noded.memory_guard import look_again, own_bytes
from noded.proto import state_pb2
from tests.daemon.server_clients import (
    MEMORY,
    PUBSUB,
    SQLITE,
    Answer,
    HttpClient,
    app,
    eventually,
    grpc_client,
    http,
    operator,
    raw,
    resources,
)
from tests.daemon_process import Daemon
from tests.proof.node import place

MIB = 1 << 20
DESCRIPTORS = 64
APPS = dict.fromkeys("ab", "default")


def cpu_seconds(daemon: Daemon) -> float:
    """Of one core, that the daemon used so far."""
    fields = Path(f"/proc/{daemon.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_without_descriptors_it_serves_who_is_connected() -> None:
    """More connections than descriptors: those there are answered, the loop does not spin, room that comes is used."""
    with place(resources(SQLITE, app("a"), app("b")), APPS) as here:
        here.runner = ("prlimit", f"--nofile={DESCRIPTORS}")
        with here.running() as daemon, http(daemon, "a") as client, http(daemon, "b") as neighbour:
            for each in (client, neighbour):
                assert save(each, "statestore", "k", "v").status == 204
            with ExitStack() as held:
                for _ in range(2 * DESCRIPTORS):
                    with suppress(OSError):  # refused is as good as closed
                        held.enter_context(closing(raw(daemon.http_socket("a"))))
                for each in (client, neighbour):
                    assert save(each, "statestore", "k", "w").status == 204
                    assert each("GET", "/v1.0/state/statestore/k").body == b'"w"'
                began, used = time.monotonic(), cpu_seconds(daemon)
                time.sleep(1.0)
                busy = (cpu_seconds(daemon) - used) / (time.monotonic() - began)
                assert busy < 0.5, "idle but for connections that cannot be accepted"
                assert status_of_a_new_connection(daemon, "b") == 200, "room is kept for the neighbour"
                events = operator(daemon, "/v1/events")
                assert isinstance(events, list)
                assert {(event["tenant"], event["limit"]) for event in events} == {("default/a", "connections")}
            eventually(lambda: status_of_a_new_connection(daemon, "a"), lambda status: status == 200)
            assert daemon.process.poll() is None
            assert save(neighbour, "statestore", "k", "x").status == 204


@pytest.mark.parametrize(
    ("number", "held", "welcome"),
    [(767, 700, True), (768, 64, True), (768, 65, False), (959, 64, True), (960, 1, False)],
)
def test_the_last_descriptors_are_kept(number: int, held: int, *, welcome: bool) -> None:
    """Of 1024: from three quarters on only for apps with few connections, the last sixteenth for none."""
    assert (Descriptors(1024).refusal(number, held) is None) is welcome


@pytest.mark.parametrize(
    ("used", "seconds"),
    [(0, 0.25), (8 * 1024 * MIB, 0.25), (9 * 1024 * MIB - 100 * MIB, 100 / 1024), (9 * 1024 * MIB, 0.02)],
)
def test_memory_is_looked_at_sooner_the_less_is_left(used: int, seconds: float) -> None:
    """So often that a gigabyte a second cannot pass the first stage unseen, within bounds."""
    assert look_again(used, 10 * 1024 * MIB) == pytest.approx(seconds)


def status_of_a_new_connection(daemon: Daemon, app_id: str) -> int:
    """What a client that comes now is answered; 0 where it is cut off."""
    with closing(HttpClient(daemon.http_socket(app_id))) as client:
        try:
            return client("GET", "/v1.0/metadata").status
        except OSError:
            return 0


def test_near_its_memory_limit_it_refuses_growth_then_requests_then_recovers() -> None:
    """Filled until it says no: nothing was lost, reads and deletes go on, other apps are told the same reason.

    Once enough is deleted, what was refused fits again; the process never passed its limit.
    """
    with place(resources(SQLITE, MEMORY, PUBSUB, app("a"), app("b")), APPS) as here:
        with here.running() as daemon:
            operator(daemon, "/v1/apps")  # its operator's side is imported now, and counts too
            idle = own_bytes(Path(f"/proc/{daemon.process.pid}/statm"))
        limit = idle + 160 * MIB
        here.flags = ("--memory-limit", str(limit))
        with here.running() as daemon, http(daemon, "a") as client, http(daemon, "b") as neighbour:
            operator(daemon, "/v1/apps")
            kept = 0
            while (answer := save(client, "memory", f"k{kept}", "x" * (MIB // 4))).status == 204:
                kept += 1
                assert own_bytes(Path(f"/proc/{daemon.process.pid}/statm")) < limit
            refused(answer)
            refused(save(neighbour, "memory", "n", "grows"))
            assert client("GET", "/v1.0/state/memory/k0").status == 200
            assert neighbour("GET", "/v1.0/healthz").status == 204
            with grpc_client(daemon, "b") as caller:
                request = state_pb2.SaveStateRequest(store_name="memory")
                request.states.add(key="n", value=b"grows")
                with pytest.raises(grpc.RpcError) as caught:
                    caller("SaveState", request)
                assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
            for number in range(kept):
                assert client("DELETE", f"/v1.0/state/memory/k{number}").status == 204
            eventually(lambda: save(neighbour, "memory", "n", "grows").status, lambda status: status == 204)
            events = operator(daemon, "/v1/events")
            assert isinstance(events, list)
            assert {event["limit"] for event in events} == {"memory"}
            assert {event["tenant"] for event in events} == {"default/a", "default/b"}
            assert "nothing that is stored may grow" in daemon.log()
            assert "enough again" in daemon.log()


def save(client: HttpClient, store: str, key: str, value: str) -> Answer:
    return client("POST", f"/v1.0/state/{store}", [{"key": key, "value": value}])


def refused(answer: Answer) -> None:
    assert answer.status == 429
    assert answer.json["errorCode"] == "ERR_QUOTA_EXCEEDED"
    assert "memory of node exhausted" in str(answer.json["message"])
    assert answer.headers["retry-after"] == "1"
