"""How a gRPC method finds its handler. The table itself is `routes_grpc.py`."""

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from noded.app import App
from noded.calls import GrpcCall, GrpcStream, Header

if TYPE_CHECKING:
    from google.protobuf.message import Message

UnaryHandler = Callable[[GrpcCall, Any], "Message | Coroutine[Any, Any, Message]"]
"""Gives the answer, or a coroutine where it may have to be waited for."""
StreamHandler = Callable[[GrpcCall, GrpcStream], Coroutine[Any, Any, None]]
TellCall = Callable[[App, bytes, Sequence[Header], int, float], None]
"""Takes what the log says of a call that ended: whose, its path, metadata, status, and seconds it took."""


@dataclass(frozen=True, slots=True)
class GrpcMethod:
    """One method of the service `dapr.proto.runtime.v1.Dapr`."""

    operation: str
    """As in the route table: what usage and metrics count by."""
    names: tuple[str, ...]
    """The method's name and its older spellings."""
    request: "type[Message] | None" = None
    unary: UnaryHandler | None = None
    stream: StreamHandler | None = None
    """Instead of `unary`: takes the messages itself."""
    limited: bool = True
    index: int = 0
    """Of the operation in the tenant's counters; filled when the table is made."""
