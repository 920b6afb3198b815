"""What a daemon imports before its sockets answer: a start is to be quick, so the rest waits."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from noded.cli import FAMILIES, build_parser

ROOT = Path(__file__).parents[2]
LATER = (
    "google.protobuf",
    "yaml",
    "http.client",
    "prometheus_client",
    "hypercorn",
    "sqlite3",
    "httpx",
    "cel_expr_python",
)
OURS_LATER = ("noded.wire.http2", "noded.server_grpc", "noded.channel_grpc", "noded.config.parse", "components.state")
SIDECAR = "noded.cli, noded.commands.daprd, noded.config.load, noded.sidecar.runtime"
DAEMON = "noded.cli, noded.commands.serve, noded.config.load, noded.daemon"


def imported_by(modules: str) -> set[str]:
    """The modules that a new process holds after it imported these."""
    told = subprocess.run(
        [sys.executable, "-c", f"import sys, {modules}; print(sorted(sys.modules))"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    return set(ast.literal_eval(told.stdout))


@pytest.mark.parametrize("modules", [SIDECAR, DAEMON], ids=["noded daprd", "noded serve"])
def test_what_the_first_answer_does_not_need_is_imported_later(modules: str) -> None:
    """Protobuf, HTTP/2, YAML, stores and the operator's side cost more than the rest together."""
    assert not imported_by(modules) & {*LATER, *OURS_LATER}


def test_every_command_is_listed_with_its_module() -> None:
    """The parser of one command is made without the other commands' modules, so the list must be right."""
    every = build_parser()._subparsers
    assert every is not None
    (commands,) = every._group_actions
    assert commands.choices is not None
    assert list(commands.choices) == [name for names in FAMILIES.values() for name in names]


@pytest.mark.parametrize("command", [name for names in FAMILIES.values() for name in names])
def test_a_command_is_parsed_as_among_all_of_them(command: str) -> None:
    """Its own help is the same, whichever other commands were added."""

    def help_of(parser_for: str) -> str:
        (commands,) = build_parser(parser_for)._subparsers._group_actions  # type: ignore[union-attr]
        return str(commands.choices[command].format_help())  # type: ignore[index]

    assert help_of(command) == help_of("")
