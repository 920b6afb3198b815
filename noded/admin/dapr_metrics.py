"""A tenant's counters under Dapr's names. Read when somebody scrapes; nothing here is on a request's way.

Counters are read while they change, from another thread: each is an int, and dictionaries are copied whole first.
"""

from typing import Final

from noded.admin import dapr_families as dapr
from noded.admin.exposition import Family
from noded.admin.series import Measured, Owner, Series
from noded.app import App
from noded.errors import Grpc
from noded.routes import FACES
from tenancy.accounting import STATUS_BITS, CallUse, Peer, Usage
from tenancy.tally import Cell, Tally
from tenancy.use import SUCCESS

_CODES: Final = {
    Grpc.OK: "OK",
    Grpc.CANCELLED: "Canceled",
    Grpc.UNKNOWN: "Unknown",
    Grpc.INVALID_ARGUMENT: "InvalidArgument",
    Grpc.DEADLINE_EXCEEDED: "DeadlineExceeded",
    Grpc.NOT_FOUND: "NotFound",
    Grpc.ALREADY_EXISTS: "AlreadyExists",
    Grpc.PERMISSION_DENIED: "PermissionDenied",
    Grpc.RESOURCE_EXHAUSTED: "ResourceExhausted",
    Grpc.FAILED_PRECONDITION: "FailedPrecondition",
    Grpc.ABORTED: "Aborted",
    Grpc.OUT_OF_RANGE: "OutOfRange",
    Grpc.UNIMPLEMENTED: "Unimplemented",
    Grpc.INTERNAL: "Internal",
    Grpc.UNAVAILABLE: "Unavailable",
    Grpc.DATA_LOSS: "DataLoss",
    Grpc.UNAUTHENTICATED: "Unauthenticated",
}
"""As Go names them."""
_STATUS_MASK: Final = (1 << STATUS_BITS) - 1


