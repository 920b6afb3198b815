"""Print every name, number and type a peer depends on in the generated modules named as arguments, a line each.

A program of its own because two modules that claim the same protobuf names cannot share a process.
"""

import importlib
import sys
from collections.abc import Iterator

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor, FileDescriptor, ServiceDescriptor


def main(modules: list[str]) -> None:
    files: dict[str, FileDescriptor] = {}
    for module in modules:
        collect(importlib.import_module(module).DESCRIPTOR, files)
    for file in files.values():
        for line in file_shape(file):
            sys.stdout.write(line + "\n")


def collect(file: FileDescriptor, files: dict[str, FileDescriptor]) -> None:
    """Gather a file and what it imports, Dapr's packages only."""
    if file.name not in files and file.package.startswith("dapr."):
        files[file.name] = file
        for imported in file.dependencies:
            collect(imported, files)


def file_shape(file: FileDescriptor) -> Iterator[str]:
    for message in file.message_types_by_name.values():
        yield from message_shape(message)
    for enum in file.enum_types_by_name.values():
        yield from enum_shape(enum)
    for service in file.services_by_name.values():
        yield from service_shape(service)


def message_shape(message: Descriptor) -> Iterator[str]:
    for field in message.fields:
        yield f"{message.full_name} {field_shape(field)}"
    for enum in message.enum_types:
        yield from enum_shape(enum)
    for nested in message.nested_types:
        yield from message_shape(nested)


def field_shape(field: FieldDescriptor) -> str:
    kind = field.message_type or field.enum_type
    oneof = field.containing_oneof.name if field.containing_oneof else ""
    return f"{field.name}={field.number} {field.type} {field.is_repeated} {oneof} {kind.full_name if kind else ''}"


def enum_shape(enum: EnumDescriptor) -> Iterator[str]:
    for value in enum.values:
        yield f"{enum.full_name} {value.name}={value.number}"


def service_shape(service: ServiceDescriptor) -> Iterator[str]:
    for method in service.methods:
        streams = f"{method.client_streaming} {method.server_streaming}"
        yield f"{method.full_name} {method.input_type.full_name} {method.output_type.full_name} {streams}"


if __name__ == "__main__":
    main(sys.argv[1:])
