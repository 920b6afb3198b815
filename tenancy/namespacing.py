"""Every name a tenant's data can have in a shared backend. Nothing else makes a StoreKey, TopicName or GroupName.

    state, keyPrefix appid       <app>||<key>               namespace `default`, as daprd with NAMESPACE unset
                                 <namespace>.<app>||<key>   any other namespace
    state, keyPrefix namespace   <namespace>.<app>||<key>
    state, keyPrefix name        <component>||<key>         shared by every app that may use the component
    state, keyPrefix none        <key>                      shared
    state, keyPrefix <other>     <other>||<key>             shared
    topic                        <topic>                    namespace `default`, as daprd
                                 ||<namespace>||<topic>     any other, and a `default` topic that itself begins with ||
    consumer group               <app>                      namespace `default`, as daprd's consumerID
                                 <namespace>.<app>          any other

Neither an app id nor a namespace holds "." or "|", and no key holds "||" (its API refuses it), so two tenants of a
component that is not shared never meet. Source: Dapr's keyPrefix, daprd pkg/components/state/state_config.go.
"""

import re
from typing import Final

from components.contract import ConfigError, GroupName, StoreKey, TopicName, owner_of

ILLEGAL: Final = "||"
"""What no state key may hold; daprd refuses it too."""
DEFAULT_NAMESPACE: Final = "default"
"""The namespace in which names equal those of a daprd that knows no namespace."""

_APP_ID = re.compile(r"[A-Za-z0-9_-]{1,63}", re.ASCII)
_NAMESPACE = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)


def check_app_id(app_id: str) -> str | None:
    """Say what is wrong with an app id, or None. Dots are Dapr's separator between app id and namespace."""
    if _APP_ID.fullmatch(app_id):
        return None
    return f"app id {app_id!r} must be 1 to 63 of letters, digits, '-' and '_'"


def check_namespace(namespace: str) -> str | None:
    """Say what is wrong with a namespace, or None. Source: RFC 1123 label, as Kubernetes asks of a namespace."""
    if _NAMESPACE.fullmatch(namespace):
        return None
    return f"namespace {namespace!r} must be 1 to 63 of a-z, 0-9 and '-', beginning and ending with a letter or digit"


class StateNames:
    """Draws the keys of one app in one state store."""

    __slots__ = ("_prefix", "owner", "shared")

    def __init__(self, prefix: str, *, shared: bool) -> None:
        self._prefix = prefix
        self.owner = owner_of(StoreKey(prefix))
        """Who the books say these keys belong to."""
        self.shared = shared
        """Whether other apps draw the same names: the resources asked for that by keyPrefix."""

    def key(self, raw: str) -> StoreKey:
        """The name of `raw` in the store; `raw` holds no `||`."""
        return self._prefix + raw  # type: ignore[return-value]  # this is where a StoreKey is made; `StoreKey()` is a call

    def raw(self, key: str) -> str:
        """The key as the app knows it. A foreign name gives the text between its first and second `||`, as in Dapr."""
        if key.startswith(self._prefix):
            return key[len(self._prefix) :]
        parts = key.split(ILLEGAL, 2)
        return parts[1] if len(parts) > 1 else key


def state_names(key_prefix: str | None, namespace: str, app_id: str, component: str) -> StateNames:
    """Choose the names by the component's `keyPrefix` (None: not given).

    Raises ConfigError when the value holds `||`: choose one without.
    """
    strategy = "appid" if key_prefix is None else key_prefix.lower()
    if ILLEGAL in strategy:
        raise ConfigError(f"keyPrefix {strategy!r} of {component} must not hold {ILLEGAL!r}")
    match strategy:
        case "appid":
            return StateNames(_tenant(namespace, app_id) + ILLEGAL, shared=False)
        case "namespace":
            return StateNames(f"{namespace}.{app_id}{ILLEGAL}", shared=False)
        case "name":
            return StateNames(component + ILLEGAL, shared=True)
        case "none":
            return StateNames("", shared=True)
        case custom:
            return StateNames(custom + ILLEGAL, shared=True)


def is_shared(key_prefix: str | None) -> bool:
    """Whether a state component of that `keyPrefix` gives several apps the same names."""
    return key_prefix is not None and key_prefix.lower() not in {"appid", "namespace"}


def tenant_of(owner: str) -> tuple[str, str] | None:
    """The (namespace, app id) an owner of state names, or None where it is no tenant's name."""
    namespace, dot, app_id = owner.partition(".")
    if not dot:
        namespace, app_id = DEFAULT_NAMESPACE, owner
    if check_app_id(app_id) or check_namespace(namespace):
        return None
    return namespace, app_id


class TopicNames:
    """Draws the topics and the consumer group of one app at one broker. Injective for any topic, the empty one too."""

    __slots__ = ("_prefix", "_verbatim", "group")

    def __init__(self, namespace: str, group: str) -> None:
        self._prefix = f"{ILLEGAL}{namespace}{ILLEGAL}"
        self._verbatim = namespace == DEFAULT_NAMESPACE
        self.group = GroupName(group)
        """The consumer group: apps of one group compete for a topic's messages."""

    def topic(self, raw: str) -> TopicName:
        """The name of `raw` at the broker."""
        if self._verbatim and not raw.startswith(ILLEGAL):
            return TopicName(raw)
        return TopicName(self._prefix + raw)

    def raw(self, topic: str) -> str:
        """The topic as the app knows it."""
        return topic.removeprefix(self._prefix)


def topic_names(namespace: str, app_id: str, consumer_id: str | None = None) -> TopicNames:
    """Choose the names of an app; `consumer_id` is the component's `consumerID` (None or "": the app id)."""
    return TopicNames(namespace, _tenant(namespace, consumer_id or app_id))


def _tenant(namespace: str, name: str) -> str:
    return name if namespace == DEFAULT_NAMESPACE else f"{namespace}.{name}"
