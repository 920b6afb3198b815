"""`noded run`: attach an app to the running daemon, start its command with the environment set, detach when it ends.

The daemon keeps the app attached while this process holds its answer open, so that no end of this process, kill -9
included, leaves an app behind. A daemon that restarts gets the app attached again, at the same ports with the same
token: the command goes on.
"""

import argparse
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from noded.admin.attach_request import AttachRequest, spec_of
from noded.commands.arguments import Commands, add_command, client_of
from noded.commands.attached import Attached
from noded.commands.child import run_child
from noded.commands.failures import CommandError
from noded.config.records import AppProtocol, HealthSpec, InitEndpoint
from noded.config.values import (
    parse_address,
    parse_count,
    parse_milliseconds,
    parse_path,
    parse_port,
    parse_quantity,
    parse_rate,
    parse_seconds,
)
from tenancy.limits import FIELDS, Limits

T = TypeVar("T")

_OURS = ("DAPR_HTTP_PORT", "DAPR_GRPC_PORT", "DAPR_API_TOKEN", "DAPR_HTTP_ENDPOINT", "DAPR_GRPC_ENDPOINT",
         "DAPR_RUNTIME_HOST", "APP_ID", "APP_PORT", "NODED_HTTP_SOCKET", "NODED_GRPC_SOCKET")  # fmt: skip
"""Variables that would lead the command elsewhere if they were inherited."""


