"""The committed message code: that it is current, and that it is Dapr's contract."""

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROTO = ROOT / "noded" / "proto"
NAMES = sorted(path.stem for path in PROTO.glob("*.proto"))
PRINT_SHAPE = Path(__file__).with_name("print_shape.py")


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if importlib.util.find_spec("grpc_tools") is None:
        pytest.skip("grpcio-tools is not installed: `pip install --group dev`")
    plugin = shutil.which("protoc-gen-mypy", path=str(Path(sys.executable).parent))
    out = tmp_path_factory.mktemp("generated")
    sources = [f"noded/proto/{name}.proto" for name in NAMES]
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I.", f"--plugin=protoc-gen-mypy={plugin}"]
    subprocess.run([*command, f"--python_out={out}", f"--mypy_out=quiet:{out}", *sources], cwd=ROOT, check=True)
    return out / "noded" / "proto"


@pytest.mark.parametrize("suffix", ["_pb2.py", "_pb2.pyi"])
@pytest.mark.parametrize("name", NAMES)
def test_generated_code_is_current(generated: Path, name: str, suffix: str) -> None:
    """`make proto` changes nothing: what is committed comes from the .proto files beside it."""
    assert (PROTO / f"{name}{suffix}").read_text() == (generated / f"{name}{suffix}").read_text()


def test_messages_live_in_daprs_packages() -> None:
    """Names on the wire are Dapr's, whatever our file layout."""
    packages = {
        line for name in NAMES for line in (PROTO / f"{name}.proto").read_text().splitlines() if "package" in line
    }

    assert packages == {"package dapr.proto.common.v1;", "package dapr.proto.runtime.v1;"}


def test_sdk_agrees_on_every_field_and_method() -> None:
    """Every field, enum value and method of ours is in the official SDK, with the same number and type."""
    if importlib.util.find_spec("dapr") is None:
        pytest.skip("the Dapr SDK is not installed: `pip install --group dev`")

    ours = printed_shape([f"noded.proto.{name}_pb2" for name in NAMES])
    theirs = printed_shape(["dapr.proto.runtime.v1.dapr_pb2", "dapr.proto.runtime.v1.appcallback_pb2"])

    assert "dapr.proto.runtime.v1.GetStateRequest" in {line.split()[0] for line in ours}
    assert ours - theirs == set()


def printed_shape(modules: list[str]) -> set[str]:
    command = [sys.executable, "-W", "ignore", str(PRINT_SHAPE), *modules]
    environment = {"PYTHONPATH": str(ROOT)}
    printed = subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True)
    return set(printed.stdout.splitlines())
