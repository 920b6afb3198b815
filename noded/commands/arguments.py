"""What the commands share: the parser's types, the flags that many of them take."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from noded.config.paths import PathTooLongError, admin_path, default_run_dir

if TYPE_CHECKING:
    from noded.admin.client import OperatorClient

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001 (argparse names it no other way)
else:
    Commands = object


def add_command(commands: Commands, name: str, text: str, *, run_dir: bool = True) -> argparse.ArgumentParser:
    """Add a command of this name; with `run_dir`, one that asks a running daemon."""
    parser = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".", allow_abbrev=False)
    if run_dir:
        parser.add_argument("--run-dir", type=Path, metavar="DIR", help="run directory of the daemon to ask")
    parser.set_defaults(refuse=parser.error)
    return parser


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add `--json`."""
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def run_dir_of(options: argparse.Namespace) -> Path:
    """The run directory that was asked for, or this user's. Ends the command where no socket can stand in it."""
    run_dir: Path = options.run_dir or default_run_dir(os.environ, os.geteuid())
    run_dir = run_dir.absolute()
    try:
        admin_path(run_dir)
    except PathTooLongError as error:
        options.refuse(f"--run-dir: {error}")
    return run_dir


def client_of(options: argparse.Namespace) -> "OperatorClient":
    """Whom to ask."""
    from noded.admin.client import OperatorClient

    return OperatorClient(run_dir_of(options))
