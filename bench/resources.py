"""The YAML both runtimes are given: the same components, and to each its own way of naming apps."""

from pathlib import Path

MEMORY_STORE = "memory"
SQLITE_STORE = "sqlite"

_COMPONENTS = """\
apiVersion: dapr.io/v1alpha1
kind: Component
metadata: {{name: memory}}
spec: {{type: state.in-memory, version: v1, metadata: []}}
---
apiVersion: dapr.io/v1alpha1
kind: Component
metadata: {{name: sqlite}}
spec:
  type: state.sqlite
  version: v1
  metadata:
  - {{name: connectionString, value: "{database}"}}
---
apiVersion: dapr.io/v1alpha1
kind: Component
metadata: {{name: pubsub}}
spec: {{type: pubsub.in-memory, version: v1, metadata: []}}
"""

_APPS = """\
apiVersion: noded.io/v1alpha1
kind: App
metadata: {{name: caller}}
spec: {{}}
---
apiVersion: noded.io/v1alpha1
kind: App
metadata: {{name: target}}
spec:
  channel: {{protocol: http, address: "127.0.0.1:{port}"}}
"""

_CONFIGURATION = """\
apiVersion: dapr.io/v1alpha1
kind: Configuration
metadata: {{name: bench}}
spec:
  nameResolution:
    component: kubernetes
    version: v1
    configuration:
      template: "127.0.0.1:{port}"
"""


def write_components(directory: Path, database: Path) -> None:
    """State stores and a broker. SQLite stands at its defaults in both: WAL, synchronous FULL."""
    (directory / "components.yaml").write_text(_COMPONENTS.format(database=database))


def write_apps(directory: Path, target_port: int) -> None:
    """The two apps, for noded."""
    (directory / "apps.yaml").write_text(_APPS.format(port=target_port))


def write_configuration(path: Path, target_port: int) -> None:
    """The Configuration for daprd: every name is the target's daprd.

    Multicast DNS is absent in many containers; this resolver is in every build of daprd and looks nothing up.
    """
    path.write_text(_CONFIGURATION.format(port=target_port))
