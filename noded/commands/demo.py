"""`noded demo`: the daemon at work, in a temporary directory."""

import argparse

from noded.commands.arguments import Commands, add_command


def add(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(commands, "demo", "start a daemon and two small apps and show them at work", run_dir=False)
    parser.add_argument("--python-only", action="store_true", help="no app in Node, even where it is installed")
    parser.set_defaults(run=_demo)


def _demo(options: argparse.Namespace) -> int:
    from noded.demo.story import tell

    return tell(python_only=options.python_only)
