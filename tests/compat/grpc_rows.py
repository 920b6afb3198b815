"""One recorded gRPC call: sent, and what came back in the shape rows keep it."""

import time
from collections.abc import Iterator, Mapping
from typing import cast

import grpc
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2
from google.rpc.status_pb2 import Status

from noded.proto import service_pb2
from tests.compat.http_rows import deliveries, shaped
from tests.compat.normal import Json, normal_body, normal_json, normal_text
from tests.compat.runtimes import Runtime
from tests.compat.wire import TIMEOUT_SECONDS

SERVICE = service_pb2.DESCRIPTOR.services_by_name["Dapr"]
UNCOMPARED_HEADERS = {"content-type", "date", "grpc-accept-encoding", "user-agent", "traceparent", "grpc-trace-bin"}
DETAILS_HEADER = "grpc-status-details-bin"

Row = dict[str, object]


class GrpcConversation:
    """The calls of one case, in order, on one channel; `${etag}` is the last etag of a reply."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.etag = ""

    def send(self, row: Row) -> Row:
        """Make a row's call; the answer, and what the app got at `watch`, as a row keeps them."""
        time.sleep(float(str(row.get("after_seconds", 0))))
        with grpc.insecure_channel(f"unix:{self.runtime.grpc_socket}") as channel:
            answer = self.called(channel, row)
        if "watch" in row:
            answer["delivered"] = deliveries(self.runtime, row["watch"])
        if "ends" in row:
            answer["exits"] = self.runtime.exit_code()
        return answer

    def called(self, channel: grpc.Channel, row: Row) -> Row:
        name = str(row["call"])
        if name.startswith("/"):
            return self.answer(raw_call(channel, name, metadata_of(row)), row)
        method = SERVICE.methods_by_name[name]
        requests = row["requests"] if "requests" in row else [row.get("request", {})]
        return self.answer(
            typed_call(channel, method, self.filled(cast("list[Json]", requests)), metadata_of(row)), row
        )

    def filled(self, requests: list[Json]) -> list[Json]:
        return cast("list[Json]", [replaced(each, "${etag}", self.etag) for each in requests])

    def answer(self, call: "Iterator[Message]", row: Row) -> Row:
        answer: Row = {"code": "OK"}
        try:
            for message in call:
                self.etag = getattr(message, "etag", "") or self.etag
                answer["reply"] = shaped(message_json(message), row)
                break
        except grpc.RpcError as error:
            return refusal(cast("grpc.Call", error))
        headers = kept(cast("grpc.Call", call).initial_metadata())
        return {**answer, "headers_back": headers} if headers else answer


def typed_call(
    channel: grpc.Channel, method: MethodDescriptor, requests: list[Json], metadata: tuple[tuple[str, str], ...]
) -> Iterator[Message]:
    kind = GetMessageClass(method.input_type)
    stream = channel.stream_stream(
        f"/{SERVICE.full_name}/{method.name}",
        request_serializer=kind.SerializeToString,
        response_deserializer=GetMessageClass(method.output_type).FromString,
    )
    messages = [message_of(cast("Mapping[str, Json]", each), method.input_type) for each in requests]
    return cast("Iterator[Message]", stream(iter(messages), metadata=metadata, timeout=TIMEOUT_SECONDS))


def raw_call(channel: grpc.Channel, path: str, metadata: tuple[tuple[str, str], ...]) -> Iterator[Message]:
    stream = channel.stream_stream(path, request_serializer=bytes, response_deserializer=bytes)
    return cast("Iterator[Message]", stream(iter([b""]), metadata=metadata, timeout=TIMEOUT_SECONDS))


def metadata_of(row: Row) -> tuple[tuple[str, str], ...]:
    metadata = row.get("metadata", {})
    assert isinstance(metadata, dict)
    return tuple((name, str(value)) for name, value in metadata.items())


def refusal(call: grpc.Call) -> Row:
    trailers = call.trailing_metadata() or ()
    row: Row = {"code": call.code().name, "message": normal_text(call.details() or "")}
    for name, value in trailers:
        if name == DETAILS_HEADER:
            row["details"] = [detail_json(each) for each in Status.FromString(cast("bytes", value)).details]
    headers = kept(call.initial_metadata()) | kept(trailers)
    return {**row, "headers_back": headers} if headers else row


def detail_json(packed: "Message") -> Json:
    name = packed.type_url.rpartition(".")[2]  # type: ignore[attr-defined]
    detail = getattr(error_details_pb2, name).FromString(packed.value)  # type: ignore[attr-defined]
    fields = message_json(detail)
    assert isinstance(fields, dict)
    return {"type": name, **fields}


def kept(metadata: object) -> dict[str, str]:
    pairs = cast("list[tuple[str, str]]", metadata or ())
    return {name: normal_text(str(value)) for name, value in pairs if name not in UNCOMPARED_HEADERS | {DETAILS_HEADER}}


def message_of(fields: Mapping[str, Json], kind: Descriptor) -> Message:
    """Build a message from a row: bytes fields stand there as text."""
    given = {name: field_of(value, kind.fields_by_name[name]) for name, value in fields.items()}
    return GetMessageClass(kind)(**given)


def field_of(value: Json, field: FieldDescriptor) -> object:
    if is_map(field):
        return value
    if isinstance(value, list):
        return [field_of(each, field) for each in value]
    if field.message_type is not None:
        return message_of(cast("Mapping[str, Json]", value), field.message_type)
    return str(value).encode() if field.type == FieldDescriptor.TYPE_BYTES else value


def message_json(message: Message) -> Json:
    """A message as a row keeps it: set fields only, by name; bytes as text or JSON; enums by name."""
    fields = {field.name: value_json(field, value) for field, value in message.ListFields()}
    return normal_json({name: "<etag>" if name == "etag" else value for name, value in fields.items()})


def value_json(field: FieldDescriptor, value: object) -> Json:
    if is_map(field):
        return {name: str(value[name]) for name in sorted(value)}  # type: ignore[index,call-overload]
    if field.is_repeated:
        return [single_json(field, each) for each in cast("list[object]", value)]
    return single_json(field, value)


def single_json(field: FieldDescriptor, value: object) -> Json:
    if isinstance(value, Message):
        return message_json(value)
    if isinstance(value, bytes):
        return normal_body(value)
    if field.enum_type is not None:
        return field.enum_type.values_by_number[cast("int", value)].name
    return cast("Json", value)


def is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def replaced(value: Json, old: str, new: str) -> Json:
    if isinstance(value, dict):
        return {name: replaced(held, old, new) for name, held in value.items()}
    if isinstance(value, list):
        return [replaced(each, old, new) for each in value]
    return value.replace(old, new) if isinstance(value, str) else value
