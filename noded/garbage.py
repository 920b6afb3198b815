"""How seldom Python looks for garbage: at the start nothing becomes garbage, and the data path makes few cycles."""

import gc

GC_THRESHOLDS = (50_000, 20, 50)
"""Python's default would look seventy times as often; a tenth of the time of a start went there."""


def collect_seldom() -> None:
    """From here on."""
    gc.set_threshold(*GC_THRESHOLDS)
