"""`noded daprd`, also `noded-daprd`: the runtime of one app behind daprd's own flags, output and exit codes.

0: ended as asked. 1: did not start, or failed. 2: flags that are none.
"""

import logging
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from noded.commands.failures import leaves
from noded.garbage import collect_seldom
from noded.sidecar.flags import FLAGS
from noded.sidecar.log import configure
from noded.sidecar.pflag import FlagError, Parsed, parse, usage
from noded.sidecar.settings import Refused, SidecarSettings, log_level, settings_of
from noded.version import RUNTIME_VERSION

if TYPE_CHECKING:
    import argparse

    from noded.commands.arguments import Commands

log = logging.getLogger("noded")


def add(commands: "Commands") -> None:
    """List the command; its flags are not argparse's, and never come to it."""
    commands.add_parser("daprd", help="run one app behind daprd's own flags", add_help=False).set_defaults(run=_listed)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code."""
    collect_seldom()
    try:
        flags = parse(sys.argv[1:] if arguments is None else arguments, FLAGS)
    except FlagError as error:
        sys.stderr.write(f"{error}\n{usage(FLAGS)}")
        sys.stdout.write(f"{error}\n")
        return 2
    if flags.on("version"):
        sys.stdout.write(f"{RUNTIME_VERSION}\n")
        return 0
    if flags.on("build-info"):
        sys.stdout.write(f"Version: {RUNTIME_VERSION}\nGit Commit: \nGit Version: \n")
        return 0
    if flags.on("wait"):
        from noded.sidecar.wait import wait_until_outbound_ready

        return wait_until_outbound_ready(flags.text("dapr-http-port"))
    try:
        return _run(flags)
    except Refused as error:
        log.critical("%s", error)
        return 1


def _run(flags: Parsed) -> int:
    _configure_log(flags, "info")
    _configure_log(flags, log_level(flags))
    log.info("Starting Dapr Runtime -- noded, version %s", RUNTIME_VERSION)
    log.info("Log level set to: %s", flags.text("log-level"))
    settings = _configured(settings_of(flags, os.environ))
    _warn(flags)
    os.environ |= {"APP_ID": settings.app.app_id, "APP_PORT": flags.text("app-port") or "0"}  # for envRef
    return _serve(settings)


def _configure_log(flags: Parsed, level: str) -> None:
    path = flags.text("log-file")
    try:
        stream = Path(path).open("a", buffering=1, encoding="utf-8") if path else None  # noqa: SIM115 - until the end
    except OSError as error:
        raise Refused(f"open {path}: {error.strerror}") from error
    configure(
        level, as_json=flags.on("log-as-json"), app_id=flags.text("app-id"), version=RUNTIME_VERSION, stream=stream
    )


def _warn(flags: Parsed) -> None:
    """Name what was asked for and is not there."""
    for flag in FLAGS:
        if flag.name not in flags.changed:
            continue
        if flag.instead:
            sys.stderr.write(f"Flag --{flag.name} has been deprecated, {flag.instead}\n")
        if flag.unserved and flags.values[flag.name] != flag.default:
            log.warning("--%s is accepted, but noded does not serve it yet", flag.name)


def _configured(settings: SidecarSettings) -> SidecarSettings:
    """Settings with the files of --config applied. Raises Refused."""
    for path in (*settings.node.config_paths, *settings.node.resources_paths):
        if not path.exists():
            what = "error loading configuration: stat" if path in settings.node.config_paths else "failed to add target"
            raise Refused(f"Fatal error from runtime: {what} {path}: no such file or directory")
    if not settings.node.config_paths:
        log.info("loading default configuration")
        return settings
    from noded.config.settings import load_configuration, with_configuration

    loaded = load_configuration(settings.node.config_paths)
    for warning in loaded.warnings:
        log.warning("configuration: %s", warning)
    if loaded.problems:
        reasons = "; ".join(map(str, loaded.problems))
        raise Refused(f"Fatal error from runtime: error loading configuration: {reasons}")
    return replace(settings, node=with_configuration(settings.node, loaded.configuration))


def _serve(settings: SidecarSettings) -> int:
    from noded.config.paths import PathTooLongError
    from noded.host import Host, run
    from noded.sidecar.runtime import ComponentFailed, Sidecar
    from noded.sockets import SocketError

    async def go(host: Host) -> None:
        await Sidecar(settings, host).serve()

    try:
        run(go)
    except Exception as error:
        known = (OSError, PathTooLongError, ComponentFailed, Refused, SocketError)
        reasons = list(leaves(error))
        if not all(isinstance(each, known) for each in reasons):
            log.critical("Fatal error from runtime", exc_info=error)
        for each in reasons:
            if isinstance(each, known):
                log.critical("Fatal error from runtime: %s", each.strerror if isinstance(each, OSError) else each)
        return 1
    for number in (signal.SIGTERM, signal.SIGINT):  # it has ended as asked: one that comes now says nothing else
        signal.signal(number, signal.SIG_IGN)
    return 0


def _listed(_: "argparse.Namespace") -> int:
    """`noded.cli` hands the command over before it reads flags."""
    raise AssertionError


if __name__ == "__main__":
    sys.exit(main())
