"""Clients that write until their daemon is gone, and know what they were told: what must be there, and what may be.

A key's writer is one client alone. `told` is what was acknowledged; `asked` what was under way when the daemon died,
which may have happened or not, as a whole.
"""

import json
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from http.client import HTTPException
from random import Random

import grpc

from noded.proto import state_pb2
from tests.compat.wire import UnixConnection
from tests.daemon.server_clients import GrpcClient
from tests.daemon_process import Daemon

KEYS = 12
PARTS = 4
"""Keys of a transaction: written together with equal values, and only so."""
Values = dict[str, str | None]
"""{key: value, None where there is none}."""


class Writer:
    """One client: an app, and keys that no other client writes."""

    def __init__(self, app_id: str, namespace: str, name: str, *, over_grpc: bool) -> None:
        self.app_id = app_id
        self.namespace = namespace
        self.name = name
        self.over_grpc = over_grpc
        self.singles = [f"{name}-{number}" for number in range(KEYS)]
        self.parts = [f"{name}-part-{number}" for number in range(PARTS)]
        self.told: Values = dict.fromkeys([*self.singles, *self.parts])
        self.asked: Values = {}
        self.acknowledged = 0
        self.surprises: list[str] = []
        """Answers a client of a healthy daemon must never get."""
        self._number = 0

    @property
    def keys(self) -> list[str]:
        return [*self.singles, *self.parts]

    def run(self, daemon: Daemon, random: Random) -> None:
        """Write until the daemon is gone."""
        send = self._grpc if self.over_grpc else self._http
        send(daemon, lambda: self._next(random))

    def settle(self, found: Mapping[str, str | None]) -> list[str]:
        """Compare what a new daemon has with what may be; go on from there. Returns what is wrong."""
        wrong = [
            f"{self.name}: {key} is {found[key]!r}, told {self.told[key]!r}, asked {self.asked.get(key, '-')!r}"
            for key in self.keys
            if found[key] != self.told[key] and (key not in self.asked or found[key] != self.asked[key])
        ]
        if len({found[key] for key in self.parts}) > 1:
            wrong.append(f"{self.name}: torn transaction {[found[key] for key in self.parts]!r}")
        self.told = {key: found[key] for key in self.keys}
        self.asked = {}
        return wrong + self.surprises

    def _next(self, random: Random) -> Values:
        """Choose the next operation, as what it makes of keys."""
        self._number += 1
        value = f"{self._number}-" + "é" * random.choice((0, 3, 40, 700))
        what = random.randrange(4)
        if what == 0:
            return dict.fromkeys(self.parts, None if random.random() < 0.2 else value)
        if what == 1:
            return dict.fromkeys(random.sample(self.singles, 1), None)
        return dict.fromkeys(random.sample(self.singles, 1 if what == 2 else 3), value)

    def _http(self, daemon: Daemon, choose: Callable[[], Values]) -> None:
        with closing(UnixConnection(daemon.http_socket(self.app_id, self.namespace))) as connection:
            while True:
                self.asked = choose()
                try:
                    connection.request(*_request(self.asked))
                    response = connection.getresponse()
                    body = response.read()
                except (OSError, HTTPException):
                    return
                if response.status != 204:
                    self.surprises.append(f"{self.name}: {response.status} {body!r}")
                    return
                self._acknowledge()

    def _grpc(self, daemon: Daemon, choose: Callable[[], Values]) -> None:
        target = f"unix:{daemon.grpc_socket(self.app_id, self.namespace)}"
        with closing(GrpcClient(target, (("grpc.enable_retries", 0),))) as client:
            while True:
                self.asked = choose()
                try:
                    client(*_call(self.asked))
                except grpc.RpcError as error:
                    if error.code() is not grpc.StatusCode.UNAVAILABLE:
                        self.surprises.append(f"{self.name}: {error}")
                    return
                self._acknowledge()

    def _acknowledge(self) -> None:
        self.told.update(self.asked)
        self.asked = {}
        self.acknowledged += 1


def writers(names: Mapping[str, str], each: int) -> list[Writer]:
    """So many writers for each app, every second of them over gRPC."""
    return [
        Writer(app_id, namespace, f"w{number}", over_grpc=number % 2 == 1)
        for app_id, namespace in names.items()
        for number in range(each)
    ]


def load(daemon: Daemon, clients: Iterable[Writer], seed: str) -> list[threading.Thread]:
    """Set all clients to work; each thread ends with the daemon."""
    threads = [
        threading.Thread(target=client.run, args=(daemon, Random(f"{seed} {client.app_id} {client.name}")))
        for client in clients
    ]
    for thread in threads:
        thread.start()
    return threads


def read_back(daemon: Daemon, client: Writer) -> Values:
    """What the daemon has under a client's keys."""
    with closing(UnixConnection(daemon.http_socket(client.app_id, client.namespace))) as connection:
        connection.request("POST", "/v1.0/state/statestore/bulk", json.dumps({"keys": client.keys}))
        entries = json.loads(connection.getresponse().read())
    return {entry["key"]: entry.get("data") for entry in entries}


def _request(values: Values) -> tuple[str, str, str]:
    """One HTTP request: a transaction for parts, a delete, a save of one, a save of several."""
    first = next(iter(values))
    if "-part-" in first:
        operations = [
            {"operation": "delete" if value is None else "upsert", "request": {"key": key, "value": value}}
            for key, value in values.items()
        ]
        return "POST", "/v1.0/state/statestore/transaction", json.dumps({"operations": operations})
    if values[first] is None:
        return "DELETE", f"/v1.0/state/statestore/{first}", ""
    items = [{"key": key, "value": value} for key, value in values.items()]
    return "POST", "/v1.0/state/statestore", json.dumps(items)


def _call(values: Values) -> tuple[str, state_pb2.SaveStateRequest | state_pb2.ExecuteStateTransactionRequest]:
    """The same over gRPC, where several deletes are a transaction too."""
    if "-part-" not in next(iter(values)) and None not in values.values():
        save = state_pb2.SaveStateRequest(store_name="statestore")
        for key, value in values.items():
            save.states.add(key=key, value=json.dumps(value, ensure_ascii=False).encode())
        return "SaveState", save
    transaction = state_pb2.ExecuteStateTransactionRequest(storeName="statestore")
    for key, value in values.items():
        each = transaction.operations.add(operationType="delete" if value is None else "upsert")
        each.request.key = key
        each.request.value = json.dumps(value, ensure_ascii=False).encode()
    return "ExecuteStateTransaction", transaction
