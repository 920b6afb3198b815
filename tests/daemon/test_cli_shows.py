"""`noded apps`, `usage`, `components`, `events`, `detach`, `check`: what the operator reads."""

import json
from collections.abc import Iterator

import pytest

from noded.commands.tables import duration, quantity, size, table
from tests.daemon.cli_process import APP, asked, http, noded, save, until
from tests.daemon_process import Daemon, running_daemon

RESOURCES = """
apiVersion: noded.io/v1alpha1
kind: App
metadata: {name: orders, namespace: shop}
spec: {loopback: {}, limits: {stateBytes: 10Mi, stateKeys: 1}}
---
apiVersion: noded.io/v1alpha1
kind: Quota
metadata: {name: shop, namespace: shop}
spec: {total: {stateKeys: 5}}
"""


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    """A daemon with an app that saved one item and was refused a second and a third."""
    with running_daemon({"r.yaml": RESOURCES}, {"orders": "shop"}) as found:
        path = found.http_socket("orders", "shop")
        assert [save(path, key).status for key in ("a", "b", "c")] == [204, 429, 429]
        until(found.admin_socket.exists)
        yield found


def cells(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines() if line]


def test_apps_are_listed(daemon: Daemon) -> None:
    """One row an app: whose, where its sockets and ports are, who declared it."""
    done = noded("apps", "--run-dir", daemon.run_dir)
    (told,) = asked(daemon, "apps")
    header, row = cells(done.stdout)

    assert dict(zip(header, row, strict=True)) == {
        "NAMESPACE": "shop",
        "APP": "orders",
        "READY": "yes",
        "HEALTHY": "-",
        "CHANNEL": "-",
        "LOOPBACK": f"{told['httpPort']},{told['grpcPort']}",
        "COMPONENTS": "pubsub,statestore",
        "SUBSCRIPTIONS": "-",
        "FROM": "resources",
        "SOCKETS": str(daemon.app_dir("orders", "shop")),
    }
    assert told["httpSocket"] == str(daemon.http_socket("orders", "shop"))
    assert "token" not in told


def test_usage_shows_used_of_limit_and_refusals(daemon: Daemon) -> None:
    """Per app, namespace and node: used, of how much, how often refused, in the units one configures."""
    rows = cells(noded("usage", "--run-dir", daemon.run_dir).stdout)
    told = {each["subject"]: each for each in asked(daemon, "usage")}
    keys = next(each for each in told["shop/orders"]["limits"] if each["limit"] == "stateKeys")

    assert ["shop/orders", "stateKeys", "1", "1", "2"] in rows
    assert ["shop", "stateKeys", "1", "5", "0"] in rows
    assert any(row[:2] == ["shop/orders", "stateBytes"] and row[3] == "10Mi" for row in rows)
    assert rows[0][:3] == ["APP", "REQUESTS", "REFUSED"]
    assert rows[1][0::2][:2] == ["shop/orders", "2"]
    assert (keys["used"], keys["allowed"], keys["refused"]) == (1, 1, 2)
    assert {"node", "shop", "shop/orders"} == set(told)
    assert {subject for subject, row in told.items() if "requests" in row} == {"shop/orders"}  # counted by app alone


def test_events_tell_each_refusal_once_with_its_count(daemon: Daemon) -> None:
    """A limit that refuses again and again is one row that counts."""
    (told,) = asked(daemon, "events")
    rows = cells(noded("events", "--run-dir", daemon.run_dir).stdout)

    assert (told["tenant"], told["limit"], told["count"]) == ("shop/orders", "stateKeys", 2)
    assert rows[1][1:] == ["shop/orders", "refused", "stateKeys", "1", "1", "2"]


def test_components_are_listed_with_their_state(daemon: Daemon) -> None:
    """Name, type, namespace, status."""
    rows = cells(noded("components", "--run-dir", daemon.run_dir).stdout)

    assert rows[0] == ["NAME", "TYPE", "NAMESPACE", "STATUS"]
    assert ["statestore", "state.sqlite", "all", "ready"] in rows


def test_detach_of_nobody_is_told(daemon: Daemon) -> None:
    """An app that is not there: one line, 1."""
    done = noded("detach", "a/../b", "--namespace", "none", "--run-dir", daemon.run_dir)

    assert done.returncode == 1
    assert done.stderr.startswith("noded: ")
    assert len(done.stderr.splitlines()) == 1


def test_detach_keeps_the_data_and_reload_brings_a_declared_app_back() -> None:
    """Detached: no sockets. Reloaded: the same app with what it had saved."""
    with running_daemon({"a.yaml": APP % ("a", 5)}, {"a": "default"}) as found:
        path = found.http_socket("a")
        assert save(path, "k", "kept").status == 204
        until(found.admin_socket.exists)
        assert noded("detach", "a", "--run-dir", found.run_dir).stdout == "app default/a is detached\n"
        assert not path.exists()
        assert noded("apps", "--run-dir", found.run_dir).stdout.startswith("no app is attached")
        assert noded("reload", "--run-dir", found.run_dir).returncode == 0

        assert http(path, "GET", "/v1.0/state/statestore/k").body == b'"kept"'


def test_nobody_else_may_ask(daemon: Daemon) -> None:
    """The operator's socket is for the daemon's user alone, by its mode."""
    assert daemon.admin_socket.stat().st_mode & 0o077 == 0


def test_check_tells_file_line_field_found_and_allowed(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What is wrong with resources is told by the command as by the daemon, with 1; a path that is not there is 2."""
    folder = tmp_path_factory.mktemp("resources")
    (folder / "a.yaml").write_text(APP.replace("stateKeys", "stateKey") % ("a", 1))
    done, as_json = noded("check", folder), noded("check", folder, "--json")

    assert (done.returncode, as_json.returncode) == (1, 1)
    assert f"error: {folder / 'a.yaml'}:5: spec.limits.stateKey" in done.stdout
    assert json.loads(as_json.stdout)["ok"] is False
    (folder / "a.yaml").write_text(APP % ("a", 1))
    assert noded("check", folder).returncode == 0
    missing = noded("check", folder / "b.yaml")
    assert (missing.returncode, "no such file or directory" in missing.stderr) == (2, True)


def test_table_columns_are_aligned() -> None:
    """Each column is as wide as its widest cell; numbers stand right."""
    assert table(("A", "N"), [("long", "1"), ("b", "100")], ["N"]) == "A       N\nlong    1\nb     100\n"


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0"), (1023, "1023"), (1024, "1Ki"), (1536, "1.5Ki"), (10 << 20, "10Mi"), (1 << 30, "1Gi"), (3 << 40, "3Ti")],
)
def test_sizes_read_as_they_are_written(count: int, text: str) -> None:
    """Bytes are shown in the units a resource is written in."""
    assert size(count) == text


@pytest.mark.parametrize(("seconds", "text"), [(0.0, "0ms"), (0.2504, "250ms"), (1.0, "1.0s"), (75.25, "75.2s")])
def test_durations_have_their_unit(seconds: float, text: str) -> None:
    """Short ones in milliseconds, longer ones in seconds."""
    assert duration(seconds) == text


def test_counts_are_no_sizes() -> None:
    """Only limits of bytes have units; no ceiling is a dash."""
    told = [
        quantity("stateKeys", 2048),
        quantity("stateBytes", 2048),
        quantity("streams", None),
        quantity("requestsPerSecond", 0.5),
    ]

    assert told == ["2048", "2Ki", "-", "0.5"]
