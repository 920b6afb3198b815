"""One token bucket. No clock: every call is told `now`, in monotonic seconds.

A bucket holds at most one second's worth (at least 1) and begins full. A request larger than that is admitted when the
bucket is full and leaves it in debt, so nothing is un-admittable and the rate still holds over time.
"""

from typing import Final

SLACK_SECONDS: Final = 1e-6
"""How early a request may come: above the rounding of monotonic seconds in a float, so that waiting exactly as long as
a refusal says is enough. What is taken early is still paid for."""


class Bucket:
    """Tokens that come back at `rate` a second."""

    __slots__ = ("_early", "_last", "_tokens", "burst", "rate")

    def __init__(self, rate: float) -> None:
        self._last = 0.0
        self._set(rate)
        self._tokens = self.burst

    def take(self, now: float, n: float) -> float:
        """Take `n` tokens: 0.0. Or take nothing and return the seconds until they would fit."""
        tokens = self._tokens + (now - self._last) * self.rate
        burst = self.burst
        if tokens > burst:  # noqa: PLR1730 - a call of min() costs more than the rest of the line
            tokens = burst
        self._last = now
        need = n if n < burst else burst  # noqa: FURB136 - as for `tokens`
        if tokens < need - self._early:
            self._tokens = tokens
            return (need - tokens) / self.rate
        self._tokens = tokens - n
        return 0.0

    def debit(self, now: float, n: float) -> None:
        """Take `n` tokens whether or not they are there: for what is known only afterwards, as a reply's bytes."""
        tokens = self._tokens + (now - self._last) * self.rate
        self._last = now
        self._tokens = (tokens if tokens < self.burst else self.burst) - n  # noqa: FURB136 - as in `take`

    def give_back(self, n: float) -> None:
        """Undo a `take` of this very moment."""
        self._tokens += n

    def set_rate(self, rate: float, now: float) -> None:
        """Change the rate from `now` on. What is held, or owed, stays; above the new burst it is cut."""
        self._settle(now)
        self._set(rate)

    def used(self, now: float) -> float:
        """Tokens taken and not yet come back, in 0 to burst, or more in debt."""
        self._settle(now)
        return self.burst - self._tokens

    def _settle(self, now: float) -> None:
        self._tokens = min(self.burst, self._tokens + (now - self._last) * self.rate)
        self._last = now

    def _set(self, rate: float) -> None:
        self.rate = rate
        self.burst = max(rate, 1.0)
        self._early = rate * SLACK_SECONDS
