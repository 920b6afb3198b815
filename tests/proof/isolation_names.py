"""Names made to collide: of apps, namespaces, keys and topics, and what the daemon is told of them."""

from typing import Final

from tests.daemon.server_clients import MEMORY, PUBSUB, SQLITE

Tenant = tuple[str, str]
"""(namespace, app id)."""

TENANTS: Final[tuple[Tenant, ...]] = (
    ("default", "a"),
    ("default", "A"),
    ("default", "team"),
    ("team", "a"),
    ("team", "team"),
    ("team-a", "a"),
)

LONG = "x" * 1000
REFUSED_KEYS: Final = ("||", "a||k", "team.a||k", "k||")
"""Dapr's separator."""
KEYS: Final = (
    *("k", "K", "k ", " k", " ", "*", "k*", "%", "k%", "%25", "_", "?", "k?", "#", "'", '"', "\\", "\n", "null", "0"),
    *("|", "|k", "k|", "team.a", "team", "a", "a.k", "default.a", "/", "a/k", "../a/k", ".", "..", "//"),
    *("é", "e\u0301", "日本", "\u202e", "😀", "\ufeff", "\u017f", LONG, LONG + "y"),
)

TOPICS: Final = (
    "t",
    "T",
    "tt",
    "t.t",
    "a/t",
    "%",
    "_",
    "*",
    "t*",
    "||t",
    "||team||t",
    "|",
    "|t",
    "team.t",
    "é",
    "日本",
)
"""Published to and subscribed to; one that ends in `*` is subscribed to as a wildcard."""
SUBSCRIBED: Final[dict[Tenant, tuple[str, ...]]] = {
    ("default", "a"): ("t", "||t", "||team||t", "é"),
    ("default", "A"): ("*", "||t*"),
    ("default", "team"): ("t*", "|*", "a/t"),
    ("team", "a"): ("t", "|t", "%", "_"),
    ("team", "team"): ("*",),
    ("team-a", "a"): ("t", "||t", "||team||t", "日本"),
}
STREAMED: Final[dict[Tenant, str]] = {
    ("default", "a"): "T",
    ("default", "team"): "||team||t",
    ("team", "a"): "||t",
    ("team", "team"): "t*",
    ("team-a", "a"): "*",
}
"""Subscribed to by a stream of gRPC."""


def _sqlite(name: str, namespace: str | None) -> dict[str, object]:
    """A store whose names are daprd's, in a file of its own."""
    place = {"name": name} if namespace is None else {"name": name, "namespace": namespace}
    metadata = [{"name": "connectionString", "value": f"@STATE_DIR@/{name}.db"}]
    return {**SQLITE, "metadata": place, "spec": {"type": "state.sqlite", "version": "v1", "metadata": metadata}}


OWN_MEMORY = {**MEMORY, "metadata": {"name": "own", "namespace": "team-a"}}
DECLARED = {
    "apiVersion": "dapr.io/v2alpha1",
    "kind": "Subscription",
    "metadata": {"name": "declared", "namespace": "team"},
    "spec": {"pubsubname": "pubsub", "topic": "T", "routes": {"default": "/declared"}},
    "scopes": ["a"],
}
COMPONENTS = (_sqlite("statestore", None), MEMORY, PUBSUB, _sqlite("own", "team"), OWN_MEMORY, DECLARED)
"""A store by daprd's default names, one by namespaced names, and `own`: two components of one name, each in one
namespace; and a subscription of one app of one namespace."""
STORES: Final = ("statestore", "memory", "own")


def may_use(tenant: Tenant, store: str) -> bool:
    """Whether the store is there for this tenant."""
    return store != "own" or tenant[0] in {"team", "team-a"}


def listens(tenant: Tenant, publisher: Tenant, topic: str) -> list[str]:
    """The routes on which a tenant hears of an event, by what is documented of topics alone."""
    if tenant[0] != publisher[0]:
        return []
    routes = [
        f"/{number}" for number, subscribed in enumerate(SUBSCRIBED[tenant]) if _matches(tenant[0], subscribed, topic)
    ]
    streamed = STREAMED.get(tenant)
    if streamed is not None and _matches(tenant[0], streamed, topic):
        routes.append("stream")
    return [*routes, "/declared"] if tenant == ("team", "a") and topic == "T" else routes


def topics_of(tenant: Tenant) -> list[str]:
    """All that a tenant subscribes to, in order."""
    declared = ["T"] if tenant == ("team", "a") else []
    streamed = [STREAMED[tenant]] if tenant in STREAMED else []
    return sorted([*SUBSCRIBED[tenant], *declared, *streamed])


def _matches(namespace: str, subscribed: str, topic: str) -> bool:
    if not subscribed.endswith("*"):
        return subscribed == topic
    prefix = subscribed[:-1]
    if namespace == "default" and topic.startswith("||") and not prefix.startswith("||"):
        return False  # in `default` such topics are kept apart from all others: those of namespaces begin alike
    return topic.startswith(prefix) and len(topic) > len(prefix)
