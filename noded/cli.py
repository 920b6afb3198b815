"""The `noded` command: parses, runs one command of `noded/commands/`, and turns its outcome into an exit code.

0: done. 1: refused or failed, the reason in one line on standard error. 2: wrong arguments. Nobody who types a command
is shown a traceback.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence

from noded import __version__
from noded.admin.client import OperatorError
from noded.commands import changes, daprd, demo, run, serve, shows
from noded.commands.arguments import CommandError
from noded.version import DAPR_VERSION

FAMILIES = (serve, run, daprd, shows, changes, demo)
"""In the order of --help."""


def build_parser() -> argparse.ArgumentParser:
    """The parser of every command and flag."""
    parser = argparse.ArgumentParser(
        prog="noded", description="One multi-tenant Dapr runtime per node.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"noded {__version__} (Dapr {DAPR_VERSION})")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for family in FAMILIES:
        family.add(commands)
    commands.metavar = "{" + ",".join(commands.choices) + "}"
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    if given[:1] == ["daprd"]:
        sys.exit(daprd.main(given[1:]))  # its flags are read as Go reads them
    options, unknown = build_parser().parse_known_args(given)
    if unknown:  # told with the usage of the command at hand
        options.refuse(f"unrecognized arguments: {' '.join(unknown)}")
    command: Callable[[argparse.Namespace], int] = options.run
    try:
        code = command(options)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130
    except (CommandError, OperatorError) as error:
        return _failed(str(error))
    except OSError as error:
        return _failed(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except Exception as error:
        if os.environ.get("NODED_TRACEBACK"):
            raise
        return _failed(f"a bug in noded: {type(error).__name__}: {error} (NODED_TRACEBACK=1 shows where)")
    return code


def _failed(reason: str) -> int:
    sys.stderr.write(f"noded: {reason}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
