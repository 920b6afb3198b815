"""The journal's file: what is told to be appended is on the disk, by the kernel's own queue or by a thread."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from components.contract import cannot_watch
from components.journal import records
from components.journal.file import FILE_BYTES, RECORD_BYTES, Journal
from components.state.sqlite.worker import Worker
from tests.conformance.state.rig import Rig


class Desk:
    """A journal on a loop of its own."""

    def __init__(self, path: Path, by: str = "kernel") -> None:
        self.rig = Rig(path.parent)
        self.path = path
        self.worker = Worker("journal")
        surroundings = self.rig.surroundings
        watch = surroundings.watch if by == "kernel" else cannot_watch
        self.journal = Journal(path, self.worker, surroundings.run_soon, watch)
        self.journal.prepare()

    def append(self, payload: bytes) -> OSError | None:
        ends: list[OSError | None] = []
        self.journal.append(payload, ends.append)
        self.rig.until(lambda: bool(ends))
        return ends[0]

    def read(self) -> tuple[int, list[bytes]]:
        return records.read(self.path.read_bytes())

    def close(self) -> None:
        self.journal.close()
        self.worker.stop()
        self.worker.join(5)
        self.rig.close()


@contextmanager
def desk(path: Path, by: str = "kernel") -> Iterator[Desk]:
    made = Desk(path, by)
    try:
        yield made
    finally:
        made.close()


both = pytest.mark.parametrize("by", ["kernel", "thread"])


@both
def test_what_was_appended_is_in_the_file(tmp_path: Path, by: str) -> None:
    """Records of one block, of several, and the largest; a new start begins at the beginning."""
    payloads = [b"one", b"x" * 10_000, b"y" * (RECORD_BYTES - records.HEAD_BYTES), b"four"]
    with desk(tmp_path / "x.journal", by) as made:
        made.journal.start(1)
        assert [made.append(payload) for payload in payloads] == [None] * 4
        assert made.read() == (1, payloads)
        made.journal.start(2)
        assert made.append(b"again") is None
        assert made.read() == (2, [b"again"])


@both
def test_what_does_not_fit_is_known_before(tmp_path: Path, by: str) -> None:
    """The file never grows: there is room for a record, or there is not."""
    largest = RECORD_BYTES - records.HEAD_BYTES
    with desk(tmp_path / "x.journal", by) as made:
        made.journal.start(1)
        assert not made.journal.has_room(largest + 1)
        appended = 0
        while made.journal.has_room(largest):
            assert made.append(b"z" * largest) is None
            appended += 1
        assert appended == FILE_BYTES // RECORD_BYTES
        assert not made.journal.has_room(0)
        assert made.path.stat().st_size == FILE_BYTES


@both
def test_a_write_that_fails_is_told(tmp_path: Path, by: str) -> None:
    """A descriptor that cannot be written any more gives an error, and the journal before it stands."""
    with desk(tmp_path / "x.journal", by) as made:
        made.journal.start(1)
        assert made.append(b"kept") is None
        written_by = descriptor_of(made.path)
        read_only = os.open(made.path, os.O_RDONLY)
        os.dup2(read_only, written_by)
        os.close(read_only)
        assert isinstance(made.append(b"lost"), OSError)
        assert made.read() == (1, [b"kept"])


def descriptor_of(path: Path) -> int:
    """The one of this process by which a file is written."""
    (found,) = [link for link in Path("/proc/self/fd").iterdir() if link.exists() and link.readlink() == path]
    return int(found.name)


def test_a_journal_that_is_there_is_used_again(tmp_path: Path) -> None:
    """A file of the right size is not made anew; one that was cut, by a crash while it was made, is."""
    path = tmp_path / "x.journal"
    for size, kept in ((FILE_BYTES, True), (FILE_BYTES - 1, False)):
        path.write_bytes(b"k" * size)
        with desk(path):
            assert path.stat().st_size == FILE_BYTES
            assert (path.read_bytes()[:1] == b"k") is kept


def test_a_journal_without_room_leaves_nothing(tmp_path: Path) -> None:
    """Where the file cannot be made the error is the disk's, and no part of it stays."""
    path = tmp_path / "absent" / "x.journal"
    with pytest.raises(FileNotFoundError):
        Desk(path)
    assert not path.exists()


def test_it_is_removed(tmp_path: Path) -> None:
    """Nothing is left of a journal that is not needed; to remove it again does no harm."""
    with desk(tmp_path / "x.journal") as made:
        made.journal.remove()
        made.journal.remove()
        assert not made.path.exists()


def test_the_kernel_writes_where_it_can(tmp_path: Path) -> None:
    """On Linux no thread is asked: what it was given to do stays undone, and the record is there."""
    with desk(tmp_path / "x.journal") as made:
        made.journal.start(1)
        release = hold(made.worker)
        try:
            assert made.append(b"one") is None
        finally:
            release()


def hold(worker: Worker) -> Callable[[], None]:
    """Keep a worker busy; gives what ends that."""
    reading, writing = os.pipe()
    worker.run(lambda: os.close(reading) if os.read(reading, 1) else None)

    def release() -> None:
        os.write(writing, b"x")
        os.close(writing)

    return release
