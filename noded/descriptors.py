"""How many of the process's descriptors the apps' connections may take: the last ones are the daemon's own.

    below 3/4 of the table     whoever connects is welcome
    up to 15/16                an app that holds less than 1/16 already
    above                      nobody: files of stores, calls to apps and the operator need what is left

The kernel gives a new descriptor the lowest free number (POSIX, file descriptor allocation), so a connection's own
number says how full the table is: nothing is counted.
"""

import resource
from dataclasses import dataclass

from tenancy.admission import COUNTED_RETRY_SECONDS, Refusal


@dataclass(frozen=True, slots=True)
class Descriptors:
    """The shares of a table of so many descriptors."""

    most: int

    def refusal(self, number: int, held: int) -> Refusal | None:
        """Why a connection of that number is refused to an app that now holds `held` with it; None: it is not."""
        if number < self.most * 3 // 4:
            return None
        last, small = self.most * 15 // 16, self.most // 16
        if number < last and held <= small:
            return None
        allowed = last if number >= last else small
        return Refusal("connections", "node", "node", allowed, min(held - 1, allowed), COUNTED_RETRY_SECONDS)


UNBOUNDED = Descriptors(1 << 30)
"""As many as Linux ever gives (fs.nr_open)."""


def all_descriptors() -> Descriptors:
    """Share out the most descriptors that this process may have."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    return UNBOUNDED if most == resource.RLIM_INFINITY else Descriptors(most)
