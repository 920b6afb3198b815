"""By which path a request over HTTP is counted, where paths are counted at all.

Dapr's own paths are cut where what follows is a key; patterns of spec.metric.http.pathMatching stand for what they
match. Off unless a Configuration asks for it: paths are the app's own words. What one app may have of them is bounded
by `tenancy.tally`. Source: daprd 1.18 pkg/diagnostics/http_monitoring_path_matching.go, http_monitoring_legacy.go.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Final
from urllib.parse import unquote

_SLASHES: Final = re.compile("/{2,}")
_STATIC: Final = frozenset(("/dapr/config", "/dapr/metrics", "/dapr/subscribe", "/healthz"))
_KEYED: Final = frozenset(("state", "secrets"))
"""Blocks whose paths end in a key, which is left out."""
_MOST_KNOWN: Final = 1000
_INVOKED: Final = "/v1.0/invoke/{app_id}/method"


class PathLabels:
    """Gives paths their labels."""

    def __init__(self, patterns: Sequence[str], *, increased: bool) -> None:
        """Make one; `increased`: what no pattern matches is counted by its own path, else by none."""
        self._patterns = _compiled(patterns)
        self._increased = increased
        self._known: dict[bytes, str] = {}  # {path as it came: label}, the first ones met

    def label(self, path: bytes) -> str:
        """The label of a path as it came, escaped."""
        known = self._known.get(path)
        if known is None:
            known = self._label(unquote(path.decode("latin-1"), errors="replace"))
            if len(self._known) < _MOST_KNOWN:
                self._known[path] = known
        return known

    def _label(self, path: str) -> str:
        path = normal(path)
        if path in _STATIC:
            return path
        for pattern, matches in self._patterns:
            if matches.fullmatch(path):
                return pattern
        return cut(path) if self._increased else ""


def normal(path: str) -> str:
    """A path with a slash before it and no two together."""
    path = _SLASHES.sub("/", path)
    return path if path.startswith("/") else f"/{path}"


def cut(path: str) -> str:
    """A path without what differs with every request of its kind."""
    parts = path[1:].split("/")
    return "/" + "/".join(parts[:3]) if len(parts) > 2 and parts[1] in _KEYED else path


def _compiled(patterns: Iterable[str]) -> list[tuple[str, re.Pattern[str]]]:
    """Patterns, and as methods of any app, the most specific first."""
    given = [normal(each) for each in patterns]
    given += [_INVOKED + each for each in given if not each.startswith("/v1.0/invoke/")]
    return [(each, _regex(each)) for each in sorted(dict.fromkeys(given), key=_looseness)]


def _looseness(pattern: str) -> list[tuple[int, str]]:
    return [(2 if not part or part.endswith("...}") else int(part[:1] == "{"), part) for part in _parts(pattern)]


def _regex(pattern: str) -> re.Pattern[str]:
    """As Go's ServeMux reads it: {name} is a segment, {name...} and a slash at the end are all the rest."""
    written = ""
    for part in _parts(pattern):
        if not part or part.endswith("...}"):
            written += "(?:/.*)?"
        elif part == "{$}":
            written += "/"
        else:
            written += "/" + ("[^/]+" if part[:1] == "{" and part[-1:] == "}" else re.escape(part))
    return re.compile(written, re.DOTALL)


def _parts(pattern: str) -> list[str]:
    return pattern[1:].split("/")
