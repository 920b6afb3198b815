"""What the daemon makes of resources: last good versions, templates, settings and paths."""

from pathlib import Path

import pytest

from components.contract import ConfigError
from noded.config.catalogue import Catalogue
from noded.config.instantiate import default_resources, is_per_app, resolve_metadata
from noded.config.load import load_resources
from noded.config.paths import PathTooLongError, admin_path, default_run_dir, default_state_dir, socket_paths
from noded.config.records import ComponentSpec, Settings
from noded.config.settings import load_configuration, with_configuration


def app(name: str, spec: str = "{}") -> str:
    return f"apiVersion: noded.io/v1alpha1\nkind: App\nmetadata: {{name: {name}}}\nspec: {spec}\n---\n"


def names(catalogue: Catalogue, directory: Path) -> list[str]:
    return sorted(each.app_id for each in catalogue.merge(load_resources([directory])).apps)


def test_bad_file_keeps_its_last_good_version_whole(tmp_path: Path) -> None:
    """A mistake in one document leaves every app of that file as it was, and other files go on changing."""
    (tmp_path / "a.yaml").write_text(app("a") + app("b"))
    (tmp_path / "c.yaml").write_text(app("c"))
    catalogue = Catalogue()
    assert names(catalogue, tmp_path) == ["a", "b", "c"]

    (tmp_path / "a.yaml").write_text(app("a2") + app("b", "{chanel: {}}"))
    (tmp_path / "c.yaml").write_text(app("d"))
    assert names(catalogue, tmp_path) == ["a", "b", "d"]

    (tmp_path / "a.yaml").write_text(app("a2"))
    assert names(catalogue, tmp_path) == ["a2", "d"]


def test_file_that_was_never_good_gives_its_good_documents(tmp_path: Path) -> None:
    """At the start there is no last good version: what is right in a file counts."""
    (tmp_path / "a.yaml").write_text(app("a") + "[")
    catalogue = Catalogue()
    assert names(catalogue, tmp_path) == ["a"]

    (tmp_path / "a.yaml").write_text("[")
    assert names(catalogue, tmp_path) == ["a"]

    (tmp_path / "a.yaml").write_text(app("b"))
    assert names(catalogue, tmp_path) == ["b"]


def test_file_that_is_gone_takes_its_apps_along(tmp_path: Path) -> None:
    """Removing a file removes what it held."""
    (tmp_path / "a.yaml").write_text(app("a"))
    catalogue = Catalogue()
    names(catalogue, tmp_path)
    (tmp_path / "a.yaml").unlink()

    assert names(catalogue, tmp_path) == []


def test_directory_that_cannot_be_listed_keeps_its_files(tmp_path: Path) -> None:
    """A directory that is away for a moment removes nothing."""
    directory = tmp_path / "resources"
    directory.mkdir()
    (directory / "a.yaml").write_text(app("a"))
    catalogue = Catalogue()
    names(catalogue, directory)
    directory.rename(tmp_path / "away")

    assert names(catalogue, directory) == ["a"]


def test_app_that_moved_to_another_file_is_taken_from_there(tmp_path: Path) -> None:
    """A name that the old version of a bad file and a new file both hold is the new file's."""
    (tmp_path / "a.yaml").write_text(app("a"))
    catalogue = Catalogue()
    names(catalogue, tmp_path)
    (tmp_path / "a.yaml").write_text("[")
    (tmp_path / "b.yaml").write_text(app("a", "{apiToken: new}"))

    (spec,) = catalogue.merge(load_resources([tmp_path])).apps
    assert spec.api_token == "new"


def test_templates_are_replaced_as_daprd_does() -> None:
    """{namespace} is `<namespace>.<app id>`, {uuid} another at each place and for each app; a reload changes none."""
    spec = ComponentSpec(
        "p", "pubsub.x", metadata={"a": "{namespace}-{appID}-{podName}", "b": "{uuid} {uuid}", "c": "x"}
    )
    resolved = resolve_metadata(spec, "shop", "orders", {"POD_NAME": "pod"})

    first, second = resolved["b"].split()
    assert (resolved["a"], resolved["c"]) == ("shop.orders-orders-pod", "x")
    assert first != second
    assert len(first) == 36
    assert resolved == resolve_metadata(spec, "shop", "orders", {"POD_NAME": "pod"})
    assert resolved["b"] != resolve_metadata(spec, "shop", "checkout", {"POD_NAME": "pod"})["b"]
    assert is_per_app(spec)


