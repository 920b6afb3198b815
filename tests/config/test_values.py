"""Units are Kubernetes' and Go's."""

from collections.abc import Callable

import pytest

from noded.config.values import parse_duration, parse_mode, parse_quantity, parse_rate


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (parse_quantity, "0", 0),
        (parse_quantity, "500k", 500_000),
        (parse_quantity, "10Mi", 10 * 1024 * 1024),
        (parse_quantity, "1.5Gi", 3 << 29),
        (parse_quantity, "0.1", 1),
        (parse_rate, "0.5", 0.5),
        (parse_rate, "1Mi", float(1 << 20)),
        (parse_rate, "1e3", 1000.0),
        (parse_duration, "0", 0.0),
        (parse_duration, "500ms", 0.5),
        (parse_duration, "1h2m3.5s", 3723.5),
        (parse_duration, ".5s", 0.5),
        (parse_duration, "250us", 0.00025),
        (parse_mode, "0750", 0o750),
        (parse_mode, "750", 0o750),
        (parse_mode, "0o700", 0o700),
    ],
)
def test_units(parse: Callable[[str], float], text: str, value: float) -> None:
    """Suffixes mean what they mean in Kubernetes and in Go."""
    assert value == pytest.approx(parse(text))


@pytest.mark.parametrize(
    ("parse", "text"),
    [(parse_quantity, each) for each in ("", "-1", "10MB", "10mi", "Mi", "1 Mi", "9" * 30, "99999Pi", "nan", "٣")]
    + [(parse_rate, each) for each in ("", "0", "-1", "inf", "nan")]
    + [(parse_duration, each) for each in ("", "5", "s", "-1s", "5 s", "1d", ".s", "1h2")]
    + [(parse_mode, each) for each in ("", "7", "0888", "01777", "rwx")],
)
def test_what_is_no_value_is_refused(parse: Callable[[str], float], text: str) -> None:
    """Nothing is guessed: another unit, a sign or a blank is an error."""
    with pytest.raises(ValueError, match=r"is |are "):
        parse(text)
