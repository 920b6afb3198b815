"""The JavaScript app: whether this machine can run it, and its packages, installed once."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from noded.config.paths import default_state_dir
from noded.demo.stage import DemoError, progress

APPS = Path(__file__).parent / "apps"
OLDEST_NODE = 18
"""Source: `engines` of @dapr/dapr."""
INSTALL_SECONDS = 120.0


def javascript_app() -> tuple[list[str], Mapping[str, str]]:
    """How to start it: command, and what to add to the environment. Raises DemoError where it cannot run here."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        raise DemoError("node and npm are not installed")
    version = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=30, check=False).stdout
    if not version[1:].partition(".")[0].isdigit() or int(version[1:].partition(".")[0]) < OLDEST_NODE:
        raise DemoError(f"node {version.strip()} is older than {OLDEST_NODE}")
    return [node, str(APPS / "mailer.js")], {"NODE_PATH": str(_packages(npm) / "node_modules")}


def _packages(npm: str) -> Path:
    """Install what package.json asks for, unless it is there. Raises DemoError."""
    folder = _folder()
    wanted = json.loads((APPS / "package.json").read_text())["dependencies"]
    if all(_installed(folder, name) == version for name, version in wanted.items()):
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(APPS / "package.json", folder)
    command = [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"]
    process = subprocess.Popen(
        command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        progress("installing the JavaScript SDK (once)", lambda: process.poll() is not None, INSTALL_SECONDS)
    except DemoError:
        process.kill()
        raise
    finally:
        told = (process.communicate()[0] or "").strip()
    if process.returncode:
        raise DemoError(f"npm install failed: {told[-300:]}")
    return folder


def _folder() -> Path:
    """In the virtual environment, thrown away with what else was installed; else with noded's state."""
    if sys.prefix != sys.base_prefix and os.access(sys.prefix, os.W_OK):
        return Path(sys.prefix, "share", "noded-demo")
    return default_state_dir(os.environ, os.geteuid()) / "demo"


def _installed(folder: Path, name: str) -> str | None:
    try:
        return str(json.loads((folder / "node_modules" / name / "package.json").read_text())["version"])
    except (OSError, ValueError, KeyError):
        return None
