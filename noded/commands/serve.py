"""`noded serve`: settings from flags and Configuration, then the daemon until SIGTERM."""

import argparse
import logging
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from noded.commands.arguments import Commands, add_command
from noded.commands.failures import CommandError, leaves
from noded.config.http_settings import HttpSettings
from noded.config.paths import PathTooLongError, admin_path
from noded.config.records import Settings
from noded.config.values import parse_quantity
from noded.logs import LEVELS, configure

log = logging.getLogger("noded")


def add(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(commands, "serve", "run the daemon in the foreground", run_dir=False)
    add_argument = parser.add_argument
    add_argument("--resources-path", type=Path, action="append", default=[], metavar="DIR", help="may be repeated")
    add_argument("--config", type=Path, action="append", default=[], metavar="FILE", help="may be repeated")
    add_argument("--run-dir", type=Path, metavar="DIR", help="where sockets are made")
    add_argument("--state-dir", type=Path, metavar="DIR", help="where local stores keep their files")
    add_argument("--drain-seconds", type=_seconds, metavar="SECONDS", help="for what is in flight at the end")
    add_argument("--max-body-size", type=_size, metavar="SIZE", help="of a request, as 4Mi")
    add_argument("--read-buffer-size", type=_size, metavar="SIZE", help="of a request's head, as 4Ki")
    add_argument(
        "--allowed-origins", default="", metavar="ORIGINS", help="of web pages, by commas; default: CORS is off"
    )
    add_argument("--memory-limit", type=_size, metavar="SIZE", help="of the daemon; default: its control group's")
    add_argument("--metrics-port", type=_port, metavar="PORT", help="serve the metrics there as well; 0: anywhere free")
    add_argument("--metrics-listen-address", default="0.0.0.0", metavar="ADDRESS", help="of that port")  # noqa: S104
    add_argument("--log-level", choices=tuple(LEVELS), help="default: info")
    add_argument("--log-as-json", action="store_true", help="one JSON object per line")
    parser.set_defaults(run=_serve)


def _serve(options: argparse.Namespace) -> int:
    settings = _settings(options)
    configure(settings.log_level, as_json=settings.log_as_json)
    settings = _configured(settings, options)
    from noded.daemon import Daemon
    from noded.host import Host, run

    async def go(host: Host) -> None:
        await Daemon(settings, host).serve()

    try:
        run(go)
    except Exception as error:  # noqa: BLE001 (the end of the process: it says why)
        return _told(error)
    return 0


def _told(error: Exception) -> int:
    """Say why the daemon ended: a reason per line where reasons are known, a bug with its traceback."""
    reasons = list(leaves(error))
    if all(isinstance(each, OSError | PathTooLongError) or _is_socket_error(each) for each in reasons):
        for each in reasons:
            log.error("%s", each.strerror if isinstance(each, OSError) and not each.filename else each)
    else:
        log.critical("the daemon failed", exc_info=error)
    return 1


def _is_socket_error(error: BaseException) -> bool:
    from noded.sockets import SocketError

    return isinstance(error, SocketError)


def _settings(options: argparse.Namespace) -> Settings:
    """What flags say over what is shipped. Ends the command with code 2 where a path cannot be used."""
    from noded.config.instantiate import default_settings

    shipped = default_settings()
    settings = replace(
        shipped,
        resources_paths=tuple(options.resources_path),
        config_paths=tuple(options.config),
        run_dir=(options.run_dir or _private(shipped.run_dir)).absolute(),
        state_dir=(options.state_dir or shipped.state_dir).absolute(),
        drain_seconds=shipped.drain_seconds if options.drain_seconds is None else options.drain_seconds,
        max_body_bytes=options.max_body_size or shipped.max_body_bytes,
        memory_bytes=options.memory_limit,
        http=_http(options, shipped.http),
        metrics_listen=None if options.metrics_port is None else (options.metrics_listen_address, options.metrics_port),
        log_level=options.log_level or shipped.log_level,
        log_as_json=options.log_as_json,
    )
    for flag, path in _paths_needed(settings):
        if not path.exists():
            options.refuse(f"{flag} {path}: no such file or directory")
    try:
        admin_path(settings.run_dir)
    except PathTooLongError as error:
        options.refuse(f"--run-dir: {error}")
    return settings


def _http(options: argparse.Namespace, shipped: HttpSettings) -> HttpSettings:
    return replace(
        shipped,
        read_buffer_bytes=options.read_buffer_size or shipped.read_buffer_bytes,
        allowed_origins=tuple(options.allowed_origins.split(",")) if options.allowed_origins else (),
    )


def _paths_needed(settings: Settings) -> Iterator[tuple[str, Path]]:
    yield from (("--resources-path", path) for path in settings.resources_paths)
    yield from (("--config", path) for path in settings.config_paths)


def _configured(settings: Settings, options: argparse.Namespace) -> Settings:
    if not settings.config_paths:
        return settings
    from noded.config.settings import load_configuration, with_configuration

    loaded = load_configuration(settings.config_paths)
    for warning in loaded.warnings:
        log.warning("configuration: %s", warning)
    if loaded.problems:
        options.refuse("--config: " + "\n".join(map(str, loaded.problems)))
    return with_configuration(settings, loaded.configuration)


def _private(path: Path) -> Path:
    """Make the default run directory of a user who is not root: its parent may be open to everyone.

    Raises CommandError where it is somebody else's.
    """
    if os.geteuid() == 0:
        return path
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    found = path.lstat()
    if path.is_symlink() or found.st_uid != os.geteuid():
        raise CommandError(f"{path} is not this user's: name another run directory by --run-dir")
    return path


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < sys.maxsize:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds from 0")
    return value


def _port(text: str) -> int:
    if not (text.isascii() and text.isdecimal()) or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: 0 to 65535")
    return int(text)


def _size(text: str) -> int:
    try:
        value = parse_quantity(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no size above 0, as 4Mi, 500k or 1048576")
    return value
