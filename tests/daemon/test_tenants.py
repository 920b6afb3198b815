"""Two tenants with equal app ids, keys, topics and store names, in two namespaces: they never meet."""

import json
from collections.abc import Iterator
from contextlib import ExitStack

import grpc
import pytest

from noded.proto import metadata_pb2, pubsub_pb2, state_pb2
from tests.daemon.server_clients import (
    MEMORY,
    PUBSUB,
    SQLITE,
    RecordingApp,
    app,
    eventually,
    grpc_client,
    http,
    recording_app,
    resources,
    used,
)
from tests.daemon_process import Daemon, running_daemon

SIDES = ("left", "right")
STORES = ("statestore", "memory")
PRIVATE = SQLITE | {"metadata": {"name": "private", "namespace": "left"}, "spec": MEMORY["spec"]}
SCOPED = SQLITE | {"metadata": {"name": "scoped"}, "spec": MEMORY["spec"], "scopes": ["other"]}
SUBSCRIPTIONS = [{"pubsubname": "pubsub", "topic": "orders", "route": "/orders"}]

AS_JSON = {"content-type": "application/json"}

Pair = dict[str, RecordingApp]


@pytest.fixture(scope="module")
def apps() -> Iterator[Pair]:
    with ExitStack() as running:
        yield {side: running.enter_context(recording_app(side, SUBSCRIPTIONS)) for side in SIDES}


@pytest.fixture(scope="module")
def daemon(apps: Pair) -> Iterator[Daemon]:
    specs = [app("twin", side, channel=apps[side].channel) for side in SIDES]
    described = resources(SQLITE, MEMORY, PUBSUB, PRIVATE, SCOPED, *specs, app("lonely", "left"), app("other", "right"))
    with running_daemon(described, {"lonely": "left", "other": "right"}) as running:
        for side in SIDES:
            with http(running, "twin", side) as client:
                subscribed = lambda client=client: client("GET", "/v1.0/metadata").json.get("subscriptions")  # noqa: E731
                eventually(subscribed)
        yield running


@pytest.mark.parametrize("store", STORES)
def test_equal_keys_hold_different_values(daemon: Daemon, store: str) -> None:
    """What one writes, overwrites and deletes under a key, the other never sees: HTTP, bulk and transactions."""
    with http(daemon, "twin", "left") as left, http(daemon, "twin", "right") as right:
        path = f"/v1.0/state/{store}"
        assert left("POST", path, [{"key": "k", "value": "left"}]).status == 204
        assert right("GET", f"{path}/k").status == 204
        assert right("POST", path, [{"key": "k", "value": "right"}]).status == 204
        assert left("GET", f"{path}/k").body == b'"left"'
        assert json.loads(right("POST", f"{path}/bulk", {"keys": ["k"]}).body)[0]["data"] == "right"
        etag = left("GET", f"{path}/k").headers["etag"]
        operations = [{"operation": "delete", "request": {"key": "k", "etag": etag}}]
        assert left("POST", f"{path}/transaction", {"operations": operations}).status == 204
        assert left("GET", f"{path}/k").status == 204
        assert right("GET", f"{path}/k").body == b'"right"'


@pytest.mark.parametrize("store", STORES)
def test_equal_keys_hold_different_values_over_grpc(daemon: Daemon, store: str) -> None:
    """The same, over gRPC."""
    with grpc_client(daemon, "twin", "left") as left, grpc_client(daemon, "twin", "right") as right:
        request = state_pb2.SaveStateRequest(store_name=store)
        request.states.add(key="g", value=b"left")
        left("SaveState", request)
        read = state_pb2.GetStateRequest(store_name=store, key="g")
        assert right("GetState", read) == state_pb2.GetStateResponse()
        answer = left("GetState", read)
        assert isinstance(answer, state_pb2.GetStateResponse)
        assert answer.data == b"left"
        right("DeleteState", state_pb2.DeleteStateRequest(store_name=store, key="g"))
        answer = left("GetState", read)
        assert isinstance(answer, state_pb2.GetStateResponse)
        assert answer.data == b"left"


@pytest.mark.parametrize("key", ["right.twin||k", "../right/k", "right.twin%7C%7Ck"])
def test_no_key_reaches_into_another_tenants_names(daemon: Daemon, key: str) -> None:
    """A key that spells another tenant's prefix is refused, or is a key of one's own."""
    with http(daemon, "twin", "left") as left, http(daemon, "twin", "right") as right:
        assert right("POST", "/v1.0/state/memory", [{"key": "k", "value": "secret"}]).status == 204
        answer = left("GET", f"/v1.0/state/memory/{key}")
        assert b"secret" not in answer.body
        assert left("POST", "/v1.0/state/memory", [{"key": key, "value": "stolen"}]).status in (204, 400)
        assert right("GET", "/v1.0/state/memory/k").body == b'"secret"'
        right("DELETE", "/v1.0/state/memory/k")


