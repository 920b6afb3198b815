"""`noded apps`, `usage`, `components`, `events`: what the operator is shown, as tables or as the daemon's own JSON."""

import argparse
import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from noded.commands.arguments import Commands, add_command, add_json, client_of
from noded.commands.tables import duration, quantity, size, table

Row = dict[str, Any]

_APPS = (
    "NAMESPACE", "APP", "READY", "HEALTHY", "CHANNEL", "LOOPBACK", "COMPONENTS", "SUBSCRIPTIONS", "FROM", "SOCKETS",
)  # fmt: skip
_COUNTED = ("APP", "REQUESTS", "REFUSED", "ERRORS", "IN", "OUT", "DELIVERED", "DROPPED", "CPU")
_YES_NO = {True: "yes", False: "no", None: "-"}
_LIMITS = ("SUBJECT", "LIMIT", "USED", "OF", "REFUSED")


def add(commands: Commands) -> None:
    """Add the four commands."""
    for name, text, layout in (
        ("apps", "list the attached apps", _apps),
        ("usage", "show what is used of each limit, and what was refused", _usage),
        ("components", "list the configured components and how they are", _components),
        ("events", "list what was refused or dropped lately", _events),
    ):
        parser = add_command(commands, name, text)
        add_json(parser)
        parser.set_defaults(run=_show, page=f"/v1/{name}", layout=layout)


def _show(options: argparse.Namespace) -> int:
    rows = client_of(options).get(options.page)
    layout: Callable[[list[Row]], str] = options.layout
    sys.stdout.write(json.dumps(rows, indent=2) + "\n" if options.json else layout(rows))
    return 0


def _apps(rows: list[Row]) -> str:
    if not rows:
        return "no app is attached: declare one (kind App) or start one with `noded run`\n"
    return table(_APPS, map(_app, rows))


def _app(row: Row) -> tuple[str, ...]:
    ports = f"{row['httpPort']},{row['grpcPort']}" if row["httpPort"] else "-"
    return (
        row["namespace"],
        row["appId"],
        _YES_NO[row["ready"]],
        _YES_NO[row["healthy"]],
        row["channel"] or "-",
        ports,
        ",".join(row["components"]) or "-",
        ",".join(row["subscriptions"]) or "-",
        "resources" if row["declared"] else "run",
        row["httpSocket"].rpartition("/")[0],
    )


def _usage(rows: list[Row]) -> str:
    apps = [row for row in rows if "/" in row["subject"]]
    lines = [_limit(row["subject"], limit) for row in rows for limit in row["limits"]]
    counted = table(_COUNTED, map(_counters, apps), _COUNTED[1:]) + "\n" if apps else ""
    return counted + (table(_LIMITS, lines, _LIMITS[2:]) if lines else "no limit is set or used\n")


def _counters(row: Row) -> tuple[str, ...]:
    return (
        row["subject"],
        str(row["requests"]),
        str(sum(limit["refused"] for limit in row["limits"])),
        str(row["errors"]),
        size(row["bytesIn"]),
        size(row["bytesOut"]),
        str(row["delivered"]),
        str(row["dropped"]),
        duration(row["cpuSeconds"]),
    )


def _limit(subject: str, limit: Row) -> tuple[str, ...]:
    name = limit["limit"]
    used, allowed = quantity(name, limit["used"]), quantity(name, limit["allowed"])
    return subject, name, used, allowed, str(limit["refused"])


def _components(rows: list[Row]) -> str:
    header = ("NAME", "TYPE", "NAMESPACE", "STATUS")
    return table(header, [(row["name"], row["type"], row["namespace"] or "all", row["status"]) for row in rows])


def _events(rows: list[Row]) -> str:
    if not rows:
        return "nothing was refused or dropped\n"
    header = ("LAST", "TENANT", "WHAT", "LIMIT", "USED", "OF", "TIMES")
    return table(header, map(_event, rows), header[4:])


def _event(row: Row) -> tuple[str, ...]:
    at = datetime.fromtimestamp(row["at"], UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    used, allowed = quantity(row["limit"], row["used"]), quantity(row["limit"], row["allowed"])
    return at, row["tenant"], row["what"], row["limit"], used, allowed, str(row["count"])
