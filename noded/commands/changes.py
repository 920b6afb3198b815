"""`noded reload`, `detach`, `check`: what the operator tells the daemon, and asks before telling it."""

import argparse
import json
import sys
from pathlib import Path
from urllib.parse import quote

from noded.commands.arguments import Commands, add_command, add_json, client_of
from noded.commands.failures import OperatorError


def add(commands: Commands) -> None:
    """Add the three commands."""
    reload = add_command(commands, "reload", "read the resources again; a bad file keeps its last good version")
    add_json(reload)
    reload.set_defaults(run=_reload)
    detach = add_command(commands, "detach", "detach an app: its sockets go, its data stays")
    detach.add_argument("app_id", metavar="APP_ID")
    detach.add_argument("--namespace", default="default", help="default: default")
    add_json(detach)
    detach.set_defaults(run=_detach)
    check = add_command(commands, "check", "validate resources without a daemon", run_dir=False)
    check.add_argument("paths", metavar="PATH", type=Path, nargs="+", help="a directory or a file")
    add_json(check)
    check.set_defaults(run=_check)


def _reload(options: argparse.Namespace) -> int:
    answer = client_of(options).ask("POST", "/v1/reload")
    if answer.status not in {200, 422}:
        raise OperatorError(f"the daemon answered {answer.status}: {answer.body}")
    problems = answer.body["problems"]
    if options.json:
        sys.stdout.write(json.dumps(answer.body, indent=2) + "\n")
    else:
        sys.stdout.writelines(f"error: {problem}\n" for problem in problems)
        sys.stdout.write("reloaded" + (", but for what is wrong above\n" if problems else "\n"))
    return 1 if problems else 0


def _detach(options: argparse.Namespace) -> int:
    path = f"/v1/apps/{quote(options.namespace, safe='')}/{quote(options.app_id, safe='')}"
    answer = client_of(options).ask("DELETE", path)
    if answer.status != 204:
        raise OperatorError(answer.body["error"] if isinstance(answer.body, dict) else f"status {answer.status}")
    told = {"namespace": options.namespace, "appId": options.app_id, "detached": True}
    name = f"{options.namespace}/{options.app_id}"
    sys.stdout.write(json.dumps(told) + "\n" if options.json else f"app {name} is detached\n")
    return 0


def _check(options: argparse.Namespace) -> int:
    from noded.check import run

    for path in options.paths:
        if not path.exists():
            options.refuse(f"{path}: no such file or directory")
    return run(options.paths, sys.stdout, as_json=options.json)
