"""How Go writes a duration: `1m30s`, `400ms`. Source: Go's time.Duration.String."""

from typing import Final

_BELOW_A_SECOND: Final = ((1_000_000, "ms"), (1_000, "µs"), (1, "ns"))


def go_duration(seconds: float) -> str:
    """Write seconds, 0 or more, to the nanosecond."""
    whole = round(seconds * 1e9)  # nanoseconds
    if not whole:
        return "0s"
    if whole < 1_000_000_000:
        size, unit = next(each for each in _BELOW_A_SECOND if whole >= each[0])
        return _number(whole, size) + unit
    minutes, rest = divmod(whole, 60_000_000_000)
    hours, minutes = divmod(minutes, 60)
    text = _number(rest, 1_000_000_000) + "s"
    if hours:
        return f"{hours}h{minutes}m{text}"
    return f"{minutes}m{text}" if minutes else text


def _number(count: int, size: int) -> str:
    """Write count / size without zeros at the end."""
    before, after = divmod(count, size)
    digits = str(after).zfill(len(str(size)) - 1).rstrip("0") if after else ""
    return f"{before}.{digits}" if digits else str(before)
