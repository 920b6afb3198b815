"""Resources are not read while they are written: a half-written file takes nobody's app away."""

import os
import threading
import time
from collections.abc import Iterable
from pathlib import Path

import pytest

from noded.config import at_rest
from noded.config.at_rest import load_at_rest
from noded.config.catalogue import Catalogue
from noded.config.load import Loaded, load_resources

APPS = "".join(f"apiVersion: noded.io/v1alpha1\nkind: App\nmetadata: {{name: {name}}}\n---\n" for name in "abc")


def apps(catalogue: Catalogue, directory: Path) -> list[str]:
    return [each.app_id for each in catalogue.merge(load_resources([directory])).apps]


@pytest.mark.parametrize("text", ["", "apiVersion: noded.io/v1alpha1\nkind: App\nmetadata: {na", "\xff"])
def test_a_file_cut_short_keeps_its_apps_and_is_told(tmp_path: Path, text: str) -> None:
    """Emptied, cut inside a document or unreadable: the last good version holds, and the problem names the file."""
    (tmp_path / "a.yaml").write_text(APPS)
    catalogue = Catalogue()
    assert apps(catalogue, tmp_path) == ["a", "b", "c"]
    (tmp_path / "a.yaml").write_bytes(text.encode("latin-1"))

    assert apps(catalogue, tmp_path) == ["a", "b", "c"]
    assert str(load_resources([tmp_path]).problems[0]).startswith(f"{tmp_path / 'a.yaml'}:")


def test_a_file_without_documents_is_right(tmp_path: Path) -> None:
    """A comment is something: it takes the apps away, as removing the file does."""
    (tmp_path / "a.yaml").write_text(APPS)
    catalogue = Catalogue()
    apps(catalogue, tmp_path)
    (tmp_path / "a.yaml").write_text("# none today\n")

    assert apps(catalogue, tmp_path) == []


def test_a_file_that_is_being_written_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Written in steps that each are right, only the whole is read."""
    monkeypatch.setattr(at_rest, "STILL_SECONDS", 0.5)  # a busy machine makes long steps
    path = tmp_path / "a.yaml"
    path.write_text(APPS[: len(APPS) // 3])

    def write() -> None:
        for end in range(len(APPS) // 3, len(APPS) + 1, 8):
            path.write_text(APPS[:end])
            time.sleep(0.005)

    writing = threading.Thread(target=write)
    writing.start()
    loaded = load_at_rest([tmp_path])
    writing.join()

    assert [each.app_id for each in loaded.resources.apps] == ["a", "b", "c"]


def test_files_that_never_stand_still_are_read_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a while."""
    monkeypatch.setattr(at_rest, "LONGEST_SECONDS", 0.3)
    monkeypatch.setattr(at_rest, "STILL_SECONDS", 100.0)
    (tmp_path / "a.yaml").write_text(APPS)
    monkeypatch.setattr(time, "sleep", lambda _: None)

    assert len(load_at_rest([tmp_path]).resources.apps) == 3


@pytest.mark.parametrize("path", ["missing", "missing.yaml"])
def test_paths_that_are_not_there_are_told_as_ever(tmp_path: Path, path: str) -> None:
    """Nothing is waited for."""
    assert len(load_at_rest([tmp_path / path]).problems) == 1


def test_old_files_are_read_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what just changed is waited for; so is nothing whose time lies ahead of the clock."""
    monkeypatch.setattr(time, "sleep", lambda _: pytest.fail("waited"))
    for seconds in (-60.0, 60.0):
        (tmp_path / "a.yaml").write_text(APPS)
        changed = time.time() + seconds
        os.utime(tmp_path / "a.yaml", (changed, changed))
        assert len(load_at_rest([tmp_path]).resources.apps) == 3


def test_files_that_change_while_they_are_read_are_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was read of them may be of no one moment."""
    path = tmp_path / "a.yaml"
    path.write_text(APPS[: len(APPS) // 3])

    def load(paths: Iterable[Path]) -> Loaded:
        loaded = load_resources(paths)
        path.write_text(APPS)
        return loaded

    monkeypatch.setattr(at_rest, "STILL_SECONDS", 0.0)
    monkeypatch.setattr(at_rest, "load_resources", load)

    assert [each.app_id for each in load_at_rest([tmp_path]).resources.apps] == ["a", "b", "c"]