class AppSeries:
    """Writes one app's series."""

    def __init__(self, series: Series, owner: Owner, app: App, *, by_verb: bool, by_path: bool) -> None:
        """`by_verb`, `by_path`: whether HTTP requests say them."""
        self._series = series
        self._owner = owner
        self._app = app
        self._usage: Usage = app.tenant.usage
        self._by_verb = by_verb
        self._by_path = by_path

    def write(self) -> None:
        """Add all of the app's series."""
        self._requests()
        self._calls()
        self._probes()
        self._components()
        for named, peer in list(self._usage.callees.items()):
            if named != (self._app.namespace, self._app.app_id):
                self._sent(named[1], peer)
        for named, peer in list(self._usage.callers.items()):
            if named != (self._app.namespace, self._app.app_id):
                self._received(named[1], peer)

    # Requests of the app.

    def _requests(self) -> None:
        for key, cell in list(self._usage.answers.items()):
            face, status = FACES[key >> STATUS_BITS], key & _STATUS_MASK
            if face.path and face.unary:
                self._rpc(face.path, status, cell)
            elif face.verb:
                if not self._by_path:
                    self._http((face.verb, "", str(status)), cell)
                self._sizes(dapr.HTTP_REQUEST_BYTES, dapr.HTTP_RESPONSE_BYTES, (), cell)
        for (verb, path, status), cell in list(self._usage.paths.cells.items()):
            self._http((verb, path, str(status)), cell)
        for use, cell in list(self._usage.proxied.cells.items()):
            labels = (_text(use.method), code_name(use.status))
            self._series.count(dapr.RPCS, self._owner, labels, cell.count)
            self._times(dapr.RPC_LATENCY, labels, cell)

    def _http(self, labels: tuple[str, str, str], cell: Cell) -> None:
        if not self._by_verb:
            labels = ("", *labels[1:])
        self._series.count(dapr.HTTP_REQUESTS, self._owner, labels, cell.count)
        self._times(dapr.HTTP_LATENCY, labels, cell)
        if self._by_path:
            self._series.count(dapr.HTTP_RESPONSES, self._owner, labels, cell.count)

    def _rpc(self, path: str, status: int, cell: Cell) -> None:
        labels = (path, code_name(status))
        self._series.count(dapr.RPCS, self._owner, labels, cell.count)
        self._times(dapr.RPC_LATENCY, labels, cell)
        self._sizes(dapr.RPC_RECEIVED, dapr.RPC_SENT, (path,), cell)

    # Calls to the app.

    def _calls(self) -> None:
        self._called(self._usage.calls)
        for peer in list(self._usage.callers.values()):
            self._called(peer.calls)
        for topic, cell in list(self._usage.taken.cells.items()):
            method = topic.outcome[0]
            if method.startswith("/"):
                self._called_grpc(CallUse(method.encode(), 0), cell)
            else:
                self._called_http(CallUse(method.encode(), 200), cell)

    def _called(self, calls: Tally[CallUse]) -> None:
        for use, cell in list(calls.cells.items()):
            if use.method[:1] == b"/":
                self._called_grpc(use, cell)
            else:
                self._called_http(use, cell)

    def _called_http(self, use: CallUse, cell: Cell) -> None:
        verb = _text(use.method) if self._by_verb else ""
        path = use.path if self._by_path or use.path == "/dapr/config" else ""  # as daprd
        labels = (verb, path, str(use.status))
        self._series.count(dapr.CALLS, self._owner, labels, cell.count)
        self._times(dapr.CALL_LATENCY, labels, cell)
        self._series.sizes(dapr.CALL_RECEIVED, self._owner, (), _in(cell))
        self._series.sizes(dapr.CALL_SENT, self._owner, (verb, path, ""), _out(cell))

    def _called_grpc(self, use: CallUse, cell: Cell) -> None:
        path = _text(use.method)
        labels = (path, code_name(use.status))
        self._series.count(dapr.OWN_RPCS, self._owner, labels, cell.count)
        self._times(dapr.OWN_RPC_LATENCY, labels, cell)
        if not use.streaming:
            self._sizes(dapr.OWN_RPC_RECEIVED, dapr.OWN_RPC_SENT, (path,), cell)

    def _probes(self) -> None:
        for use, cell in list(self._usage.probes.cells.items()):
            over_grpc = use.method[:1] == b"/"
            labels = (code_name(use.status) if over_grpc else str(use.status),)
            self._series.count(dapr.RPC_PROBES if over_grpc else dapr.PROBES, self._owner, labels, cell.count)
            self._times(dapr.RPC_PROBE_LATENCY if over_grpc else dapr.PROBE_LATENCY, labels, cell)

    # Components.

    def _components(self) -> None:
        usage = self._usage
        for use, cell in list(usage.state.cells.items()):
            outcome = (use.store, use.operation, str(use.success).lower())
            self._series.count(dapr.STATE, self._owner, outcome, cell.count)
            self._times(dapr.STATE_LATENCY, outcome, cell)
        for tally, counted, timed in (
            (usage.published, dapr.PUBLISHED, dapr.PUBLISH_LATENCY),
            (usage.bulk_published, dapr.BULK_PUBLISHED, dapr.BULK_PUBLISH_LATENCY),
            (usage.received, dapr.RECEIVED, dapr.RECEIVED_LATENCY),
            (usage.bulk_received, dapr.BULK_RECEIVED, dapr.BULK_RECEIVED_LATENCY),
            (usage.bulk_events, dapr.BULK_EVENTS, None),
        ):
            for topic, cell in list(tally.cells.items()):
                labels = (topic.pubsub, topic.topic, *topic.outcome)
                self._series.count(counted, self._owner, labels, cell.count)
                if timed is not None:
                    self._times(timed, labels, cell)
        for topic, cell in list(usage.taken.cells.items()):
            taken = (topic.pubsub, topic.topic, SUCCESS, SUCCESS)
            self._series.count(dapr.RECEIVED, self._owner, taken, cell.count)
            self._times(dapr.RECEIVED_LATENCY, taken, cell)

    # Between apps.

    def _sent(self, callee: str, peer: Peer) -> None:
        self._series.count(dapr.REQUESTS_SENT, self._owner, (callee, "unary"), peer.begun)
        self._series.count(dapr.REQUESTS_SENT, self._owner, (callee, "streaming"), peer.begun_streams)
        for use, cell in list(peer.calls.cells.items()):
            kind = "streaming" if use.streaming else "unary"
            labels = (callee, str(use.status), kind)
            self._series.count(dapr.RESPONSES_RECEIVED, self._owner, labels, cell.count)
            if not use.streaming:
                self._times(dapr.RESPONSE_LATENCY, labels[:2], cell)

    def _received(self, caller: str, peer: Peer) -> None:
        self._series.count(dapr.REQUESTS_RECEIVED, self._owner, (caller,), peer.begun + peer.begun_streams)
        for use, cell in list(peer.calls.cells.items()):
            self._series.count(dapr.RESPONSES_SENT, self._owner, (caller, str(use.status)), cell.count)

    def _times(self, family: Family, labels: tuple[str, ...], cell: Cell) -> None:
        self._series.times(family, self._owner, labels, cell)

    def _sizes(self, received: Family, sent: Family, labels: tuple[str, ...], cell: Cell) -> None:
        self._series.sizes(received, self._owner, labels, _in(cell))
        self._series.sizes(sent, self._owner, labels, _out(cell))


def code_name(code: int) -> str:
    """A gRPC code as Go writes it."""
    return _CODES[Grpc(code)] if code in _CODES else f"Code({code})"


def _in(cell: Cell) -> Measured:
    return Measured(cell.in_sizes, cell.count, cell.bytes_in)


def _out(cell: Cell) -> Measured:
    return Measured(cell.out_sizes, cell.count, cell.bytes_out)


def _text(name: bytes) -> str:
    return name.decode("utf-8", "replace")