def test_pod_name_that_is_not_set_is_an_error() -> None:
    """{podName} without POD_NAME names the field."""
    spec = ComponentSpec("p", "pubsub.x", metadata={"a": "{podName}"})

    with pytest.raises(ConfigError, match=r"metadata a refers to \{podName\}"):
        resolve_metadata(spec, "shop", "orders", {})
    assert not is_per_app(spec)


def test_without_resources_there_is_a_durable_store_and_a_pubsub(tmp_path: Path) -> None:
    """The names are those `dapr init` gives, and the file is in the state directory."""
    store, pubsub = default_resources(tmp_path).components

    assert (store.name, store.type) == ("statestore", "state.sqlite")
    assert {"connectionString": f"{tmp_path}/state.sqlite"} == store.metadata
    assert (pubsub.name, pubsub.type) == ("pubsub", "pubsub.in-memory")


def test_configurations_merge_in_order_and_expand_variables(tmp_path: Path) -> None:
    """Later files win, field by field; $VAR is the environment's, and an unset one is nothing."""
    text = "apiVersion: dapr.io/v1alpha1\nkind: Configuration\nmetadata: {name: c}\nspec: {%s}\n"
    first, second = tmp_path / "1.yaml", tmp_path / "2.yaml"
    first.write_text(text % "tracing: {samplingRate: $RATE}, logging: {apiLogging: {enabled: true}}")
    second.write_text(text % "tracing: {samplingRate: ${OTHER}0.25}")

    loaded = load_configuration([first, second], {"RATE": "1"})
    settings = with_configuration(Settings(tmp_path, tmp_path), loaded.configuration)
    assert loaded.problems == ()
    assert (settings.tracing_sampling_rate, settings.http.logging.enabled) == (0.25, True)


def test_only_configurations_count_in_a_config_file(tmp_path: Path) -> None:
    """Another kind in a --config file is told about, and changes nothing."""
    (tmp_path / "c.yaml").write_text(app("a"))

    assert "only kind Configuration" in str(load_configuration([tmp_path / "c.yaml"], {}).warnings[0])


def test_sockets_are_named_as_daprd_names_them() -> None:
    """Each app has a directory of its own, with one socket per protocol."""
    paths = socket_paths(Path("/run/noded"), "default", "orders")

    assert Path("/run/noded/apps/default/orders") == paths.directory
    assert [paths.http.name, paths.grpc.name] == ["dapr-orders-http.socket", "dapr-orders-grpc.socket"]
    assert Path("/run/noded/admin.socket") == admin_path(Path("/run/noded"))


def test_path_the_kernel_cannot_hold_is_refused_with_the_remedy() -> None:
    """107 bytes fit; one more is told with the path, its length and what to do. Bytes count, not characters."""
    fixed = len("/apps/n/a/dapr-a-http.socket")
    fits = "/" + "r" * (106 - fixed)
    assert len(str(socket_paths(Path(fits), "n", "a").http)) == 107

    with pytest.raises(
        PathTooLongError, match=r"rr/apps/n/a/dapr-a-http\.socket has 108 bytes.*107: choose a shorter --run"
    ):
        socket_paths(Path(fits + "r"), "n", "a")
    with pytest.raises(PathTooLongError, match="has 108 bytes"):
        socket_paths(Path(fits[:-1] + "é"), "n", "a")


@pytest.mark.parametrize(
    ("uid", "environ", "run_dir", "state_dir"),
    [
        (0, {"XDG_RUNTIME_DIR": "/x"}, "/run/noded", "/var/lib/noded"),
        (7, {"XDG_RUNTIME_DIR": "/run/user/7", "XDG_STATE_HOME": "/s"}, "/run/user/7/noded", "/s/noded"),
        (7, {"HOME": "/home/a", "XDG_STATE_HOME": "relative"}, "/tmp/noded-7", "/home/a/.local/state/noded"),
        (7, {}, "/tmp/noded-7", "/var/tmp/noded-7"),
    ],
)
def test_directories_by_default(uid: int, environ: dict[str, str], run_dir: str, state_dir: str) -> None:
    """Root has the system's directories, anyone else those of the XDG specification; relative ones do not count."""
    assert Path(run_dir) == default_run_dir(environ, uid)
    assert Path(state_dir) == default_state_dir(environ, uid)
