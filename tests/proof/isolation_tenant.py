"""One tenant at work: what it asks over HTTP and gRPC, in words that tell both alike."""

import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import grpc

from noded.proto import common_pb2, invoke_pb2, metadata_pb2, pubsub_pb2, state_pb2
from tests.daemon.server_clients import GrpcClient, HttpClient
from tests.daemon_process import Daemon
from tests.proof.isolation_names import Tenant

Values = Mapping[str, object]
"""{key: value}; what has none is not in it."""
REFUSED = "refused"
"""What either protocol answers, told apart from success only."""
DONE = "done"


def in_path(key: str) -> bool:
    """Whether HTTP can say the key in a path: `.` and `..` are cleaned away, as daprd does."""
    return key not in {"", ".", ".."}


class HttpTenant:
    """Asks over HTTP."""

    def __init__(self, daemon: Daemon, tenant: Tenant) -> None:
        namespace, app_id = tenant
        self._client = HttpClient(daemon.http_socket(app_id, namespace))

    def close(self) -> None:
        self._client.close()

    def save(self, store: str, values: Values, etag: str | None = None) -> str:
        more = {} if etag is None else {"etag": etag}
        return self._done(
            "POST", f"state/{store}", [{"key": key, "value": value, **more} for key, value in values.items()]
        )

    def delete(self, store: str, key: str, etag: str | None = None) -> str:
        headers = None if etag is None else {"if-match": etag}
        return self._done("DELETE", f"state/{store}/{quote(key, safe='')}", headers=headers)

    def transact(self, store: str, operations: Sequence[tuple[str, object]]) -> str:
        listed = [
            {"operation": "delete" if value is None else "upsert", "request": {"key": key, "value": value}}
            for key, value in operations
        ]
        return self._done("POST", f"state/{store}/transaction", {"operations": listed})

    def get(self, store: str, key: str) -> tuple[object, str]:
        """Value and etag; (REFUSED, "") or (None, "")."""
        answer = self._client("GET", f"/v1.0/state/{store}/{quote(key, safe='')}")
        if answer.status == 204:
            return None, ""
        return (json.loads(answer.body), answer.headers["etag"]) if answer.status == 200 else (REFUSED, "")

    def get_many(self, store: str, keys: Sequence[str]) -> Values | str:
        answer = self._client("POST", f"/v1.0/state/{store}/bulk", {"keys": keys})
        if answer.status != 200:
            return REFUSED
        entries = json.loads(answer.body)
        assert [entry["key"] for entry in entries] == list(keys)
        return {entry["key"]: entry["data"] for entry in entries if "data" in entry}

    def publish(self, topic: str, event: object) -> str:
        path = f"publish/pubsub/{quote(topic, safe='')}"
        return self._done("POST", path, event, {"content-type": "application/json"})

    def publish_many(self, topic: str, events: Sequence[object]) -> str:
        entries = [
            {"entryId": str(number), "event": event, "contentType": "application/json"}
            for number, event in enumerate(events)
        ]
        return self._done("POST", f"publish/bulk/pubsub/{quote(topic, safe='')}", entries)

    def invoke(self, app: str) -> str:
        answer = self._client("GET", f"/v1.0/invoke/{app}/method/who")
        return answer.body.decode() if answer.status == 200 else REFUSED

    def note(self, key: str, value: str) -> str:
        return self._done("PUT", f"metadata/{quote(key, safe='')}", value.encode())

    def metadata(self) -> tuple[str, list[str], dict[str, str], list[str]]:
        """Id, components, notes, topics."""
        told: Any = self._client("GET", "/v1.0/metadata").json
        components = sorted(f"{each['name']} {each['type']}" for each in told["components"])
        return told["id"], components, told["extended"], sorted(each["topic"] for each in told.get("subscriptions", []))

    def _done(self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None) -> str:
        return DONE if self._client(method, f"/v1.0/{path}", body, headers).status == 204 else REFUSED


