"""Run h2spec, an outside judge of HTTP/2, against a port: every case of it, generic, HTTP/2 and HPACK."""

import os
import re
import shutil
import subprocess

import pytest

_SECONDS = 50
_CASE_SECONDS = 2
"""After which a case that hears nothing has failed."""


def judge(port: int | str, path: str = "/") -> list[str]:
    """Return the failures, each as h2spec tells it; requests go to `path`. Skips the test where there is no h2spec."""
    command = [_h2spec(), "-h", "127.0.0.1", "-p", str(port), "-P", path, "-o", str(_CASE_SECONDS)]
    report = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False).stdout
    counts = re.search(r"(\d+) tests, (\d+) passed, (\d+) skipped, (\d+) failed", report)
    assert counts is not None, report
    tests, passed, skipped, failed = map(int, counts.groups())
    assert tests > 100
    assert not skipped, report
    told = re.findall(r"^ +\u00d7 (\d+: .+\n(?: {6,}.+\n)*)", report.partition("Failures:")[2], re.MULTILINE)
    assert (passed + failed, failed) == (tests, len(told)), report
    return told


def _h2spec() -> str:
    found = os.environ.get("H2SPEC") or shutil.which("h2spec")
    if found is None:
        pytest.skip(
            "h2spec is neither on PATH nor named by $H2SPEC: go install github.com/summerwind/h2spec/cmd/h2spec@latest"
        )
    return found
