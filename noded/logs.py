"""The daemon's log: one line per event that matters, on standard error, as text or JSON.

A line is written at once and whole, so a log ends readable however the process does. Text that came from outside
stays on its line: control characters are escaped. Fields: time (UTC), level, logger, msg, then what the event adds
(`app`, for one), and `traceback` for a bug. A message that begins with "app %s" names its app: JSON has it as `app`.
"""

import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import Any, TextIO

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warn": logging.WARNING, "error": logging.ERROR}
"""daprd's names of levels."""
REPEAT_SECONDS = 10.0
REPEATS = 20
"""So many lines of one warning in REPEAT_SECONDS; more are counted and told by the next one's `suppressed`."""
MAX_WARNINGS = 1000
"""Different warnings that are counted."""

OF_APP = "app %s"

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}
_ESCAPES = {code: f"\\x{code:02x}" for code in (*range(32), 127, *range(0x80, 0xA0))} | {
    0x0A: "\\n", 0x0D: "\\r", 0x09: "\\t", 0x2028: "\\u2028", 0x2029: "\\u2029",
}  # fmt: skip


def configure(level: str, *, as_json: bool, stream: TextIO | None = None) -> None:
    """Send every logger of the process to one stream (None: standard error), from `level` of LEVELS on."""
    handler = logging.StreamHandler(sys.stderr if stream is None else stream)
    handler.setFormatter(JsonLines() if as_json else TextLines())
    handler.addFilter(Repeats())
    logging.basicConfig(level=LEVELS[level], handlers=[handler], force=True)
    logging.captureWarnings(capture=True)


class TextLines(logging.Formatter):
    """`<time> <level> <logger>: <msg> <field>=<value>...`; a traceback follows, indented."""

    def format(self, record: logging.LogRecord) -> str:
        """Lay out one event."""
        extras = "".join(f" {name}={value}" for name, value in _extras(record).items())
        line = f"{_time(record)} {_level(record):<7} {record.name}: {record.getMessage()}{extras}".translate(_ESCAPES)
        told = _traceback(record)
        return line + "".join(f"\n    {each.translate(_ESCAPES)}" for each in told.splitlines())


class JsonLines(logging.Formatter):
    """One JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        """Lay out one event."""
        told = {"time": _time(record), "level": _level(record), "logger": record.name, "msg": record.getMessage()}
        if str(record.msg).startswith(OF_APP) and isinstance(record.args, tuple):
            told["app"] = str(record.args[0])
        told |= _extras(record)
        if found := _traceback(record):
            told["traceback"] = found
        return json.dumps(told, default=str)


class Repeats(logging.Filter):
    """Keeps one failure that repeats from filling the disk; what is no warning always passes."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: dict[tuple[str, str], list[float]] = {}  # {(logger, message before its values): [since, count]}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to write it."""
        if record.levelno < logging.WARNING:
            return True
        if len(self._seen) >= MAX_WARNINGS:
            self._seen.clear()
        seen = self._seen.setdefault((record.name, str(record.msg)), [record.created, 0])
        if record.created - seen[0] >= REPEAT_SECONDS:
            if seen[1] > REPEATS:
                record.suppressed = int(seen[1]) - REPEATS
            seen[:] = [record.created, 0]
        seen[1] += 1
        return seen[1] <= REPEATS


def _time(record: logging.LogRecord) -> str:
    at = datetime.fromtimestamp(record.created, UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _level(record: logging.LogRecord) -> str:
    return record.levelname.lower()


def _extras(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}


def _traceback(record: logging.LogRecord) -> str:
    if not record.exc_info or record.exc_info[1] is None:
        return ""
    return "".join(traceback.format_exception(record.exc_info[1])).rstrip()
