"""One app held attached from outside the daemon, through the daemon's restarts."""

import os
import signal
import sys
import threading
from typing import Any

import msgspec

from noded.admin.attach_request import AttachRequest
from noded.admin.client import Held, NoDaemonError, OperatorClient
from noded.commands.failures import OperatorError

RETRY_SECONDS = (0.1, 2.0)
"""Between two tries to attach again: first, doubled each time, and longest."""


class Attached:
    """An app that stays attached until `release`."""

    def __init__(self, client: OperatorClient, wanted: AttachRequest) -> None:
        """Attach. Raises OperatorError."""
        self._client = client
        self._wanted = wanted
        self._released = threading.Event()
        self._held: Held = client.attach(msgspec.json.encode(wanted))
        self._lost = False
        self.endpoints: Any = self._held.endpoints
        """The app's sockets, ports and token; they stay the same when it is attached again."""
        wanted.http_port = self.endpoints["httpPort"] or 0
        wanted.grpc_port = self.endpoints["grpcPort"] or 0
        wanted.token = self.endpoints["token"] or ""

    def place(self) -> str:
        """Where the app reaches the daemon, for people."""
        told = self.endpoints
        ports = f"HTTP 127.0.0.1:{told['httpPort']}, gRPC 127.0.0.1:{told['grpcPort']}, " if told["httpPort"] else ""
        return f"{ports}sockets in {told['httpSocket'].rpartition('/')[0]}"

    def hold(self) -> None:
        """Watch over the attachment on a thread of its own: attach again what a daemon's end took away.

        An app that somebody detached stays so, and its command is asked to end.
        """
        threading.Thread(target=self._watch, name="attachment", daemon=True).start()

    def release(self) -> None:
        """Detach, and wait until it is done."""
        self._released.set()
        if not self._lost:
            try:
                self._client.ask("DELETE", f"/v1/apps/{self._wanted.namespace}/{self._wanted.app_id}")
            except OperatorError as error:
                sys.stderr.write(f"noded: {error}\n")
        self._held.close()

    def _watch(self) -> None:
        while True:
            ending = next(filter(None, self._held.signs()))
            if self._released.is_set():
                return
            self._lost = True
            if ending == "detached":
                self._say("was detached: ending its command")
                os.kill(os.getpid(), signal.SIGTERM)
                return
            self._say("lost its daemon: attaching it again as soon as one answers")
            if not self._attach_again():
                return

    def _attach_again(self) -> bool:
        """Try until a daemon takes the app. False when it is released meanwhile."""
        wait, longest = RETRY_SECONDS
        told = ""
        while not self._released.wait(wait):
            try:
                self._held = self._client.attach(msgspec.json.encode(self._wanted))
            except OperatorError as error:
                if str(error) != told and not isinstance(error, NoDaemonError):  # that nobody answers has been said
                    told = str(error)
                    self._say(f"is not attached: {told}")
                wait = min(wait * 2, longest)
            else:
                self._lost = False
                self._say("is attached again")
                return True
        return False

    def _say(self, what: str) -> None:
        sys.stderr.write(f"noded: app {self._wanted.namespace}/{self._wanted.app_id} {what}\n")