@pytest.mark.parametrize("side", SIDES)
def test_an_event_reaches_the_subscribers_of_its_namespace_only(daemon: Daemon, apps: Pair, side: str) -> None:
    """Both subscribe to the same topic of the same broker; each hears its own."""
    other = apps["right" if side == "left" else "left"]
    before = len(other.at("/orders"))
    with http(daemon, "twin", side) as client, grpc_client(daemon, "twin", side) as caller:
        assert client("POST", "/v1.0/publish/pubsub/orders", {"from": side}, AS_JSON).status == 204
        caller("PublishEvent", pubsub_pb2.PublishEventRequest(pubsub_name="pubsub", topic="orders", data=b"grpc"))

    def data() -> list[object]:
        return [json.loads(body)["data"] for _, body in apps[side].at("/orders")]

    found = eventually(data, lambda found: len(found) >= 2)
    assert sorted(map(str, found)) == sorted([str({"from": side}), "grpc"])
    assert len(other.at("/orders")) == before


def test_metadata_tells_of_ones_own_only(daemon: Daemon) -> None:
    """Id, components, subscriptions and what was PUT belong to who asks; over gRPC alike."""
    with http(daemon, "twin", "left") as left, http(daemon, "twin", "right") as right:
        assert left("PUT", "/v1.0/metadata/color", b"red").status == 204
        told = {side: client("GET", "/v1.0/metadata").json for side, client in (("left", left), ("right", right))}
    names = {side: {each["name"] for each in told[side]["components"]} for side in SIDES}  # type: ignore[attr-defined]
    assert names == {"left": {*STORES, "pubsub", "private"}, "right": {*STORES, "pubsub"}}
    assert told["left"]["extended"]["color"] == "red"  # type: ignore[index]
    assert "color" not in told["right"]["extended"]  # type: ignore[operator]
    with grpc_client(daemon, "twin", "right") as client:
        answer = client("GetMetadata", metadata_pb2.GetMetadataRequest())
    assert isinstance(answer, metadata_pb2.GetMetadataResponse)
    assert answer.id == "twin"
    assert "color" not in answer.extended_metadata


def test_a_component_of_another_namespace_or_scope_is_not_found(daemon: Daemon) -> None:
    """Not forbidden: it is not there, in HTTP and gRPC."""
    with http(daemon, "twin", "right") as right, http(daemon, "twin", "left") as left:
        assert left("GET", "/v1.0/state/private/k").status == 204
        for store in ("private", "scoped"):
            answer = right("GET", f"/v1.0/state/{store}/k")
            assert (answer.status, answer.json["errorCode"]) == (400, "ERR_STATE_STORE_NOT_FOUND")
    with http(daemon, "other", "right") as other:
        assert other("GET", "/v1.0/state/scoped/k").status == 204
    with grpc_client(daemon, "twin", "right") as client:
        with pytest.raises(grpc.RpcError) as caught:
            client("GetState", state_pb2.GetStateRequest(store_name="private", key="k"))
        assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_a_name_means_the_app_of_ones_own_namespace(daemon: Daemon) -> None:
    """`twin` is the left one on the left and the right one on the right; `lonely` is nobody on the right."""
    for side in SIDES:
        with http(daemon, "twin", side) as client:
            assert client("GET", "/v1.0/invoke/twin/method/hello").body == side.encode()
    with http(daemon, "lonely", "left") as lonely:
        assert lonely("GET", "/v1.0/invoke/twin/method/hello").body == b"left"
    with http(daemon, "twin", "right") as right:
        assert right("GET", "/v1.0/invoke/lonely/method/hello").json["errorCode"] == "ERR_DIRECT_INVOKE"


def test_nothing_a_client_sends_names_its_tenant(daemon: Daemon, apps: Pair) -> None:
    """Caller headers it sends are dropped: the callee hears who the daemon knows is calling."""
    claims = {
        "dapr-caller-app-id": "admin",
        "dapr-caller-namespace": "right",
        "dapr-callee-app-id": "nobody",
        "Dapr-Caller-App-Id": "ADMIN",
    }
    with http(daemon, "lonely", "left") as lonely:
        assert lonely("GET", "/v1.0/invoke/twin/method/claims", headers=claims).body == b"left"
        assert lonely("GET", "/v1.0/state/memory/k", headers=claims).status == 204
    (headers, _) = apps["left"].at("/claims")[-1]
    assert headers["dapr-caller-app-id"] == "lonely"
    assert headers["dapr-caller-namespace"] == "left"
    assert headers["dapr-callee-app-id"] == "twin"
    assert "admin" not in str(headers).lower()


def test_each_is_counted_for_itself(daemon: Daemon) -> None:
    """Usage of one does not move with what its twin does."""
    with http(daemon, "twin", "left") as left, http(daemon, "twin", "right") as right:
        before = used(daemon, "right/twin").get("stateKeys", {"used": 0})["used"]
        for number in range(5):
            assert left("POST", "/v1.0/state/memory", [{"key": f"n{number}", "value": 1}]).status == 204
        assert used(daemon, "right/twin").get("stateKeys", {"used": 0})["used"] == before
        assert used(daemon, "left/twin")["stateKeys"]["used"] >= 5
        assert right("GET", "/v1.0/state/memory/n0").status == 204