class GrpcTenant:
    """Asks the same over gRPC."""

    def __init__(self, daemon: Daemon, tenant: Tenant) -> None:
        namespace, app_id = tenant
        self._client = GrpcClient(f"unix:{daemon.grpc_socket(app_id, namespace)}")

    def close(self) -> None:
        self._client.close()

    def save(self, store: str, values: Values, etag: str | None = None) -> str:
        request = state_pb2.SaveStateRequest(store_name=store)
        for key, value in values.items():
            state = request.states.add(key=key, value=json.dumps(value).encode())
            if etag is not None:
                state.etag.value = etag
        return self._done("SaveState", request)

    def delete(self, store: str, key: str, etag: str | None = None) -> str:
        request = state_pb2.DeleteStateRequest(store_name=store, key=key)
        if etag is not None:
            request.etag.value = etag
        return self._done("DeleteState", request)

    def delete_many(self, store: str, keys: Sequence[str]) -> str:
        request = state_pb2.DeleteBulkStateRequest(store_name=store)
        for key in keys:
            request.states.add(key=key)
        return self._done("DeleteBulkState", request)

    def transact(self, store: str, operations: Sequence[tuple[str, object]]) -> str:
        request = state_pb2.ExecuteStateTransactionRequest(storeName=store)
        for key, value in operations:
            each = request.operations.add(operationType="delete" if value is None else "upsert")
            each.request.key = key
            each.request.value = json.dumps(value).encode()
        return self._done("ExecuteStateTransaction", request)

    def get(self, store: str, key: str) -> tuple[object, str]:
        found = self._ask("GetState", state_pb2.GetStateRequest(store_name=store, key=key), state_pb2.GetStateResponse)
        if found is None:
            return REFUSED, ""
        return (json.loads(found.data), found.etag) if found.etag else (None, "")

    def get_many(self, store: str, keys: Sequence[str]) -> Values | str:
        request = state_pb2.GetBulkStateRequest(store_name=store, keys=keys)
        found = self._ask("GetBulkState", request, state_pb2.GetBulkStateResponse)
        if found is None:
            return REFUSED
        assert [item.key for item in found.items] == list(keys)
        return {item.key: json.loads(item.data) for item in found.items if item.etag}

    def publish(self, topic: str, event: object) -> str:
        data = json.dumps(event).encode()
        request = pubsub_pb2.PublishEventRequest(
            pubsub_name="pubsub", topic=topic, data=data, data_content_type="application/json"
        )
        return self._done("PublishEvent", request)

    def publish_many(self, topic: str, events: Sequence[object]) -> str:
        request = pubsub_pb2.BulkPublishRequest(pubsub_name="pubsub", topic=topic)
        for number, event in enumerate(events):
            data = json.dumps(event).encode()
            request.entries.add(entry_id=str(number), event=data, content_type="application/json")
        found = self._ask("BulkPublishEvent", request, pubsub_pb2.BulkPublishResponse)
        return REFUSED if found is None or found.failedEntries else DONE

    def invoke(self, app: str) -> str:
        request = invoke_pb2.InvokeServiceRequest(id=app)
        request.message.method = "who"
        request.message.http_extension.verb = common_pb2.HTTPExtension.GET
        found = self._ask("InvokeService", request, common_pb2.InvokeResponse)
        return REFUSED if found is None else found.data.value.decode()

    def note(self, key: str, value: str) -> str:
        return self._done("SetMetadata", metadata_pb2.SetMetadataRequest(key=key, value=value))

    def metadata(self) -> tuple[str, list[str], dict[str, str], list[str]]:
        told = self._ask("GetMetadata", metadata_pb2.GetMetadataRequest(), metadata_pb2.GetMetadataResponse)
        assert told is not None
        components = sorted(f"{each.name} {each.type}" for each in told.registered_components)
        return told.id, components, dict(told.extended_metadata), sorted(each.topic for each in told.subscriptions)

    def _done(self, method: str, request: Any) -> str:
        try:
            self._client(method, request)
        except grpc.RpcError:
            return REFUSED
        return DONE

    def _ask(self, method: str, request: Any, answer: Any) -> Any:
        try:
            return answer.FromString(self._client.raw_unary(method, request.SerializeToString()))
        except grpc.RpcError:
            return None
