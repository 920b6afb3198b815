"""Whether an app can be connected to, told in the log when that changes: once, however many calls fail meanwhile."""

import logging

log = logging.getLogger("noded.apps")

_BUSY = (BlockingIOError, TimeoutError)
"""An app that is there, and does not accept for now."""


class Reach:
    """Of one app; connections tell it how they began, so it learns of an end when somebody next connects."""

    __slots__ = ("_app", "_is_refused")

    def __init__(self, app: str) -> None:
        """`app`: its name, for the log."""
        self._app = app
        self._is_refused = False

    def made(self) -> None:
        """A connection is open."""
        if self._is_refused:
            self._is_refused = False
            log.info("app %s can be reached again", self._app)

    def failed(self, address: str, error: OSError) -> None:
        """None could be opened."""
        if not self._is_refused and not isinstance(error, _BUSY):
            self._is_refused = True
            log.warning("app %s cannot be reached at %s: %s", self._app, address, error.strerror or error)
