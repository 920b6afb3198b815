"""The log as daprd writes it: on standard output, with its fields, so that what reads daprd's log can read this one.

Source: dapr/kit logger, text and JSON, as daprd 1.18.0 wrote them.
"""

import json
import logging
import re
import socket
import sys
import traceback
from datetime import UTC, datetime
from typing import TextIO

from noded.logs import Repeats

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warn": logging.WARNING, "error": logging.ERROR}
_NAMES = {"critical": "fatal"}
_OF_CALLS = ("code", "duration", "method", "size", "useragent")
"""Fields that the log of API calls adds."""
_PLAIN = re.compile(r"[A-Za-z0-9._/@^+-]+")


def configure(level: str, *, as_json: bool, app_id: str, version: str, stream: TextIO | None = None) -> None:
    """Send every logger to one stream (None: standard output), from `level` on."""
    handler = logging.StreamHandler(sys.stdout if stream is None else stream)
    fixed = {"instance": socket.gethostname(), "type": "log", "ver": version} | ({"app_id": app_id} if app_id else {})
    handler.setFormatter(DaprdLines(fixed, as_json=as_json))
    handler.addFilter(Repeats())
    logging.basicConfig(level=_LEVELS.get(level, logging.CRITICAL), handlers=[handler], force=True)
    logging.captureWarnings(capture=True)


class DaprdLines(logging.Formatter):
    """`time="..." level=info msg="..." app_id=... scope=...`, or the same as a JSON object."""

    def __init__(self, fixed: dict[str, str], *, as_json: bool) -> None:
        """`fixed`: fields of every line."""
        super().__init__()
        self._fixed = fixed
        self._as_json = as_json

    def format(self, record: logging.LogRecord) -> str:
        """Lay out one event."""
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        level = record.levelname.lower()
        message = record.getMessage()
        if record.exc_info and record.exc_info[1] is not None:
            message += "\n" + "".join(traceback.format_exception(record.exc_info[1])).rstrip()
        head = {"time": at, "level": _NAMES.get(level, level), "msg": message}
        rest: dict[str, object] = {**self._fixed, "scope": record.name.replace("noded", "dapr.runtime", 1)}
        rest |= {name: vars(record)[name] for name in _OF_CALLS if name in vars(record)}
        if self._as_json:
            return json.dumps(dict(sorted((head | rest).items())), ensure_ascii=False)
        fields = [*head.items(), *sorted(rest.items())]
        return " ".join(f"{name}={_quoted(name, value)}" for name, value in fields)


def _quoted(name: str, value: object) -> str:
    text = str(value)
    plain = name not in {"time", "msg"} and _PLAIN.fullmatch(text)
    return text if plain else json.dumps(text, ensure_ascii=False)
