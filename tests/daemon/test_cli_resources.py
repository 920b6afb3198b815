"""Resources that cannot hold: what the daemon's log, `noded components` and `noded reload` say of them."""

import json

from noded.resources_log import MAX_TOLD
from tests.daemon.cli_process import APP, asked, noded, until
from tests.daemon_process import Daemon, running_daemon

REDIS = """
apiVersion: dapr.io/v1alpha1
kind: Component
metadata: {name: cache}
spec: {type: state.redis, version: v1}
"""
NOT_OPENING = """
apiVersion: dapr.io/v1alpha1
kind: Component
metadata: {name: broken}
spec:
  type: state.sqlite
  version: v1
  ignoreErrors: %s
  metadata: [{name: connectionString, value: /dev/null/no.db}]
"""
CONFIGURATION = """
apiVersion: dapr.io/v1alpha1
kind: Configuration
metadata: {name: settings}
spec: {tracing: {samplingRate: "1"}}
"""


def reloaded(daemon: Daemon) -> tuple[int, list[str]]:
    done = noded("reload", "--json", "--run-dir", daemon.run_dir)
    return done.returncode, json.loads(done.stdout)["problems"]


def test_component_of_a_type_that_noded_lacks_is_told_everywhere() -> None:
    """The log names the types there are, `components` lists it as failed, and `reload` is no success."""
    with running_daemon({"a.yaml": APP % ("a", 1), "b.yaml": REDIS}, {"a": "default"}) as daemon:
        until(daemon.admin_socket.exists)
        problem = "noded has no component of type state.redis; it has pubsub.in-memory, state.in-memory, state.sqlite"

        assert f"component cache (state.redis) does not open: {problem}\n" in daemon.log()
        assert [(each["name"], each["status"]) for each in asked(daemon, "components")] == [
            ("cache", f"failed: {problem}")
        ]
        assert reloaded(daemon) == (1, [f"component cache (state.redis): {problem}"])
        assert daemon.log().count("does not open") == 1


def test_component_of_a_version_that_noded_lacks_is_told_everywhere() -> None:
    """As daprd, which has none but v1 and, for the sake of old files, v0: neither is guessed from another."""
    unknown = REDIS.replace("state.redis", "state.in-memory").replace("version: v1", "version: v9")
    with running_daemon({"a.yaml": APP % ("a", 1), "b.yaml": unknown}, {"a": "default"}) as daemon:
        until(daemon.admin_socket.exists)
        problem = "noded has no version v9 of state.in-memory: set spec.version to v1"

        assert f"component cache (state.in-memory) does not open: {problem}\n" in daemon.log()
        assert reloaded(daemon) == (1, [f"component cache (state.in-memory): {problem}"])
        (daemon.root / "resources" / "b.yaml").write_text(unknown.replace("v9", "V0"))
        assert reloaded(daemon) == (0, [])
        assert [each["status"] for each in asked(daemon, "components")] == ["ready"]


def test_component_that_does_not_open_fails_the_reload_unless_errors_are_ignored() -> None:
    """It is named once, with what to do."""
    with running_daemon({"a.yaml": APP % ("a", 1), "b.yaml": NOT_OPENING % "false"}, {"a": "default"}) as daemon:
        until(daemon.admin_socket.exists)
        code, problems = reloaded(daemon)
        (daemon.root / "resources" / "b.yaml").write_text(NOT_OPENING % "true")

        assert code == 1
        assert len(problems) == 1
        assert problems[0].startswith("component broken (state.sqlite): cannot write in /dev/null")
        assert reloaded(daemon) == (0, [])


def test_many_errors_are_counted_where_they_are_not_told() -> None:
    """The log tells the first ones and how many more there are, and once it is ready that not all holds."""
    wrong = "---".join(APP.replace("stateKeys", "stateKey") % (f"wrong{number}", 1) for number in range(MAX_TOLD + 15))
    with running_daemon({"a.yaml": APP % ("a", 1), "b.yaml": wrong}, {"a": "default"}) as daemon:
        log = until(lambda: daemon.log() if "ready:" in daemon.log() else None)

        assert log.count("is no field of this") == MAX_TOLD
        assert "resources: 15 more of these: `noded check` tells all\n" in log
        assert "(25 problems: `noded reload` lists them)\n" in log
        assert "ready: 1 app under" in log


def test_configuration_among_resources_is_told_to_have_no_effect() -> None:
    """It is read by --config alone."""
    with running_daemon({"a.yaml": APP % ("a", 1), "b.yaml": CONFIGURATION}, {"a": "default"}) as daemon:
        log = until(lambda: daemon.log() if "ready:" in daemon.log() else None)

        assert "b.yaml:2: kind Configuration has no effect here: give the file by --config\n" in log
