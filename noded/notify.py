"""Tell systemd how the daemon is, where systemd asked to be told. Source: sd_notify(3)."""

import os
import socket

import trio


class Notifier:
    """Writes to $NOTIFY_SOCKET; does nothing where it is not set."""

    def __init__(self) -> None:
        path = os.environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + path[1:] if path.startswith("@") else path
        microseconds = os.environ.get("WATCHDOG_USEC", "")
        self._watchdog_seconds = int(microseconds) / 2e6 if microseconds.isdigit() else None

    def ready(self, status: str) -> None:
        """Started, or reloaded."""
        self._send(f"READY=1\nSTATUS={status}")

    def stopping(self) -> None:
        """Shutting down."""
        self._send("STOPPING=1")

    async def watchdog(self) -> None:
        """Say that trio runs, twice as often as systemd wants to hear it: a stalled loop is restarted."""
        if self._watchdog_seconds is None:
            return
        while True:
            self._send("WATCHDOG=1")
            await trio.sleep(self._watchdog_seconds)

    def _send(self, state: str) -> None:
        if not self._address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            try:
                sock.sendto(state.encode(), self._address)
            except OSError:
                return
