"""The daemon's log: lines one can read and lines one can parse."""

import io
import json
import logging
from collections.abc import Iterator

import pytest

from noded.logs import REPEAT_SECONDS, REPEATS, JsonLines, Repeats, TextLines


def record(message: str, *values: object, level: int = logging.INFO, **extra: object) -> logging.LogRecord:
    made = logging.LogRecord("noded.apps", level, "file.py", 1, message, values, None)
    made.created = 0.25
    vars(made).update(extra)
    return made


@pytest.fixture
def failed() -> Iterator[logging.LogRecord]:
    """An event with an exception of two lines."""
    try:
        int("first\nsecond")
    except ValueError as error:
        made = record("broken")
        made.exc_info = (type(error), error, error.__traceback__)
        yield made


def test_text_line_has_time_level_logger_message_and_fields() -> None:
    """One line: what happened first, what belongs to it behind."""
    line = TextLines().format(record("app %s attached", "default/a", app="default/a"))

    assert line == "1970-01-01T00:00:00.250Z info    noded.apps: app default/a attached app=default/a"


def test_json_line_has_the_same_as_fields() -> None:
    """One object: time, level, logger, msg, and what the event adds."""
    line = JsonLines().format(record("delivered to %s", "a", app="default/a", count=3))

    assert json.loads(line) == {
        "time": "1970-01-01T00:00:00.250Z",
        "level": "info",
        "logger": "noded.apps",
        "msg": "delivered to a",
        "app": "default/a",
        "count": 3,
    }


def test_message_of_an_app_names_it_as_a_field() -> None:
    """What happens to an app can be found by its name, whoever writes the line."""
    told = json.loads(JsonLines().format(record("app %s attached", "default/a")))

    assert (told["app"], told["msg"]) == ("default/a", "app default/a attached")


def test_traceback_is_a_field_in_json(failed: logging.LogRecord) -> None:
    """A bug is still one line for machines."""
    line = JsonLines().format(failed)

    assert "\n" not in line
    assert json.loads(line)["traceback"].splitlines()[-1].startswith("ValueError: ")


def test_traceback_is_indented_below_its_line_in_text(failed: logging.LogRecord) -> None:
    """A line that does not begin with a time belongs to the one above it."""
    first, *below = TextLines().format(failed).splitlines()

    assert first.endswith("noded.apps: broken")
    assert below[-1].startswith("    ValueError: ")
    assert all(line.startswith("    ") for line in below)


@pytest.mark.parametrize("hostile", ["a\nforged line", "a\rb", "a\x1b[2Jb", "a\x7fb", "a\x9bb", "a\u2028b", "a\x00b"])
def test_text_from_outside_cannot_forge_lines(hostile: str) -> None:
    """Control characters are escaped, in the message and in fields."""
    for made in (record("%s", hostile), record("x", app=hostile)):
        line = TextLines().format(made)

        assert line.isprintable()
        assert len(line.splitlines()) == 1


def test_warning_that_repeats_is_counted_not_written() -> None:
    """So many lines of one warning in a while; the first of the next while tells how many were left out."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines())
    handler.addFilter(Repeats())
    for number in range(REPEATS + 5):
        handler.handle(record("delivery to %d failed", number, level=logging.WARNING))
    handler.handle(record("another", level=logging.WARNING))
    late = record("delivery to %d failed", 99, level=logging.WARNING)
    late.created += REPEAT_SECONDS
    handler.handle(late)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]

    assert [line["msg"] for line in lines[-3:]] == [
        f"delivery to {REPEATS - 1} failed",
        "another",
        "delivery to 99 failed",
    ]
    assert (len(lines), lines[-1]["suppressed"]) == (REPEATS + 2, 5)


def test_what_is_no_warning_is_always_written() -> None:
    """A thousand apps attached are a thousand lines."""
    repeats = Repeats()

    assert all(repeats.filter(record("app %s attached", number)) for number in range(1000))
