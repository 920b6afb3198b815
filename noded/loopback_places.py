"""Which loopback ports a declared app was last given, with the token made for them: it gets them again after a restart.

A file per app under the state directory, where no app can write: who could would choose what the daemon binds.
"""

import logging
import os
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from noded.config.records import AppSpec

log = logging.getLogger("noded")


Port = Annotated[int, Meta(ge=1, le=65535)]


class Place(Struct, frozen=True):
    """Where an app was reached."""

    http_port: Port
    grpc_port: Port
    token: str


class Places:
    """The kept ones."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def find(self, spec: AppSpec) -> Place | None:
        """The last one of a declared app; others say themselves where they were."""
        if spec.origin is None:
            return None
        try:
            return msgspec.json.decode(self._file(spec.namespace, spec.app_id).read_bytes(), type=Place)
        except (OSError, msgspec.DecodeError):  # there is none, or a full disk cut it off
            return None

    def keep(self, spec: AppSpec, place: Place) -> None:
        """Keep it for the next daemon, or say why not: this one serves all the same."""
        if spec.origin is None:
            return
        file = self._file(spec.namespace, spec.app_id)
        made = file.with_name(f".{file.name}")
        try:
            self._directory.mkdir(mode=0o700, exist_ok=True)
            with os.fdopen(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as written:
                written.write(msgspec.json.encode(place))
            made.replace(file)
        except OSError as error:
            log.warning("app %s/%s gets other ports next time: %s", spec.namespace, spec.app_id, error)

    def forget(self, namespace: str, app_id: str) -> None:
        """The app is declared no more."""
        self._file(namespace, app_id).unlink(missing_ok=True)

    def _file(self, namespace: str, app_id: str) -> Path:
        """No namespace holds a dot."""
        return self._directory / f"{namespace}.{app_id}"
