"""What the daemon goes by while files change under it: of each file, the last version that was right."""

from dataclasses import dataclass, field, replace
from pathlib import PurePath

from noded.config.load import Loaded, LoadedFile, collect, identity_of
from noded.config.records import Record, Resources


@dataclass(slots=True)
class Catalogue:
    """Keeps the last good version per file, so that a slip of the pen takes nobody's app away."""

    _files: dict[str, LoadedFile] = field(default_factory=dict)

    @property
    def holds_files(self) -> bool:
        """Whether there is anything to lose."""
        return bool(self._files)

    def merge(self, loaded: Loaded) -> Resources:
        """Take what was read just now and give what is to hold.

        A file that is right replaces its older version, and one that is gone is forgotten. Of a file that is wrong, or
        empty, the last good version stays; where there is none, every document that ever was right counts. A directory
        that cannot be listed keeps all its files. Where an older version and a new file hold the same name, the new
        file wins.
        """
        lost = {each.path for each in loaded.files if not each.good and not each.records}
        kept = {path: file for path, file in self._files.items() if path in lost or str(PurePath(path).parent) in lost}
        fresh: dict[str, LoadedFile] = {}
        for each in loaded.files:
            fresh[each.path] = _version(each, self._files.get(each.path))
        self._files = {**kept, **fresh}
        return collect(_once(self._newest_first(loaded)))

    def _newest_first(self, loaded: Loaded) -> list[Record]:
        read = {each.path for each in loaded.files if each.good}
        order = sorted(self._files.values(), key=lambda file: file.path not in read)
        return [record for file in order for record in file.records]


def _version(read: LoadedFile, last: LoadedFile | None) -> LoadedFile:
    if read.good or last is None:
        return read
    return last if last.good else replace(read, records=tuple(_once([*read.records, *last.records])))


def _once(records: list[Record]) -> list[Record]:
    first: dict[tuple[str, str | None, str], Record] = {}
    for record in records:
        first.setdefault(identity_of(record), record)
    return list(first.values())
