"""Start and stop what is measured. Servers stand on SERVER_CORE, the app and the load generator on LOAD_CORE."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import MappingProxyType

from bench import resources
from bench.client import answers, wait_until
from bench.records import AppSockets, Subject

SERVER_CORE = 0
LOAD_CORE = 1
NODED = (sys.executable, "-m", "noded.cli")
_STOP_SECONDS = 15


def pinned(core: int, command: Sequence[str]) -> list[str]:
    """The command, held to one core from its first instruction (Go sizes its scheduler by that)."""
    return ["taskset", "-c", str(core), *command]


def free_port() -> int:
    """A loopback port nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def _process(command: Sequence[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run until the block ends; SIGTERM, then SIGKILL after _STOP_SECONDS. Output goes to `log`."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DAPR_")}
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_healthy(process: subprocess.Popen[bytes], sockets: AppSockets, log: Path) -> None:
    def ready() -> bool:
        if process.poll() is not None:
            raise ChildProcessError(f"{process.args!r} ended with {process.returncode}:\n{_tail(log)}")
        return sockets.http.exists() and answers(sockets.http, "/v1.0/healthz")

    try:
        wait_until(ready, f"health at {sockets.http.name}")
    except TimeoutError as error:
        raise TimeoutError(f"{error}\n{_tail(log)}") from error


def _tail(log: Path, lines: int = 15) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


@contextmanager
def app(directory: Path, module: str = "bench.app") -> Iterator[tuple[int, int]]:
    """The target app; gives its port and process id."""
    port = free_port()
    command = pinned(LOAD_CORE, [sys.executable, "-m", module, str(port)])
    with _process(command, directory / f"{module}.log") as process:
        wait_until(lambda: answers(port, "/count"), "the app")
        yield port, process.pid


@contextmanager
def noded(
    directory: Path, launcher: Sequence[str] = NODED, more: Mapping[str, str] = MappingProxyType({})
) -> Iterator[Subject]:
    """One noded with both apps. `launcher`: what stands before `serve`; `more`: further resources, by file name."""
    directories = {name: directory / name for name in ("resources", "run", "state")}
    for path in directories.values():
        path.mkdir(parents=True)
    with app(directory) as (port, app_pid), ExitStack() as stack:
        resources.write_components(directories["resources"], directory / "state.db")
        resources.write_apps(directories["resources"], port)
        for name, text in more.items():
            (directories["resources"] / name).write_text(text)
        flags = [f"--{name}-path" if name == "resources" else f"--{name}-dir" for name in directories]
        arguments = [word for flag, path in zip(flags, directories.values(), strict=True) for word in (flag, str(path))]
        log = directory / "noded.log"
        process = stack.enter_context(_process(pinned(SERVER_CORE, [*launcher, "serve", *arguments]), log))
        caller, target = (noded_sockets(directories["run"], name) for name in _APP_IDS)
        for sockets in (caller, target):
            _wait_healthy(process, sockets, log)
        admin = directories["run"] / "admin.socket"
        subject = Subject("noded", (process.pid,), caller, target, caller, port, app_pid, admin)
        _wait_calls_arrive(subject)
        yield subject


@contextmanager
def daprd(directory: Path, binary: Path) -> Iterator[Subject]:
    """Two daprds, one per app, on the same core."""
    (directory / "resources").mkdir(parents=True)
    resources.write_components(directory / "resources", directory / "state.db")
    internal_ports = {name: free_port() for name in _APP_IDS}
    resources.write_configuration(directory / "configuration.yaml", internal_ports["target"])
    with app(directory) as (port, app_pid), ExitStack() as stack:
        caller, target = (_sockets(directory, name) for name in _APP_IDS)
        pids = []
        for name, sockets, app_flags in (("caller", caller, []), ("target", target, ["--app-port", str(port)])):
            log = directory / f"daprd-{name}.log"
            command = [str(binary), *_daprd_flags(directory, name, internal_ports[name]), *app_flags]
            process = stack.enter_context(_process(pinned(SERVER_CORE, command), log))
            _wait_healthy(process, sockets, log)
            pids.append(process.pid)
        subject = Subject("daprd", tuple(pids), caller, target, target, port, app_pid)
        _wait_calls_arrive(subject)
        yield subject


_APP_IDS = ("caller", "target")


def noded_sockets(run_dir: Path, app_id: str) -> AppSockets:
    """Where an app of noded's finds its daemon."""
    return _sockets(run_dir / "apps" / "default" / app_id, app_id)


def _sockets(directory: Path, app_id: str) -> AppSockets:
    return AppSockets(directory / f"dapr-{app_id}-http.socket", directory / f"dapr-{app_id}-grpc.socket")


def _daprd_flags(directory: Path, app_id: str, internal_port: int) -> list[str]:
    return [
        "--app-id", app_id,
        "--unix-domain-socket", str(directory),
        "--resources-path", str(directory / "resources"),
        "--config", str(directory / "configuration.yaml"),
        "--dapr-internal-grpc-port", str(internal_port),
        "--metrics-port", str(free_port()),
    ]  # fmt: skip


def _wait_calls_arrive(subject: Subject) -> None:
    path = "/v1.0/invoke/target/method/ping"
    wait_until(lambda: answers(subject.caller.http, path), f"a call through {subject.name}")


def what_is_lacking() -> str:
    """Say which load tools this machine lacks, with the package that has each, or that a core is not ours; or ""."""
    tools = {"h2load": "Debian's nghttp2-client", "taskset": "util-linux"}
    missing = [f"{tool} ({source})" for tool, source in tools.items() if shutil.which(tool) is None]
    if not missing and {SERVER_CORE, LOAD_CORE} <= os.sched_getaffinity(0):
        return ""
    return f"needs two cores and: {', '.join(missing) or 'they are not both ours'}"