def add(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(commands, "run", "attach an app to the running daemon, run its command, detach")
    parser.usage = "noded run --app-id ID [options] -- COMMAND [ARGUMENT...]"
    add_argument = parser.add_argument
    add_argument("--app-id", required=True, metavar="ID")
    add_argument("--namespace", default="default", metavar="NAME", help="default: default")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--app-port", type=_port, metavar="PORT", help="where the app listens on 127.0.0.1")
    where.add_argument("--app-channel", type=_address, metavar="ADDRESS", help="the same, as host:port or unix:/path")
    add_argument("--app-protocol", choices=[each.value for each in AppProtocol], default="http", help="default: http")
    add_argument("--app-max-concurrency", type=_count, metavar="N", help="calls to the app at one moment")
    _add_health(parser)
    add_argument("--http-port", type=_port, default=0, metavar="PORT", help="of Dapr's HTTP API; default: a free one")
    add_argument("--grpc-port", type=_port, default=0, metavar="PORT", help="of Dapr's gRPC API; default: a free one")
    add_argument("--no-loopback", action="store_true", help="Unix sockets only, no TCP ports")
    limit_text = "as requestsPerSecond=100; may be repeated"
    add_argument("--limit", type=_limit, action="append", default=[], metavar="NAME=VALUE", help=limit_text)
    add_argument("command_line", nargs="*", metavar="COMMAND", help="after --: the app's own command")
    parser.set_defaults(run=_run)


def _add_health(parser: argparse.ArgumentParser) -> None:
    """Options spelt as daprd's flags, with its units."""
    usual, add_argument = HealthSpec(), parser.add_argument
    probe = "probe the app's health: /healthz, or HealthCheck of a gRPC app"
    add_argument("--enable-app-health-check", action="store_true", help=probe)
    add_argument("--app-health-check-path", type=_path, default=usual.path, metavar="PATH", help="default: /healthz")
    interval = "between two probes; default: 5"
    add_argument("--app-health-probe-interval", type=_seconds, default=5.0, metavar="SECONDS", help=interval)
    timeout = "that a probe may take; default: 500"
    add_argument("--app-health-probe-timeout", type=_milliseconds, default=0.5, metavar="MS", help=timeout)
    threshold = "failed probes that make it unhealthy; default: 3"
    add_argument("--app-health-threshold", type=_count, default=usual.threshold, metavar="N", help=threshold)
    choices, skipped = [each.value for each in InitEndpoint], "not to ask the app for; may be repeated"
    add_argument("--disable-init-endpoints", action="append", choices=choices, default=[], help=skipped)


def _run(options: argparse.Namespace) -> int:
    wanted = _wanted(options)
    command = options.command_line
    if not command:
        options.refuse("no command: give the app's own after --")
    if shutil.which(command[0]) is None:
        raise CommandError(f"{command[0]}: no such command, or not executable")
    attached = Attached(client_of(options), wanted)
    try:
        sys.stderr.write(f"noded: app {wanted.namespace}/{wanted.app_id} attached: {attached.place()}\n")
        return run_child(command, environment(os.environ, attached.endpoints, options.app_port), attached.hold)
    finally:
        attached.release()


def environment(inherited: Mapping[str, str], endpoints: Mapping[str, Any], app_port: int | None) -> dict[str, str]:
    """The command's environment: what SDKs read to find the daemon. Source: each SDK's own documentation."""
    kept = {name: value for name, value in inherited.items() if name not in _OURS}
    kept |= {"APP_ID": endpoints["appId"], "NODED_HTTP_SOCKET": endpoints["httpSocket"]}
    kept |= {"NODED_GRPC_SOCKET": endpoints["grpcSocket"]}
    if app_port is not None:
        kept["APP_PORT"] = str(app_port)
    if not endpoints["httpPort"]:
        return kept | {"DAPR_GRPC_ENDPOINT": f"unix:{endpoints['grpcSocket']}"}
    return kept | {
        "DAPR_HTTP_PORT": str(endpoints["httpPort"]),
        "DAPR_GRPC_PORT": str(endpoints["grpcPort"]),
        "DAPR_HTTP_ENDPOINT": f"http://127.0.0.1:{endpoints['httpPort']}",
        "DAPR_GRPC_ENDPOINT": f"127.0.0.1:{endpoints['grpcPort']}",
        "DAPR_API_TOKEN": endpoints["token"],
    }


def _wanted(options: argparse.Namespace) -> AttachRequest:
    if options.no_loopback and (options.http_port or options.grpc_port):
        options.refuse("--no-loopback: there are no ports to choose")
    wanted = AttachRequest(
        app_id=options.app_id,
        namespace=options.namespace,
        channel=f"127.0.0.1:{options.app_port}" if options.app_port else options.app_channel or "",
        protocol=AppProtocol(options.app_protocol),
        max_concurrency=options.app_max_concurrency,
        loopback=not options.no_loopback,
        http_port=options.http_port,
        grpc_port=options.grpc_port,
        limits=replace(Limits(), **dict(options.limit)),
        health=_health(options) if options.enable_app_health_check else None,
        disable_init_endpoints=tuple(map(InitEndpoint, options.disable_init_endpoints)),
    )
    try:
        spec_of(wanted)
    except ValueError as error:
        options.refuse(str(error))
    return wanted


def _health(options: argparse.Namespace) -> HealthSpec:
    return HealthSpec(
        path=options.app_health_check_path,
        interval_seconds=options.app_health_probe_interval,
        timeout_seconds=options.app_health_probe_timeout,
        threshold=options.app_health_threshold,
    )


def _limit(text: str) -> tuple[str, float]:
    """`requestsPerSecond=100` as the field and its value."""
    from noded.config.shapes import camel_case

    name, equals, value = text.partition("=")
    fields = {camel_case(each): each for each in FIELDS}
    if not equals or name not in fields:
        raise argparse.ArgumentTypeError(f"{text!r}: found {name!r}, allowed: {', '.join(fields)}, each as NAME=VALUE")
    try:
        return fields[name], (parse_rate if name.endswith("PerSecond") else parse_quantity)(value)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{name}: {value!r} {error}") from error


def _parsed(parse: Callable[[str], T], text: str, allowed: str) -> T:
    try:
        return parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} {error}; {allowed}") from error


def _port(text: str) -> int:
    return _parsed(parse_port, text, "allowed: 0 to 65535")


def _count(text: str) -> int:
    return _parsed(parse_count, text, "allowed: a whole number from 1")


def _path(text: str) -> str:
    return _parsed(parse_path, text, "allowed: a path, as /healthz")


def _seconds(text: str) -> float:
    return _parsed(parse_seconds, text, "allowed: a whole number of seconds from 1, or a Go duration; at most 24h")


def _milliseconds(text: str) -> float:
    allowed = "allowed: a whole number of milliseconds from 1, or a Go duration; at most 24h"
    return _parsed(parse_milliseconds, text, allowed)


def _address(text: str) -> str:
    return _parsed(parse_address, text, "allowed: host:port or unix:/path")
