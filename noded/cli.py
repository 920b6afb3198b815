"""The `noded` command: parses, runs one command of `noded/commands/`, and turns its outcome into an exit code.

0: done. 1: refused or failed, the reason in one line on standard error. 2: wrong arguments. Nobody who types a command
is shown a traceback. Only the module of the command that was typed is imported: a command must start fast.
"""

import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING

from noded import __version__
from noded.commands.failures import CommandError, OperatorError
from noded.garbage import collect_seldom
from noded.version import DAPR_VERSION

if TYPE_CHECKING:
    import argparse

FAMILIES = {
    "serve": ("serve",),
    "run": ("run",),
    "daprd": ("daprd",),
    "shows": ("apps", "usage", "components", "events"),
    "changes": ("reload", "detach", "check"),
    "demo": ("demo",),
}
"""{module of noded.commands: the commands it adds}, in the order of --help."""


def build_parser(command: str = "") -> "argparse.ArgumentParser":
    """The parser of this command and its flags; of every command where there is none of that name."""
    import argparse  # noqa: PLC0415 - `noded daprd` reads its flags without it

    parser = argparse.ArgumentParser(
        prog="noded", description="One multi-tenant Dapr runtime per node.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"noded {__version__} (Dapr {DAPR_VERSION})")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for family in [name for name, added in FAMILIES.items() if command in added] or FAMILIES:
        import_module(f"noded.commands.{family}").add(commands)
    commands.metavar = "{" + ",".join(commands.choices) + "}"
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    collect_seldom()
    given = sys.argv[1:] if arguments is None else arguments
    if given[:1] == ["daprd"]:
        from noded.commands.daprd import main as daprd  # noqa: PLC0415 - for this command alone

        sys.exit(daprd(given[1:]))  # its flags are read as Go reads them
    options, unknown = build_parser(given[0] if given else "").parse_known_args(given)
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
