"""The node: which apps are attached, and how one finds another."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from noded.app import App
from noded.calls import Header

if TYPE_CHECKING:
    from noded.api.invoke import Passage


class Node:
    """All attached apps, by namespace and app id."""

    def __init__(self, tracing_sampling_rate: float = 0.0001, forwarded: tuple[Header, ...] = ()) -> None:
        self.tracing_sampling_rate = tracing_sampling_rate
        """Of traces begun here (0 to 1); 0: tracing is off. daprd's default."""
        self.forwarded = forwarded
        """What an app is told of the host by which another app's call came."""
        self._apps: dict[tuple[str, str], App] = {}  # {(namespace, app id): app}
        self.passages: dict[tuple[App, bytes], Passage] = {}
        """{(caller, path up to the method): the way to the app it names}, until an app comes or goes."""

    def add(self, app: App) -> None:
        """Make an app findable. Its (namespace, app id) must be free."""
        key = (app.namespace, app.app_id)
        if key in self._apps:
            raise ValueError(f"app {app.app_id} of namespace {app.namespace} is attached already")
        self._apps[key] = app
        self.passages.clear()

    def remove(self, app: App) -> None:
        """Forget an app; harmless when it is gone."""
        self._apps.pop((app.namespace, app.app_id), None)
        self.passages.clear()

    def find(self, namespace: str, app_id: str) -> App | None:
        """The app of that id in that namespace, or None."""
        return self._apps.get((namespace, app_id))

    def __iter__(self) -> Iterator[App]:
        return iter(tuple(self._apps.values()))

    def __len__(self) -> int:
        return len(self._apps)
