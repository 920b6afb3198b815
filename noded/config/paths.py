"""Where the daemon keeps its sockets and its data, and how long a socket's path may be."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

MAX_SOCKET_PATH_BYTES = 107
"""Linux: sun_path holds 108 bytes, the last one a NUL (unix(7))."""


class PathTooLongError(ValueError):
    """A socket's path does not fit into a Unix address. The message names it, its length and the remedy."""


class SocketPaths(NamedTuple):
    """An app's directory and the two sockets in it, named as daprd names them."""

    directory: Path
    http: Path
    grpc: Path


def socket_paths(run_dir: Path, namespace: str, app_id: str) -> SocketPaths:
    """Draw an app's paths: `<run_dir>/apps/<namespace>/<app id>/dapr-<app id>-{http,grpc}.socket`.

    Raises PathTooLongError over MAX_SOCKET_PATH_BYTES: choose a shorter --run-dir, or a shorter app id.
    """
    directory = run_dir / "apps" / namespace / app_id
    http, grpc = (directory / f"dapr-{app_id}-{each}.socket" for each in ("http", "grpc"))
    return SocketPaths(directory, check_length(http), check_length(grpc))


def admin_path(run_dir: Path) -> Path:
    """The operator's socket. Raises PathTooLongError as `socket_paths` does."""
    return check_length(run_dir / "admin.socket")


def check_length(path: Path, remedy: str = "choose a shorter --run-dir, namespace or app id") -> Path:
    """Give the path back. Raises PathTooLongError, with the remedy, where the kernel would refuse it."""
    length = len(os.fsencode(path))
    if length > MAX_SOCKET_PATH_BYTES:
        raise PathTooLongError(
            f"the socket path {path} has {length} bytes, and a Unix socket's may have {MAX_SOCKET_PATH_BYTES}: {remedy}"
        )
    return path


def default_run_dir(environ: Mapping[str, str], uid: int) -> Path:
    """For root /run/noded; else $XDG_RUNTIME_DIR/noded, and without that /tmp/noded-<uid>."""
    if uid == 0:
        return Path("/run/noded")
    runtime = environ.get("XDG_RUNTIME_DIR", "")
    return Path(runtime, "noded") if runtime.startswith("/") else Path(f"/tmp/noded-{uid}")  # noqa: S108 (the daemon makes it 0700 and checks the owner)


def default_state_dir(environ: Mapping[str, str], uid: int) -> Path:
    """For root /var/lib/noded; else $XDG_STATE_HOME/noded or ~/.local/state/noded, else /var/tmp/noded-<uid>."""
    if uid == 0:
        return Path("/var/lib/noded")
    state, home = environ.get("XDG_STATE_HOME", ""), environ.get("HOME", "")
    if state.startswith("/"):
        return Path(state, "noded")
    return Path(home, ".local/state/noded") if home.startswith("/") else Path(f"/var/tmp/noded-{uid}")  # noqa: S108
