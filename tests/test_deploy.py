"""What deploy/ ships parses, keeps the security it promises, and holds resources that noded takes."""

import configparser
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from noded.check import check

DEPLOY = Path(__file__).parents[1] / "deploy"
SYSTEMD_ANALYZE = shutil.which("systemd-analyze")


def kubernetes(kind: str) -> Any:
    documents = yaml.safe_load_all((DEPLOY / "daemonset.yaml").read_text())
    return next(each for each in documents if each["kind"] == kind)


def unit() -> configparser.SectionProxy:
    parser = configparser.ConfigParser(interpolation=None, strict=True)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(DEPLOY / "noded.service")
    return parser["Service"]


def test_prometheus_finds_the_metrics() -> None:
    """The annotations that its usual configuration goes by name the port that the daemon serves."""
    template = kubernetes("DaemonSet")["spec"]["template"]
    (container,) = template["spec"]["containers"]
    annotations = template["metadata"]["annotations"]
    (port,) = container["ports"]

    assert f"--metrics-port={port['containerPort']}" in container["args"]
    assert annotations["prometheus.io/scrape"] == "true"
    assert annotations["prometheus.io/port"] == str(port["containerPort"])


def test_pod_is_confined() -> None:
    """Not root, no capabilities, no writable root file system, no service account token."""
    pod = kubernetes("DaemonSet")["spec"]["template"]["spec"]
    (container,) = pod["containers"]

    assert pod["securityContext"]["runAsNonRoot"]
    assert not pod["automountServiceAccountToken"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_requests_equal_limits_and_nothing_surges() -> None:
    """The pod is of the guaranteed class, and two daemons never share a directory."""
    spec = kubernetes("DaemonSet")["spec"]
    pod = spec["template"]["spec"]

    assert spec["updateStrategy"]["rollingUpdate"]["maxSurge"] == 0
    for container in (*pod["containers"], *pod["initContainers"]):
        assert container["resources"]["requests"] == container["resources"]["limits"]


def test_every_volume_mounted_is_there() -> None:
    """Each mount names a volume of the pod."""
    pod = kubernetes("DaemonSet")["spec"]["template"]["spec"]
    mounted = {mount["name"] for each in (*pod["containers"], *pod["initContainers"]) for mount in each["volumeMounts"]}

    assert {volume["name"] for volume in pod["volumes"]} == mounted


def test_shipped_resources_pass_the_check(tmp_path: Path) -> None:
    """The ConfigMap's files are resources without errors or warnings."""
    for name, text in kubernetes("ConfigMap")["data"].items():
        (tmp_path / name).write_text(text)
    checked = check([tmp_path], {})

    assert (checked.problems, checked.warnings) == ((), ())
    assert checked.resources.apps


def test_service_notifies_keeps_its_directory_and_is_hardened() -> None:
    """The service manager knows when it is ready and stalls; a restart leaves mounted directories in place."""
    service = unit()

    assert service["Type"] == "notify"
    assert int(service["WatchdogSec"]) > 0
    assert service["RuntimeDirectoryPreserve"] == "restart"
    assert service["CapabilityBoundingSet"] == service["AmbientCapabilities"] == "CAP_CHOWN"
    assert service["RestrictAddressFamilies"].split() == ["AF_UNIX", "AF_INET", "AF_INET6"]
    for name in ("NoNewPrivileges", "ProtectHome", "PrivateDevices", "RestrictNamespaces", "LockPersonality"):
        assert service[name] == "yes"


@pytest.mark.skipif(SYSTEMD_ANALYZE is None, reason="systemd-analyze is not there")
def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path) -> None:
    """Every directive is known to systemd and has a value it takes."""
    assert SYSTEMD_ANALYZE is not None
    copy = tmp_path / "noded.service"
    copy.write_text((DEPLOY / "noded.service").read_text().replace("/usr/bin/noded", "/bin/true"))
    result = subprocess.run(
        [SYSTEMD_ANALYZE, "verify", str(copy)], capture_output=True, text=True, timeout=30, check=False
    )
    complaints = [line for line in result.stderr.splitlines() if "noded.service" in line]

    assert complaints == []
